"""`Mailbox`: answers from worker threads to an event loop, all that are there with one wake-up of the loop."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, TypeAlias

Reply: TypeAlias = "asyncio.Future[Any]"


class Mailbox:
    """Sets the results of futures of one loop. `put` may be called from any thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._answers: deque[tuple[Reply, Any]] = deque()
        self._is_awake = False

    def put(self, future: Reply, answer: Any) -> None:
        """Set a future's result in its loop, unless it was canceled; after the loop has ended, do nothing."""
        self._answers.append((future, answer))
        if self._is_awake:  # `_deliver` has not started, so it finds this answer
            return
        self._is_awake = True
        try:
            self._loop.call_soon_threadsafe(self._deliver)
        except RuntimeError:  # the loop is closed
            self._answers.clear()

    def _deliver(self) -> None:
        self._is_awake = False  # first: an answer that comes from now on wakes the loop again
        while self._answers:
            future, answer = self._answers.popleft()
            if not future.done():
                future.set_result(answer)
