"""The words after a verb: a manifest, overrides, a key path and options, in any order."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from itertools import pairwise
from typing import NoReturn


class UsageParser(argparse.ArgumentParser):
    """argparse, whose errors are one JSON document where JSON is asked for. Exit code 2."""

    json = False

    def error(self, message: str) -> NoReturn:
        """Print the usage error and exit with 2."""
        if self.json:
            sys.stdout.write(usage_error(message, f"see `{self.prog} --help`"))
        else:
            sys.stderr.write(f"{self.prog}: {message}\nsee `{self.prog} --help`\n")
        sys.exit(2)


class Arguments(argparse.Namespace):
    """What a verb was told."""

    manifest: str | None
    overrides: list[str]
    key: str | None
    """A key path; only where the verb takes one."""
    format: str
    config_dir: str | None


def verb_parser(verb: str, description: str, formats: Sequence[str] = ("text", "json")) -> UsageParser:
    """Return a parser with what every verb takes."""
    parser = UsageParser(
        prog=f"aegisrt {verb}",
        description=description,
        usage=f"aegisrt {verb} [MANIFEST] [OVERRIDE...] [options]",
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("words", nargs="*", metavar="MANIFEST|OVERRIDE", help="a .yaml file; `key=value` overrides")
    parser.add_argument("--config-dir", metavar="DIR", help="a folder with your own configuration groups")
    parser.add_argument("--format", choices=list(formats), default="text", help="what to write to stdout")
    parser.add_argument("--json", action="store_const", const="json", dest="format", help="the same as --format json")
    return parser


def parse(parser: UsageParser, words: Sequence[str], *, takes_key: bool = False) -> Arguments:
    """Return the arguments; on a usage error, print it and exit with 2."""
    parser.json = asks_json(words)
    arguments = parser.parse_intermixed_args(list(words), Arguments())
    arguments.manifest, arguments.key, arguments.overrides = None, None, []
    for word in arguments.words:
        if is_manifest(word):
            if arguments.manifest is not None:
                parser.error(f"two manifests: {arguments.manifest} and {word}; a deployment is one file")
            arguments.manifest = word
        elif "=" in word or word[:1] in ("+", "~"):
            arguments.overrides.append(word)
        elif takes_key and arguments.key is None:
            arguments.key = word
        else:
            parser.error(_unexpected(word))
    return arguments


def is_manifest(word: str) -> bool:
    """Return whether a word is a manifest's path: it ends in .yaml or .yml, and has no `=` before its first `/`."""
    return word.endswith((".yaml", ".yml")) and "=" not in word.partition("/")[0]


def asks_json(words: Sequence[str]) -> bool:
    """Return whether JSON is asked for; for errors that come before the words are parsed."""
    return "--json" in words or "--format=json" in words or ("--format", "json") in pairwise(words)


def usage_error(message: str, hint: str) -> str:
    """Return the one line of JSON that stands for a usage error."""
    error = {"code": "INVALID_ARGUMENT", "message": message, "hint": hint, "location": None}
    return json.dumps({"ok": False, "error": error}) + "\n"


def _unexpected(word: str) -> str:
    if not word:
        return "an empty argument"
    return f"`{word}` is no manifest (a file that ends in .yaml or .yml) and no override (`key=value`)"
