"""`Pending`: one request in a model's queue, and the future of its answer; `Queued`: its part that the queue uses."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from concurrent.futures import CancelledError, Future, InvalidStateError
from concurrent.futures._base import CANCELLED_AND_NOTIFIED, FINISHED, PENDING
from time import perf_counter_ns
from typing import Any, Literal

from aegisrt.backends.base.call import Call
from aegisrt.core.priority import PRIORITIES
from aegisrt.core.request import ExecutionRequest, ExecutionResult
from aegisrt.core.result import Result
from aegisrt.core.shown.log import Log

Stage = Literal["new", "queued", "running", "done"]
_log = Log(__name__)


class Queued:
    """One request in a model's queue, however its answer is delivered.

    Whoever sets `stage` to `done`, under the queue's lock, settles the request, once. So the first of the worker, the
    deadline, `cancel` and `close` wins, and later answers are dropped.
    """

    stage: Stage = "new"
    level = PRIORITIES.index("normal")
    key: Hashable = None
    """Equal for requests that may share a batch: the shapes behind the first dimension, and the wanted outputs."""
    rows = 1
    may_join = False
    """Whether the request may become part of a batch."""
    deadline_ns: int | None = None
    entered_ns: int
    ready_ns: int
    """When it was checked, and began to wait."""
    request: ExecutionRequest
    call: Call[Any, Any] | None = None
    """What the engine gets. The queue drops it once it has run, or never will: it refers to the loaded model."""

    def settle(self, result: Result[ExecutionResult]) -> None:
        """Deliver the answer, in this thread."""
        raise NotImplementedError

    def done(self) -> bool:
        """Return whether the request is settled."""
        raise NotImplementedError

    def expired(self) -> bool:
        """Return whether the deadline has passed."""
        return self.deadline_ns is not None and perf_counter_ns() >= self.deadline_ns


class Answers:
    """The shared part of a model's futures: the lock of their states, and the function that withdraws one."""

    __slots__ = ("changed", "lock", "withdraw")

    def __init__(self, withdraw: Callable[[Pending], bool] | None = None) -> None:
        """`withdraw` removes a waiting request from its queue; it returns False if the request does not wait."""
        self.lock = threading.RLock()
        self.changed = threading.Condition(self.lock)
        self.withdraw = withdraw


class Pending(Future[Result[ExecutionResult]], Queued):
    """The future that `submit` returns. It always ends: in a Result, or canceled by its holder.

    `cancel()` succeeds only while the request waits.

    A plain `Future` creates a condition with a lock of its own, and another lock for each wait: a third of the time of
    a bare hop to a thread and back. Here all futures of a model share one condition, which guards their states for
    `concurrent.futures.wait` and `as_completed`, and `result` waits on a plain lock.
    """

    _state = PENDING
    _result: Result[ExecutionResult] | None = None
    _exception: BaseException | None = None

    def __init__(self, request: ExecutionRequest, entered_ns: int, answers: Answers) -> None:
        """Hold a request. The state is that of `Future`, whose own `__init__` would create a condition."""
        self.request = request
        self.entered_ns = entered_ns
        self._answers = answers
        self._condition = answers.changed
        self._waiters: list[Any] = []
        self._done_callbacks: list[Callable[[Future[Any]], object]] = []
        self._ended = threading.Lock()
        self._ended.acquire()

    def result(self, timeout: float | None = None) -> Result[ExecutionResult]:
        """Return the answer; raise TimeoutError after `timeout` seconds, and CancelledError if it was canceled."""
        if self._state is not FINISHED:
            self._wait(timeout)
            if self._state is not FINISHED:
                raise CancelledError
        if self._exception is not None:
            raise self._exception
        return self._result  # type: ignore[return-value]

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Return None once there is an answer, because errors are in the answer; else as `result`."""
        self._wait(timeout)
        if self._state is not FINISHED:
            raise CancelledError
        return self._exception

    def _wait(self, timeout: float | None) -> None:
        if not self._ended.acquire(timeout=-1 if timeout is None else min(max(0, timeout), threading.TIMEOUT_MAX)):
            raise TimeoutError
        self._ended.release()

    def set_result(self, result: Result[ExecutionResult]) -> None:
        """Set the answer, once, and run the callbacks in this thread."""
        with self._answers.lock:
            if self._state is not PENDING:
                raise InvalidStateError(f"{self._state}: {self!r}")
            self._result = result
            self._state = FINISHED
            for waiter in self._waiters:
                waiter.add_result(self)
        self._ended.release()
        if self._done_callbacks:
            self._invoke_callbacks()

    settle = set_result

    def set_exception(self, exception: BaseException | None) -> None:
        """Set an exception, as for any future. Nothing here calls it: errors are answers."""
        super().set_exception(exception)
        self._ended.release()

    def cancel(self) -> bool:
        """Cancel the request; return True if it had not started, and now never will."""
        withdraw = self._answers.withdraw
        if withdraw is None or not withdraw(self):
            return self.cancelled()
        with self._answers.lock:
            self._state = CANCELLED_AND_NOTIFIED
            for waiter in self._waiters:
                waiter.add_cancelled(self)
        self._ended.release()  # before the callbacks, which may ask for the result
        if self._done_callbacks:
            self._invoke_callbacks()
        return True

    def running(self) -> bool:
        """Return whether a worker runs the request now."""
        return self.stage == "running"

    def _invoke_callbacks(self) -> None:
        """Run the callbacks as any future does; `sys.exit()` in one ends neither the worker nor the rest of a batch."""
        for callback in self._done_callbacks:
            try:
                callback(self)
            except BaseException as error:  # noqa: BLE001
                _log.error("a callback of %r failed", self, error=error)
