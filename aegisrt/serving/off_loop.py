"""`off_loop`: work on a large message in a thread, so that the server's loop goes on meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


async def off_loop(large: bool, work: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
    """Return what `work` returns: in a thread if it is `large`, else here, since a thread costs 50 us and more."""
    if large:
        return await asyncio.to_thread(work, *arguments, **named)
    return work(*arguments, **named)
