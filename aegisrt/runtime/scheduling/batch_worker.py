"""`BatchWorker`: takes batches from a queue, runs each as one call, and answers its requests one by one."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from time import perf_counter_ns
from typing import Any

from aegisrt.backends.base.backend import RuntimeBackend
from aegisrt.core.result import Err, Ok
from aegisrt.manifest.queueing import BatchingOptions
from aegisrt.runtime.metrics import OK, Recorder
from aegisrt.runtime.scheduling.batch import is_joinable, joined, split
from aegisrt.runtime.scheduling.pending import Pending
from aegisrt.runtime.scheduling.queue import RequestQueue
from aegisrt.runtime.scheduling.seat import Seat
from aegisrt.runtime.scheduling.worker import LATE_IN_QUEUE, Answer, Worker, worker_failed

_log = logging.getLogger(__name__)


class BatchWorker(Worker):
    """The work of the threads of a model with batching."""

    def __init__(
        self, queue: RequestQueue, backend: RuntimeBackend[Any], recorder: Recorder, batching: BatchingOptions
    ) -> None:
        super().__init__(queue, backend, recorder)
        self._batching = batching

    def _serve(self, seat: Seat, batch: list[Pending]) -> None:
        try:
            answers = self._run(batch)
        except BaseException as error:  # noqa: BLE001  (a worker outlives anything that an engine raises)
            answers = [worker_failed(error) for _ in batch]
        for pending, answer, awaited in zip(batch, answers, self._queue.finish(seat), strict=True):
            if awaited:
                self._recorder.answered(OK if type(answer) is Ok else answer.unwrap_err().code)
                pending.set_result(answer)

    def _run(self, batch: list[Pending]) -> list[Answer]:
        if len(batch) > 1 or self._batching.pad_to_preferred:
            live = [pending for pending in batch if not pending.expired()]
            joint = self._run_joined(live) if live and is_joinable(live) else None
            if joint is not None:
                by_request = dict(zip(live, joint, strict=True))
                return [by_request.get(pending, LATE_IN_QUEUE) for pending in batch]
        return [self._run_one(pending) for pending in batch]

    def _run_one(self, pending: Pending) -> Answer:
        result = self.run_alone(pending)
        if type(result) is Ok:
            times = result.value.timings
            self._recorder.called((times.queue + times.host_to_device,), times.compute, pending.rows)
        return result

    def _run_joined(self, batch: Sequence[Pending]) -> list[Answer] | None:
        """Return the answers of a batch; None if its requests must be run one by one, to find the bad one."""
        started = perf_counter_ns()
        result = self._backend.execute(joined(batch, self._batching))
        if isinstance(result, Err):
            return None
        parts = split(result.value, batch, self._batching)
        if parts is None:
            _log.warning("the model does not answer one row for each row of a batch: its requests are run one by one")
            return None
        waits = []
        for pending, part in zip(batch, parts, strict=True):
            part.timings = part.timings._replace(queue=started - pending.entered_ns + part.timings.queue)
            waits.append(part.timings.queue + part.timings.host_to_device)
        self._recorder.called(waits, result.value.timings.compute, sum(pending.rows for pending in batch))
        return [Ok(part) for part in parts]
