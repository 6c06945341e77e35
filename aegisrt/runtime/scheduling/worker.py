"""`Worker`: takes requests from a queue, runs them, and answers them."""

from __future__ import annotations

from time import perf_counter_ns
from typing import Any

from aegisrt.backends.base.backend import RuntimeBackend
from aegisrt.core.deadline import late
from aegisrt.core.result import Err, Error, Ok
from aegisrt.core.shown.log import Log
from aegisrt.core.system_error import exhausted_hint, system_code
from aegisrt.runtime.executable import Answer
from aegisrt.runtime.metrics import Recorder
from aegisrt.runtime.scheduling.pending import Queued
from aegisrt.runtime.scheduling.queue import RequestQueue
from aegisrt.runtime.scheduling.seat import Seat

LATE_IN_QUEUE = late(
    "while the request waited for a free instance", "allow a longer timeout_ms, or declare more `instances`"
)
LATE_IN_ENGINE = late("while the engine ran", "allow a longer timeout_ms")
_log = Log(__name__)


class Worker:
    """The work of the threads of a model without batching. All threads share one object: it holds no state."""

    def __init__(self, queue: RequestQueue, backend: RuntimeBackend[Any], recorder: Recorder) -> None:
        self._queue = queue
        self._backend = backend
        self._recorder = recorder

    def work(self) -> None:
        """Run requests until the queue ends. A request is answered once its instance is free again."""
        seat = self._queue.add_seat()
        while (batch := self._queue.take(seat)) is not None:
            self._serve(seat, batch)
            del batch

    def _serve(self, seat: Seat, batch: list[Queued]) -> None:
        """Run the one request of a batch. Every request pays for each line here: keep it short."""
        pending = batch[0]
        call = pending.call
        try:
            answer = self.run_alone(pending)
        except BaseException as error:  # noqa: BLE001  (a worker outlives anything that an engine raises)
            answer = worker_failed(error)
        awaited = self._queue.finish(seat)[0]
        if type(answer) is Ok and call is not None:
            self._recorder.ran(call.moments, awaited=awaited)
        elif awaited:
            self._recorder.failed(answer.unwrap_err(), pending.request)
        if awaited:
            pending.settle(answer)

    def run_alone(self, pending: Queued) -> Answer:
        """Return the backend's answer to one request, with the time that it waited."""
        call = pending.call
        assert call is not None
        started = perf_counter_ns()
        if call.deadline_ns is not None and started >= call.deadline_ns:
            return LATE_IN_QUEUE
        call.waited_ns = started - pending.ready_ns
        return self._backend.run_call(call)


def worker_failed(error: BaseException) -> Err:
    """Return the answer to a request whose backend raised what none should raise."""
    _log.error("a worker failed", error=error)
    return Err(Error(system_code(error), f"the worker failed: {error!r}", exhausted_hint(error)))
