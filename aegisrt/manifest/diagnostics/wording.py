"""How messages show values: on one line, clipped, and with the name of their type."""

from __future__ import annotations

import json
from typing import Any

from aegisrt.core.suggest import escaped
from aegisrt.manifest.hidden import Hidden

_HUGE_BITS = 512


def shown(value: Any, limit: int = 60) -> str:
    """Return a value for a message in YAML's notation: on one line, clipped, without control characters."""
    match value:
        case Hidden():
            text = str(value)
        case None | bool() | str():
            text = escaped(json.dumps(value, ensure_ascii=False))
        case dict():
            text = "a mapping" if value else "an empty mapping"
        case list() | tuple():
            text = "a list" if value else "an empty list"
        case int() if value.bit_length() > _HUGE_BITS:
            text = "a huge number"
        case _:
            text = escaped(str(value))
    return text if len(text) <= limit else text[: limit - 1] + "…"


def described(value: Any) -> str:
    """Return a value with its type, for `got ...`: `the text "5"`, `the number 5`, `a mapping`."""
    match value:
        case str():
            return f"the text {shown(value)}"
        case Hidden() | None | bool() | dict() | list() | tuple():
            return shown(value)
        case int() | float():
            return f"the number {shown(value)}"
    return f"a Python {type(value).__name__}"
