"""`Executable`: what a context dispatches requests to: a model now, a pipeline of models later."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Protocol, TypeAlias

from aegisrt.core.request import ExecutionRequest, ExecutionResult
from aegisrt.core.result import Result

Answer: TypeAlias = Result[ExecutionResult]
Done: TypeAlias = Callable[[Answer], object]
"""Takes the answer of a posted request."""


class Posted(Protocol):
    """A request on its way, without a future."""

    def cancel(self) -> bool:
        """Withdraw it while it waits; return True if it had not started, and now never will: `done` is not called."""


class Executable(Protocol):
    """Answers requests, each once. Every method may be called from any thread; none raises for a wrong request.

    `execute` and `submit` may block; `execute_if_idle` blocks while the engine runs; `post` never blocks. So an event
    loop uses `post`; or `execute_if_idle`, if `mean_call_ns` is short.
    """

    def execute(self, request: ExecutionRequest) -> Answer:
        """Return the answer; without a deadline, an idle instance runs it in the caller's thread."""

    def execute_if_idle(self, request: ExecutionRequest) -> Answer | None:
        """Return the answer of a request that runs in the caller's thread; None, at once, if no instance is idle.

        After None nothing has happened to the request: `post` it. A deadline does not interrupt the engine: the answer
        is DEADLINE_EXCEEDED, when the engine's call has ended.
        """

    def submit(self, request: ExecutionRequest) -> Future[Answer]:
        """Return the future of the answer; block only if the queue is full and its `when_full` is `wait`."""

    def post(self, request: ExecutionRequest, done: Done) -> Posted:
        """Call `done(answer)` once, unless the request is canceled; cheaper than a future, and never blocks.

        A full queue is answered RESOURCE_EXHAUSTED, whatever its `when_full`. `done` is called in the thread that
        settles the request: a worker's, that of the deadlines, that of `close`; or, if the request is refused at once,
        in the caller's, before `post` returns. It must not wait for anything: a worker serves no other request
        meanwhile. What it raises is logged and dropped.
        """

    async def execute_async(self, request: ExecutionRequest) -> Answer:
        """Return the answer without blocking the event loop; canceling the task cancels the request."""

    @property
    def is_idle(self) -> bool:
        """Whether an instance is free and no request waits; a hint, which may be out of date when it is returned."""

    @property
    def mean_call_ns(self) -> float | None:
        """The mean time of the last calls of the engine, in nanoseconds; None before the first. Takes no lock."""
