"""`PostedRequest`: one request in a model's queue, whose answer is passed to a function."""

from __future__ import annotations

from collections.abc import Callable

from aegisrt.core.request import ExecutionRequest, ExecutionResult
from aegisrt.core.result import Result
from aegisrt.core.shown.log import Log
from aegisrt.runtime.scheduling.pending import Queued

_log = Log(__name__)


class PostedRequest(Queued):
    """The cheapest request in a queue: it has no lock, and wakes no thread. Thread-safe."""

    def __init__(
        self,
        request: ExecutionRequest,
        entered_ns: int,
        done: Callable[[Result[ExecutionResult]], object],
        withdraw: Callable[[Queued], bool],
    ) -> None:
        """`done` takes the answer; `withdraw` removes a waiting request from its queue, or returns False."""
        self.request = request
        self.entered_ns = entered_ns
        self._done = done
        self._withdraw = withdraw
        self._is_canceled = False

    def settle(self, result: Result[ExecutionResult]) -> None:
        """Pass the answer on; `sys.exit()` in the function ends neither the worker nor the rest of a batch."""
        try:
            self._done(result)
        except BaseException as error:  # noqa: BLE001
            _log.error("the function that takes the answer of a posted request failed", error=error)

    def done(self) -> bool:
        """Return whether the request is settled."""
        return self.stage == "done"

    def cancel(self) -> bool:
        """Withdraw the request while it waits; return True if it had not started, and now never will."""
        if self._withdraw(self):
            self._is_canceled = True
        return self._is_canceled
