"""`Priority`: which of the waiting requests runs first."""

from __future__ import annotations

from typing import Literal

from aegisrt.core.result import ErrorCode, fail
from aegisrt.core.suggest import suggest

Priority = Literal["low", "normal", "high"]
PRIORITIES: tuple[Priority, ...] = ("high", "normal", "low")
"""In the order in which they run."""


def priority_level(priority: object) -> int:
    """Return the index of a priority in `PRIORITIES`.

    INVALID_ARGUMENT: if it is not one of them.
    """
    for level, known in enumerate(PRIORITIES):
        if isinstance(priority, str) and priority == known:
            return level
    shown = f"`{priority}`" if isinstance(priority, str) else f"a {type(priority).__name__}"
    message = f"`priority` of the request is {shown}, not a priority"
    raise fail(ErrorCode.INVALID_ARGUMENT, message, suggest(str(priority), PRIORITIES, "priorities"))
