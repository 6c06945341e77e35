"""`Pending`: one request on its way through a model's queue, and the future of its answer."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from concurrent.futures import Future
from time import perf_counter_ns
from typing import Literal

from aegisrt.core.request import ExecutionRequest, ExecutionResult
from aegisrt.core.result import Result
from aegisrt.core.tensor import Array

Stage = Literal["new", "queued", "running", "done"]
PRIORITIES = ("high", "normal", "low")


class Pending(Future[Result[ExecutionResult]]):
    """The future that `submit` answers. It always ends: in a Result, or cancelled by who holds it.

    Who moves `stage` to `done`, under the queue's lock, is the one who ends it; so of the worker, the deadline,
    `cancel` and `close` the first wins, and what comes later is dropped. `cancel()` holds only while the request waits.
    """

    stage: Stage = "new"
    level = PRIORITIES.index("normal")
    key: Hashable = None
    """What requests of one batch have in common: shapes behind the first dimension, wanted outputs."""
    rows = 1
    inputs: dict[str, Array] | None = None
    """The checked inputs, where the request may become part of a batch."""
    deadline_ns: int | None = None

    def __init__(
        self, request: ExecutionRequest, entered_ns: int, withdraw: Callable[[Pending], bool] | None = None
    ) -> None:
        """Hold a request; `withdraw` takes it out while it waits, and returns False where it does not."""
        super().__init__()
        self.request = request
        self.entered_ns = entered_ns
        self.withdraw = withdraw

    def cancel(self) -> bool:
        """Return True if the request had not started and now never will."""
        if self.withdraw is None or not self.withdraw(self):
            return self.cancelled()
        super().cancel()
        self.set_running_or_notify_cancel()
        return True

    def running(self) -> bool:
        """Return whether a worker runs the request now."""
        return self.stage == "running"

    def expired(self) -> bool:
        """Return whether the deadline has passed."""
        return self.deadline_ns is not None and perf_counter_ns() >= self.deadline_ns
