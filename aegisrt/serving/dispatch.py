"""`Dispatcher`: runs a request in the server's loop if its model is quick and idle, else in the model's workers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Literal, TypeAlias

from aegisrt.core.request import ExecutionRequest, ExecutionResult
from aegisrt.core.result import Err, ErrorCode, Result
from aegisrt.runtime.executable import Executable
from aegisrt.serving.mailbox import Mailbox, Reply

Watch: TypeAlias = AbstractContextManager[None]
Find: TypeAlias = Callable[[], Executable]
"""Returns the model as it is now: another one after it was loaded again."""
_NO_WATCH: Watch = nullcontext()
Mode = Literal["auto", "inline", "worker"]
_SMALL_BYTES = 1 << 16
_TIMES_MEAN = 4


class Dispatcher:
    """Dispatches the requests of one model. All methods belong to the loop's thread."""

    def __init__(self, find: Find, mode: Mode, inline_below_us: int, mailbox: Mailbox) -> None:
        self._find = find
        self._mode = mode
        self._inline_below_ns = inline_below_us * 1000
        self._mailbox = mailbox
        self.inline = 0
        """Requests that ran in the loop."""
        self._inline_bytes = 0
        self.worker = 0
        """Requests that ran in a worker."""

    async def execute(self, request: ExecutionRequest, watch: Watch | None = None) -> Result[ExecutionResult]:
        """Return the answer; canceling the task withdraws a request that still waits.

        `watch` is entered while the request is in the queue or in a worker: it may cancel the task.
        The errors of `ExecutionContext.execute`.
        """
        executable = self._find()
        answer = await self._run(executable, request, watch)
        if isinstance(answer, Err) and answer.error.code is ErrorCode.NOT_LOADED and self._find() is not executable:
            return await self._run(self._find(), request, watch)  # it was loaded again meanwhile
        return answer

    async def _run(
        self, executable: Executable, request: ExecutionRequest, watch: Watch | None
    ) -> Result[ExecutionResult]:
        size = _input_bytes(request) if self._mode == "auto" else 0
        if self._runs_inline(executable, size):
            answer = executable.execute_if_idle(request)
            if answer is not None:
                self.inline += 1
                self._inline_bytes += size
                return answer
        self.worker += 1
        reply: Reply = asyncio.get_running_loop().create_future()
        posted = executable.post(request, partial(self._mailbox.put, reply))
        try:
            with watch or _NO_WATCH:
                result: Result[ExecutionResult] = await reply
        except asyncio.CancelledError:
            posted.cancel()
            raise
        return result

    def _runs_inline(self, executable: Executable, size: int) -> bool:
        """Return whether a request of `size` bytes runs in the loop.

        The mean time of earlier calls says nothing of a much larger input, which would hold up the loop.
        """
        if self._mode != "auto":
            return self._mode == "inline"
        if size > _SMALL_BYTES and size * max(self.inline, 1) > _TIMES_MEAN * self._inline_bytes:
            return False
        mean_ns = executable.mean_call_ns
        return mean_ns is not None and mean_ns < self._inline_below_ns


def _input_bytes(request: ExecutionRequest) -> int:
    """Return the size of a request's inputs; that of texts with their characters."""
    size = 0
    for array in request.inputs.values():
        size += array.nbytes
        if array.dtype.hasobject and size <= _SMALL_BYTES:
            size += sum(map(len, array.flat))
    return size


def mode_of(declared: Mode, *, batched: bool, isolated: bool) -> Mode:
    """Return the mode of a model: with `auto`, what must not run in the loop runs in workers.

    A batch forms in the queue alone, and a call of another process may hang until that process is replaced.
    """
    return "worker" if declared == "auto" and (batched or isolated) else declared
