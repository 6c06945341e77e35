"""Phrases for messages: the type and the range that a field takes, and how to fix a near miss."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydantic_core import ErrorDetails

from aegisrt.core.suggest import quoted

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
    match found:
        case str() if "number" in expected and _is_number(found):
            if is_quoted:
                return f"remove the quotes: {quoted(found)}"
            return "to read a number out of text, write `${oc.decode:...}` around it"
        case str() if expected == "true or false" and found.casefold() in ("true", "false", "yes", "no", "on", "off"):
            return "remove the quotes, and write `true` or `false`"
        case None:
            return "give a value, or remove the key"
        case bool() | int() | float() if expected == "text":
            return "put it in quotes"
        case list() if expected == "a mapping":
            return "write `NAME: ...` for each entry, instead of `- ...`"
        case str() | int() | float() if expected == "a list":
            return "put it in brackets: `[...]`"
    return None


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
