"""Arguments of a verb: a manifest, overrides, a key path and options, in any order."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Callable, Sequence
from itertools import pairwise
from shlex import quote
from typing import TYPE_CHECKING, NoReturn, Protocol

from aegisrt.core.suggest import did_you_mean, with_unseen_escaped

if TYPE_CHECKING:
    from aegisrt.manifest.origin import Environment


class SupportsWrite(Protocol):
    """A stream that help is written to."""

    def write(self, text: str, /) -> object:
        """Write a text."""


class UsageParser(argparse.ArgumentParser):
    """argparse with usage errors as one JSON document if JSON is asked for. Exit code 2."""

    json = False
    takes = ""
    """The positionals of the usage line, such as `[MANIFEST] [OVERRIDE...]`; `parse` refuses any others."""
    keys: Sequence[str] = ()
    """The accepted keys; empty accepts any."""
    key_is_file = False
    """Whether the key is a path, so that the path of an existing file is not read as an override."""

    def print_help(self, file: SupportsWrite | None = None) -> None:
        """Write the help. argparse's own method swallows the error of a closed pipe."""
        (file or sys.stdout).write(self.format_help())

    def error(self, message: str) -> NoReturn:
        """Print the usage error and exit with 2."""
        hint = f"{self._near_option(message)}see `{self.prog} --help`"
        if self.json:
            sys.stdout.write(usage_error(message, hint))
        else:
            from aegisrt.cli.output import warn

            warn(f"{self.prog}: {message}\n{hint}")
        sys.exit(2)

    def _near_option(self, message: str) -> str:
        """Return a hint with the nearest option if argparse's message is about an unknown one."""
        unknown = re.search(r": (--[a-z-]+)", message)
        known = self._option_string_actions
        near = did_you_mean(unknown[1], known) if unknown and unknown[1] not in known else None
        return f"{near} " if near else ""


class Arguments(argparse.Namespace):
    """Parsed arguments of a verb."""

    manifest: str | None
    overrides: list[str]
    key: str | None
    """A key path; None unless the verb takes one."""
    format: str
    config_dir: str | None
    environment: Environment = "hidden"
    """What becomes of values of environment variables, for a verb with `--show-env`."""


def verb_parser(
    verb: str,
    description: str,
    formats: Sequence[str] = ("text", "json"),
    *,
    takes: str = "[MANIFEST] [OVERRIDE...]",
) -> UsageParser:
    """Return a parser with the options of every verb, and those that belong to the positionals in `takes`."""
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
    parser.add_argument("positionals", nargs="*", metavar=shown or "WORD", help=about)
    if "OVERRIDE" in takes:
        parser.add_argument("--config-dir", metavar="DIR", help="a folder with your own configuration groups")
    parser.add_argument(
        "--format", choices=list(formats), default="text", help="format of the output (default: %(default)s)"
    )
    parser.add_argument("--json", action="store_const", const="json", dest="format", help="the same as --format json")
    _add_log_options(parser)
    return parser


def _add_log_options(parser: UsageParser) -> None:
    group = parser.add_argument_group("log, on stderr")
    group.add_argument(
        "-v", "--verbose", action="count", default=0, help="log models that load and close; -vv logs more"
    )
    group.add_argument("-q", "--quiet", action="store_true", help="log errors only, no warnings")
    group.add_argument("--log-level", choices=("debug", "info", "warning", "error"), help="default: warning")
    group.add_argument(
        "--log-format", choices=("text", "json"), default="text", help="json: one object a line (default: %(default)s)"
    )


def add_show_env(parser: UsageParser) -> None:
    """Add the option that shows values of environment variables."""
    parser.add_argument(
        "--show-env",
        action="store_const",
        const="shown",
        default="hidden",
        dest="environment",
        help="show values of environment variables, which are `***` otherwise",
    )


def parse(parser: UsageParser, argv: Sequence[str], *, takes_key: bool = False) -> Arguments:
    """Return the parsed arguments; print a usage error and exit with 2."""
    if argv is _PARSER_ONLY:
        raise _ParserOnly(parser, takes_key)
    parser.json = asks_json(argv)
    arguments = parser.parse_intermixed_args(list(argv), Arguments())
    from aegisrt.cli.logs import configure  # not for `--help`, nor for completion

    configure(arguments)
    arguments.manifest, arguments.key, arguments.overrides = None, None, []
    for word in arguments.positionals:
        if is_manifest(word):
            if arguments.manifest is not None:
                parser.error(f"two manifests: {arguments.manifest} and {word}; give one")
            if "MANIFEST" not in parser.takes:
                parser.error(f"this verb takes no manifest: {word}")
            arguments.manifest = word
        elif ("=" in word or word[:1] in ("+", "~")) and not (parser.key_is_file and names_file(word)):
            if "OVERRIDE" not in parser.takes:
                parser.error(f"this verb takes no overrides: {word}")
            arguments.overrides.append(word)
        elif takes_key and arguments.key is None:
            arguments.key = word
        else:
            parser.error(_unexpected(word) if parser.takes else f"this verb takes no arguments: {word}")
    return arguments


_PARSER_ONLY: Sequence[str] = ("<the parser only>",)


class _ParserOnly(Exception):  # noqa: N818  (not an error)
    """Raised by `parse` instead of parsing, for `parser_of`."""

    def __init__(self, parser: UsageParser, takes_key: bool) -> None:
        super().__init__()
        self.parser = parser
        self.takes_key = takes_key


def parser_of(main: Callable[[Sequence[str]], int]) -> tuple[UsageParser, bool]:
    """Return the parser that a verb's `main` passes to `parse`, and whether the verb takes a key; do not run it."""
    try:
        main(_PARSER_ONLY)
    except _ParserOnly as caught:
        return caught.parser, caught.takes_key
    raise TypeError(f"{main} does not call `parse` first")


def is_manifest(word: str) -> bool:
    """Return whether a word is a manifest's path: it ends in .yaml or .yml, and is a file or looks like no override.

    An override has a `=` before its first `/`; so may the path of a file: `lr=0.1,m=2/deploy.yaml`.
    """
    return word.endswith((".yaml", ".yml")) and ("=" not in word.partition("/")[0] or names_file(word))


def names_file(word: str) -> bool:
    """Return whether a word is the path of an existing file, whatever characters it has."""
    return os.path.isfile(word)  # noqa: PTH113  (Path.is_file raises on a word that is too long for a path)


def asks_json(argv: Sequence[str]) -> bool:
    """Return whether the arguments ask for JSON; for errors that come before they are parsed."""
    return "--json" in argv or "--format=json" in argv or ("--format", "json") in pairwise(argv)


def usage_error(message: str, hint: str) -> str:
    """Return a usage error as one line of JSON."""
    error = {"code": "INVALID_ARGUMENT", "message": message, "hint": hint, "location": None}
    return with_unseen_escaped(json.dumps({"ok": False, "error": error})) + "\n"


def _unexpected(word: str) -> str:
    if not word:
        return "an empty argument"
    if word.endswith(".onnx"):
        return f"`{word}` is a model, not a manifest; `aegisrt init --model {quote(word)}` writes a manifest for it"
    return f"`{word}` is neither a manifest (a file that ends in .yaml or .yml) nor an override (`key=value`)"
