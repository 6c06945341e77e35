"""`Priority`: which of the requests that wait goes first."""

from __future__ import annotations

from typing import Literal

from aegisrt.core.result import ErrorCode, fail
from aegisrt.core.suggest import suggest

Priority = Literal["low", "normal", "high"]
PRIORITIES: tuple[Priority, ...] = ("high", "normal", "low")
"""The one that goes first is first."""


def priority_level(priority: object) -> int:
    """Return the place of a priority among `PRIORITIES`; raise INVALID_ARGUMENT for what is none."""
    for level, known in enumerate(PRIORITIES):
        if isinstance(priority, str) and priority == known:
            return level
    shown = f"`{priority}`" if isinstance(priority, str) else f"a {type(priority).__name__}"
    message = f"`priority` of the request is {shown}, which is no priority"
    raise fail(ErrorCode.INVALID_ARGUMENT, message, suggest(str(priority), PRIORITIES, "priorities"))
