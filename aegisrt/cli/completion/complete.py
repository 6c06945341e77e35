"""`aegisrt __complete WORD...`: the candidates for the last word; the shells' completion scripts call it.

Each line of the output is a whole word, a tab, and its meaning. It imports no numpy, pydantic, hydra or engine, since
a user waits at the prompt.
"""

from __future__ import annotations

import argparse
import importlib
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence

from aegisrt.cli.arguments import UsageParser, is_manifest, parser_of
from aegisrt.cli.completion.keys import Keys
from aegisrt.cli.completion.paths import files

_MANIFESTS = (".yaml", ".yml")


def main(argv: Sequence[str], verbs: Mapping[str, str]) -> int:
    """Print the candidates for the last word, and return 0; mistakes on the line are not reported here."""
    *before, current = list(map(_unquoted, argv)) or [""]
    for text, meaning in candidates(before, current, verbs):
        sys.stdout.write(f"{text}\t{_clean(meaning)}\n" if meaning else f"{text}\n")
    return 0


def candidates(before: Sequence[str], current: str, verbs: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return the words that `current` may become after the words `before`, each with its meaning."""
    verb = next((word for word in before if word in verbs), None)
    if verb is None:
        found = [*verbs.items(), ("--help", "list the verbs"), ("--version", "print the version")]
        shown = found if current.startswith("-") else found[:-2]
    else:
        module = importlib.import_module(f"aegisrt.cli.verbs.{verb.replace('-', '_')}")
        group = verb.partition("-")[0]
        shown = list(_of_verb(*parser_of(module.main), group, [word for word in before if word != verb], current))
    return list({text: meaning for text, meaning in shown if text.startswith(current)}.items())


def _of_verb(
    parser: UsageParser, takes_key: bool, group: str, before: Sequence[str], current: str
) -> Iterator[tuple[str, str]]:
    options = {name: action for action in parser._actions for name in action.option_strings}
    pending = options.get(before[-1]) if before else None
    own = None if "MANIFEST" in parser.takes else group
    keys = Keys(next(filter(is_manifest, before), None), _value_of("--config-dir", before), own)
    if pending is not None and pending.nargs is None:
        yield from _values(pending, keys, current)
        return
    if current.startswith("-"):
        name, equals, value = current.partition("=")
        if equals and name in options:
            yield from ((f"{name}={text}", meaning) for text, meaning in _values(options[name], keys, value))
        else:
            yield from ((name, action.help or "") for name, action in options.items() if name.startswith("--"))
        return
    if takes_key and not [word for word in before if word in parser.keys]:
        yield from ((key, "") for key in parser.keys)
    if "OVERRIDE" in parser.takes:
        yield from keys.overrides(current)
    if "KEY" in parser.takes:
        yield from keys.paths(current)
    if "MANIFEST" in parser.takes and not any(map(is_manifest, before)) and "=" not in current:
        yield from files(current, _MANIFESTS)
    if ".onnx" in parser.takes:
        yield from files(current, (".onnx",))


def _values(action: argparse.Action, keys: Keys, current: str) -> Iterator[tuple[str, str]]:
    """Yield candidates for an option's value, by its choices or by its metavar."""
    if action.choices is not None:
        yield from ((str(choice), "") for choice in action.choices)
        return
    match action.metavar:
        case "KIND" if "--device" in action.option_strings:
            yield from (("cpu", ""), ("cuda", ""))
        case "KIND":
            yield from ((kind, "") for kind in keys.kinds())
        case "NAME":
            yield from ((name, "") for name in keys.names("models"))
        case "DIR":
            yield from (found for found in files(current, ()) if found[0].endswith("/"))
        case "FILE":
            yield from files(current, (".onnx",) if "--model" in action.option_strings else None)
        case "NAME=FILE":
            name, equals, path = current.partition("=")
            yield from ((f"{name}{equals}{text}" if equals else text, "") for text, _ in files(path or "", None))


def _value_of(option: str, argv: Sequence[str]) -> str | None:
    at = next((index for index, word in enumerate(argv[:-1]) if word == option), None)
    joined = next((word for word in argv if word.startswith(f"{option}=")), None)
    return argv[at + 1] if at is not None else joined and joined.partition("=")[2]


def _unquoted(word: str) -> str:
    """Return a word as the shell would pass it; its last quote may still be open."""
    for ending in ("", "'", '"'):
        try:
            parts = shlex.split(word + ending)
        except ValueError:
            continue
        return parts[0] if len(parts) == 1 else word
    return word


def _clean(text: str) -> str:
    return " ".join(text.replace("%%", "%").split())
