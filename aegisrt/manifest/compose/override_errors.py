"""`bad_override`: an override that Hydra's grammar refuses, explained without the words of a parser."""

from __future__ import annotations

import re

from aegisrt.core.diagnostic import Diagnostic, Location
from aegisrt.manifest.compose.override_values import escaped_key, value_error
from aegisrt.manifest.compose.overrides import place_in
from aegisrt.manifest.read.limits import MOST_LEVELS, deep_bracket
from aegisrt.manifest.read.lookalikes import lookalike

_QUOTE_IT = "quote a value that holds special characters, once for the shell and once for the value: \"key='a, b'\""
_MEANING = re.compile(r"\w+(?:Error|Exception) while evaluating .*?: (?!Unknown function)(.*)")
"""An error of a function's arguments, such as `int(a)`, which Hydra evaluates."""


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
    """Return the diagnostic of an override that Hydra's grammar refuses at `column`, counted from 0.

    `message` is the parser's; its text is used only if it is about a function or about the value's meaning.
    """
    signs = len(text) - len(text.lstrip("~+"))
    key = text[signs:].partition("=")[0]
    if (odd := lookalike(text)) and (odd.index <= signs + len(key) or odd.index <= column):
        place = place_in(text, odd.index, odd.index + 1)
        hint = "remove it" if odd.meant == " " and odd.index < signs + len(key) else odd.hint
        return Diagnostic("bad-override", odd.message, place, hint=hint)
    if "=" not in text and not text.startswith("~"):
        place = place_in(text, 0, len(text))
        return Diagnostic("bad-override", f"`{text}` has no `=`", place, hint=f"write `{text}=VALUE`")
    if column <= signs + len(key):
        return _bad_key(text, key, signs, column)
    if meaning := _MEANING.match(message):
        place = place_in(text, column, len(text))
        return Diagnostic("bad-override", f"the value cannot be read: {meaning[1]}", place, key, _QUOTE_IT)
    fault = value_error(text, signs + len(key) + 1, column, (message.splitlines() or [""])[0])
    is_short = fault.message.startswith("the value ends")
    worded = fault.message if is_short else f"the value cannot be read: {fault.message}"
    return Diagnostic("bad-override", worded, place_in(text, fault.start, fault.stop), key, fault.hint or _QUOTE_IT)


def _bad_key(text: str, key: str, signs: int, column: int) -> Diagnostic:
    """Return the diagnostic of a key, on its wrong segment if that is known."""
    if fault := _key_fault(text, key, signs):
        return fault
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
        if odd := re.search(r"[^\w$-]", segment):
            at = place_in(text, start + odd.start(), start + odd.end())
            return Diagnostic("bad-override", f"`{odd[0]}` cannot be in the key of an override", at, hint=_around(key))
        start += len(segment) + 1
    hint = "a key is names with dots between, or a group: `models.digits.path`, `backend`"
    return Diagnostic("bad-override", f"`{key}` is not a key", place_in(text, column, column + 1), hint=hint)


def _key_fault(text: str, key: str, signs: int) -> Diagnostic | None:
    """Return the diagnostic of blanks, quotes or brackets in a key, with the key as it was meant; None without them."""
    meant = re.sub(r"\[['\"]?([\w-]+)['\"]?\]", r".\1", re.sub(r"\s+", "", key)).strip("'\"")
    odd = re.search(r"\s+|['\"]|\[", key)
    if odd is None or re.search(r"[^\w.@/-]", meant):
        return None
    place = place_in(text, signs + odd.start(), signs + odd.end())
    if odd[0].isspace():
        where = "before the `=`" if odd.end() == len(key) else "in the key"
        message = f"there is a blank {where}"
    else:
        message = "a key has no quotes" if odd[0] in "'\"" else "a key has dots and no brackets"
    hint = f"write `{text[:signs]}{meant}{text[signs + len(key) :].replace('= ', '=', 1)}`"
    return Diagnostic("bad-override", message, place, hint=hint)


def _around(key: str) -> str:
    """Return the hint for a name that no key of an override can contain: the mapping around it is set as a whole."""
    parts, odd = key.split("."), re.compile(r"[^\w$-]")
    names = [index for index, part in enumerate(parts) if odd.search(part)]
    inside = "..."
    for part in (*reversed(parts[names[-1] + 1 :]), ".".join(parts[names[0] : names[-1] + 1])):
        inside = f"{{{escaped_key(part)}: {inside}}}"
    return f"set the mapping around it: `++{'.'.join(parts[: names[0]]) or 'KEY'}={inside}`"
