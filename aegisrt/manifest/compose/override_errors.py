"""`bad_override`: an override that Hydra's grammar refuses, explained without the words of a parser."""

from __future__ import annotations

import re

from aegisrt.core.diagnostic import Diagnostic, Location
from aegisrt.manifest.compose.overrides import place_in
from aegisrt.manifest.read.limits import MOST_LEVELS, deep_bracket


def deep_place(text: str) -> Location | None:
    """Return the place of the bracket, or of the part of a key, that is one level too deep; None if none is."""
    key = text.partition("=")[0]
    if key.count(".") >= MOST_LEVELS:
        start = len(".".join(key.split(".")[:MOST_LEVELS])) + 1
        return place_in(text, start, start + len(key[start:].split(".")[0]))
    bracket = deep_bracket(text, skip_quoted=True)
    return None if bracket is None else place_in(text, bracket, bracket + 1)


def sweep(text: str, place: Location) -> Diagnostic:
    """Return the diagnostic of an override of several values."""
    key, _, value = text.partition("=")
    if function := re.match(r"\w+(?=\()", value):
        hint = f"`{function[0]}(...)` is a sweep, one run for each value; give one value: `{key}=VALUE`"
        return Diagnostic("sweep-not-here", "several values, and only one can be used", place, hint=hint)
    hint = f"for a list write `{key}=[{value}]`, for a text with a comma quote it: `{key}='{value}'`"
    return Diagnostic("sweep-not-here", "several values, and only one can be used", place, hint=hint)


def bad_override(text: str, column: int, message: str) -> Diagnostic:
    """Return the diagnostic of an override that Hydra's grammar refuses at `column`, counted from 0."""
    signs = len(text) - len(text.lstrip("~+"))
    key = text[signs:].partition("=")[0]
    if "=" not in text and not text.startswith("~"):
        place = place_in(text, 0, len(text))
        return Diagnostic("bad-override", f"`{text}` has no `=`", place, hint=f"write `{text}=VALUE`")
    if column <= signs + len(key):
        return _bad_key(text, key, signs, column)
    hint = "quote a value that holds special characters, once for the shell and once for the value: \"key='a, b'\""
    if column >= len(text.rstrip()):
        return Diagnostic("bad-override", "the value ends too early", place_in(text, column, column), key, hint)
    message = f"the value cannot be read: {_worded(message)}"
    return Diagnostic("bad-override", message, place_in(text, column, column + 1), key, hint)


def _bad_key(text: str, key: str, signs: int, column: int) -> Diagnostic:
    """Return the diagnostic of a key, on its wrong segment if that is known."""
    start = signs
    for segment in key.split("."):
        place = place_in(text, start, start + len(segment))
        if segment[:1].isdecimal() and not segment.isdecimal():
            hint = "set the mapping around it: `models={3d: {path: a.onnx}}`"
            message = f"`{segment}` starts with a digit, which no name in the key of an override can"
            return Diagnostic("bad-override", message, place, hint=hint)
        if not segment:
            dot = max(signs, start - 1)
            message = f"`{key}` has an empty part"
            return Diagnostic("bad-override", message, place_in(text, dot, dot + 1), hint="write one `.` between names")
        start += len(segment) + 1
    hint = "a key is names with dots between, or a group: `models.digits.path`, `backend`"
    return Diagnostic("bad-override", f"`{key}` is not a key", place_in(text, column, column + 1), hint=hint)


def _worded(message: str) -> str:
    """Return the first line of the parser's message, without its list of tokens."""
    first = (message.splitlines() or ["?"])[0].split(" expecting ")[0]
    unknown = first.removeprefix("token recognition error at: ")
    if unknown != first:
        unquoted = unknown[1:-1]
        return "a quote is not closed" if unquoted[:1] in ("'", '"') else f"`{unquoted}` must be quoted"
    return first.rpartition("': ")[2].replace("'<EOF>'", "the end").replace("<EOF>", "the end")
