"""Phrases for messages: the type and the range that a field takes, and how to fix a near miss."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from typing import Any

from pydantic_core import ErrorDetails

from aegisrt.core.suggest import quoted
from aegisrt.manifest.diagnostics.wording import shown
from aegisrt.manifest.hidden import Hidden
from aegisrt.manifest.read.lookalikes import lookalike
from aegisrt.manifest.read.yaml_causes import RENDER, placeholder
from aegisrt.manifest.read.yaml_loader import is_number

_TYPES = {
    "int": "a whole number",
    "float": "a number",
    "decimal": "a number",
    "bool": "true or false",
    "string": "text",
    "bytes": "text",
    "path": "text, a path",
    "dict": "a mapping",
    "mapping": "a mapping",
    "model": "a mapping",
    "dataclass": "a mapping",
    "list": "a list",
    "tuple": "a list",
    "set": "a list",
    "frozen": "a list",
    "iterable": "a list",
    "none": "null",
}
"""By the first word of pydantic's error types `int_type`, `int_from_float`, `model_attributes_type` and so on."""

_RANGES = {
    "greater_than": "more than {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "less than {lt}",
    "less_than_equal": "at most {le}",
    "multiple_of": "a multiple of {multiple_of}",
    "finite_number": "a finite number",
    "too_short": "a list of at least {min_length}",
    "too_long": "a list of at most {max_length}",
    "string_too_short": "text of at least {min_length} characters",
    "string_too_long": "text of at most {max_length} characters",
}


_LEADING_ZERO = re.compile("([-+]?)0+([0-9]+)")
_ASSIGNED = re.compile(r"([\w.-]+)(?:\s*=\s*(.*)|:(\S.*))")


def is_range_error(error: ErrorDetails) -> bool:
    """Return True if a value has the right type and is out of range."""
    return error["type"] in _RANGES


def expected_range(error: ErrorDetails) -> str:
    """Return the range that a field takes: `at least 1`."""
    return _RANGES[error["type"]].format_map(error.get("ctx", {}))


def expected_types(errors: Iterable[ErrorDetails]) -> str | None:
    """Return the types that a field takes: `a whole number or text`; None if an error is not about a type."""
    names = [_TYPES.get(error["type"].split("_")[0]) for error in errors]
    known = [name for name in dict.fromkeys(names) if name]
    return " or ".join(known) if known and None not in names else None


def near_miss(expected: str, found: Any, is_quoted: bool) -> str | None:
    """Return how to turn the value into one of the expected type, or None."""
    if isinstance(found, str) and (found_placeholder := placeholder(found)):
        return f"{quoted(found_placeholder)} is a template's placeholder: {RENDER}"
    if isinstance(found, str) and (odd := lookalike(found)):
        return f"{odd.message}: {odd.hint}"
    match found:
        case str() if "number" in expected and (digits := _LEADING_ZERO.fullmatch(found)):
            return f"drop the leading 0: {quoted(digits[1] + digits[2])}"
        case str() if "number" in expected and is_number(found):
            if is_quoted:
                return f"remove the quotes: {quoted(found)}"
            return "to read a number out of text, write `${oc.decode:...}` around it"
        case str() if expected == "true or false" and found.casefold() in ("true", "false", "yes", "no", "on", "off"):
            return "remove the quotes, and write `true` or `false`"
        case None:
            return "give a value, or remove the key"
        case bool() | int() | float() if expected == "text":
            return "put it in quotes"
        case str() if expected == "a mapping" and re.fullmatch(r"[\w-]+", found):
            return f"write {quoted(f'{found}:')}, and its values below"
        case list() if expected == "a mapping":
            return "write `NAME: ...` for each entry, instead of `- ...`"
        case str() | int() | float() if expected == "a list":
            return "put it in brackets: `[...]`"
    return None


def variable_hint(expected: str, found: Any, written: str | None) -> str | None:
    """Return a hint if a value of a wrong type comes from an environment variable; `written` is its interpolation."""
    variable = re.search(r"oc\.env:\s*([^,}\s]+)", written or "")
    value = os.environ.get(variable[1]) if variable else None
    if variable is None or value is None or not isinstance(found, str | Hidden):
        return None
    if "number" in expected and "oc.decode" not in (written or "") and is_number(value):
        return f"to read a number out of it, write `${{oc.decode:${{oc.env:{variable[1]}}}}}`"
    name = f"the environment variable {quoted(variable[1])}"
    if isinstance(found, Hidden) and value.strip():
        return f"{name} must be {expected}; `--show-env` shows its value"
    return f"{name} is {'empty' if not value else shown(value)}, and must be {expected}"


def pair_hint(expected: str, found: Any) -> str | None:
    """Return a hint if a text instead of a mapping is one of its keys without the `:`."""
    pair = _pair(found) if expected == "a mapping" and isinstance(found, str) else None
    return pair and f"write {quoted(pair)}"


def _pair(text: str) -> str | None:
    """Return a text such as `path = x` as the key and value that were meant; None for other texts."""
    if odd := lookalike(text):
        return f"{text[: odd.index].rstrip()}: {text[odd.index + 1 :].strip()}" if odd.meant in ":=" else None
    found = _ASSIGNED.fullmatch(text)
    return f"{found[1]}: {found[2] or found[3] or ''}".rstrip() if found else None
