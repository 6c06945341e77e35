"""`Pending`: one request on its way through a model's queue, and the future of its answer."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from concurrent.futures import Future, InvalidStateError
from time import perf_counter_ns
from typing import Literal

from aegisrt.core.request import ExecutionRequest, ExecutionResult
from aegisrt.core.result import Result
from aegisrt.core.tensor import Array

Stage = Literal["new", "queued", "running", "gone"]
PRIORITIES = ("high", "normal", "low")


class Pending(Future[Result[ExecutionResult]]):
    """The future that `submit` answers. It always ends: in a Result, or cancelled by who holds it.

    Who takes a request out of the queue (`stage` leaves `queued`, under the queue's lock) decides what becomes of it;
    of several who would answer a running one, the first wins. `cancel()` holds only while the request waits.
    """

    def __init__(self, request: ExecutionRequest, entered_ns: int, deadline_ns: int | None) -> None:
        super().__init__()
        self.request = request
        self.entered_ns = entered_ns
        self.deadline_ns = deadline_ns
        self.stage: Stage = "new"
        self.level = PRIORITIES.index("normal")
        self.key: Hashable = None
        """What requests of one batch have in common: shapes behind the first dimension, dtypes, wanted outputs."""
        self.rows = 1
        self.inputs: dict[str, Array] | None = None
        """The checked inputs, where the request may become part of a batch."""
        self.withdraw: Callable[[Pending], bool] | None = None
        """Takes the request out of its queue; False where it has left it."""

    def cancel(self) -> bool:
        """Return True if the request had not started and now never will."""
        if self.withdraw is None or not self.withdraw(self):
            return self.cancelled()
        super().cancel()
        self.set_running_or_notify_cancel()
        return True

    def running(self) -> bool:
        """Return whether a worker runs the request now."""
        return self.stage == "running" and not self.done()

    def settle(self, result: Result[ExecutionResult]) -> bool:
        """Return True if this is the answer; False where there was one before, and this one is dropped."""
        try:
            self.set_result(result)
        except InvalidStateError:
            return False
        return True

    def expired(self) -> bool:
        """Return whether the deadline has passed."""
        return self.deadline_ns is not None and perf_counter_ns() >= self.deadline_ns
