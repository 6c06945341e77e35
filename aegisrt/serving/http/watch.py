"""`ClientWatch`: cancels the task of a request when its client goes away."""

from __future__ import annotations

import asyncio
from contextlib import AbstractContextManager
from types import TracebackType

from aegisrt.serving.http.body import Receive

_AFTER_S = 0.005
"""Most requests are answered before that, and need no watch."""


class ClientWatch(AbstractContextManager[None]):
    """A block in which the current task is canceled if the client goes away; the request is read already."""

    __slots__ = ("_receive", "_task", "_timer", "_watch", "is_gone")

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._watch: asyncio.Task[None] | None = None
        self.is_gone = False
        """Whether the client went away, and the task was canceled therefore."""

    def __enter__(self) -> None:
        self._task = asyncio.current_task()
        self._timer = asyncio.get_running_loop().call_later(_AFTER_S, self._start)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        if self._watch is not None:
            self._watch.cancel()

    def _start(self) -> None:
        self._watch = asyncio.get_running_loop().create_task(self._wait())

    async def _wait(self) -> None:
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                break
        self.is_gone = True
        if self._task is not None:
            self._task.cancel()
