"""The words after a verb: a manifest, overrides, a key path and options, in any order."""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NoReturn, Protocol

from aegisrt.core.suggest import did_you_mean


class SupportsWrite(Protocol):
    """What help is written to."""

    def write(self, text: str, /) -> object:
        """Write a text."""


class UsageParser(argparse.ArgumentParser):
    """argparse, whose errors are one JSON document where JSON is asked for. Exit code 2."""

    json = False
    takes = ""
    """What stands behind the verb, as its usage says it: MANIFEST, OVERRIDE; `parse` refuses what is not there."""
    keys: Sequence[str] = ()
    """The words that may stand for a key; none: any."""

    def print_help(self, file: SupportsWrite | None = None) -> None:
        """Write the help; argparse's own hides that nobody reads it."""
        (file or sys.stdout).write(self.format_help())

    def error(self, message: str) -> NoReturn:
        """Print the usage error and exit with 2."""
        hint = f"{self._near_option(message)}see `{self.prog} --help`"
        if self.json:
            sys.stdout.write(usage_error(message, hint))
        else:
            sys.stderr.write(f"{self.prog}: {message}\n{hint}\n")
        sys.exit(2)

    def _near_option(self, message: str) -> str:
        """Return, for argparse's message of an option that is not known, which one was meant."""
        unknown = re.search(r": (--[a-z-]+)", message)
        known = self._option_string_actions
        near = did_you_mean(unknown[1], known) if unknown and unknown[1] not in known else None
        return f"{near} " if near else ""


class Arguments(argparse.Namespace):
    """What a verb was told."""

    manifest: str | None
    overrides: list[str]
    key: str | None
    """A key path; only where the verb takes one."""
    format: str
    config_dir: str | None


def verb_parser(
    verb: str,
    description: str,
    formats: Sequence[str] = ("text", "json"),
    *,
    takes: str = "[MANIFEST] [OVERRIDE...]",
) -> UsageParser:
    """Return a parser with what every verb takes, and of manifest and overrides those that `takes` names."""
    parser = UsageParser(
        prog=f"aegisrt {verb}",
        description=description,
        usage=" ".join(filter(None, ("aegisrt", verb, takes, "[options]"))),
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.takes = takes
    shown = takes.replace("[", "").replace("]", "").replace("...", "").replace(" ", "|")
    about = "a .yaml file; `key=value` overrides" if "MANIFEST" in takes else None if takes else argparse.SUPPRESS
    parser.add_argument("words", nargs="*", metavar=shown or "WORD", help=about)
    if "OVERRIDE" in takes:
        parser.add_argument("--config-dir", metavar="DIR", help="a folder with your own configuration groups")
    parser.add_argument("--format", choices=list(formats), default="text", help="what to write to stdout")
    parser.add_argument("--json", action="store_const", const="json", dest="format", help="the same as --format json")
    return parser


def parse(parser: UsageParser, words: Sequence[str], *, takes_key: bool = False) -> Arguments:
    """Return the arguments; on a usage error, print it and exit with 2."""
    if words is _PARSER_ALONE:
        raise _ParserFound(parser, takes_key)
    parser.json = asks_json(words)
    arguments = parser.parse_intermixed_args(list(words), Arguments())
    arguments.manifest, arguments.key, arguments.overrides = None, None, []
    for word in arguments.words:
        if is_manifest(word):
            if arguments.manifest is not None:
                parser.error(f"two manifests: {arguments.manifest} and {word}; a deployment is one file")
            if "MANIFEST" not in parser.takes:
                parser.error(f"it takes no manifest: {word}")
            arguments.manifest = word
        elif "=" in word or word[:1] in ("+", "~"):
            if "OVERRIDE" not in parser.takes:
                parser.error(f"it takes no overrides: {word}")
            arguments.overrides.append(word)
        elif takes_key and arguments.key is None:
            arguments.key = word
        else:
            parser.error(_unexpected(word) if parser.takes else f"it takes no words: {word}")
    return arguments


_PARSER_ALONE: Sequence[str] = ("<the parser alone>",)


class _ParserFound(Exception):  # noqa: N818  (it is no error)
    """Raised by `parse`, in place of parsing, for `parser_of`."""

    def __init__(self, parser: UsageParser, takes_key: bool) -> None:
        super().__init__()
        self.parser = parser
        self.takes_key = takes_key


def parser_of(main: Callable[[Sequence[str]], int]) -> tuple[UsageParser, bool]:
    """Return the parser that a verb's `main` hands to `parse`, and whether it takes a key; the verb does not run."""
    try:
        main(_PARSER_ALONE)
    except _ParserFound as found:
        return found.parser, found.takes_key
    raise TypeError(f"{main} does not call `parse` first")


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
    if word.endswith(".onnx"):
        return f"`{word}` is a model, no manifest; `aegisrt init --model {word}` writes one for it"
    return f"`{word}` is no manifest (a file that ends in .yaml or .yml) and no override (`key=value`)"
