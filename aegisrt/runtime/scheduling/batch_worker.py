"""`BatchWorker`: takes batches from a queue, runs each as one call, and answers its requests one by one."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter_ns
from typing import Any

from aegisrt.backends.base.backend import RuntimeBackend
from aegisrt.core.result import Err, Ok
from aegisrt.manifest.queueing import BatchingOptions
from aegisrt.runtime.executable import Answer
from aegisrt.runtime.metrics import OK, Recorder
from aegisrt.runtime.scheduling.batch import is_joinable, joined, miscount, split
from aegisrt.runtime.scheduling.batch_switch import BatchSwitch
from aegisrt.runtime.scheduling.pending import Queued
from aegisrt.runtime.scheduling.queue import RequestQueue
from aegisrt.runtime.scheduling.seat import Seat
from aegisrt.runtime.scheduling.worker import LATE_IN_QUEUE, Worker, worker_failed


class BatchWorker(Worker):
    """The work of the threads of a model with batching."""

    def __init__(
        self,
        queue: RequestQueue,
        backend: RuntimeBackend[Any],
        recorder: Recorder,
        batching: BatchingOptions,
        switch: BatchSwitch,
    ) -> None:
        super().__init__(queue, backend, recorder)
        self._batching = batching
        self._switch = switch

    def _serve(self, seat: Seat, batch: list[Queued]) -> None:
        try:
            answers = self._run(batch)
        except BaseException as error:  # noqa: BLE001  (a worker outlives anything that an engine raises)
            answers = [worker_failed(error) for _ in batch]
        for pending, answer, awaited in zip(batch, answers, self._queue.finish(seat), strict=True):
            if awaited:
                if type(answer) is Ok:
                    self._recorder.answered(OK)
                else:
                    self._recorder.failed(answer.unwrap_err(), pending.request)
                pending.settle(answer)

    def _run(self, batch: list[Queued]) -> list[Answer]:
        if (len(batch) > 1 or self._batching.pad_to_preferred) and self._switch.off is None:
            live = [pending for pending in batch if not pending.expired()]
            joint = self._run_joined(live) if live and is_joinable(live) else None
            if joint is not None:
                by_request = dict(zip(live, joint, strict=True))
                return [by_request.get(pending, LATE_IN_QUEUE) for pending in batch]
        return [self._run_one(pending) for pending in batch]

    def _run_one(self, pending: Queued) -> Answer:
        result = self.run_alone(pending)
        if type(result) is Ok:
            self.check_rows(result.value.outputs, pending.rows)
            times = result.value.timings
            self._recorder.called((times.queue + times.host_to_device,), times.compute, pending.rows)
        return result

    def check_rows(self, outputs: dict[str, Any], rows: int) -> None:
        """Turn batching off if outputs have another number of rows than the inputs: the model is not row-wise.

        The answer of a lone request is right all the same. But batches of such a model may have the right number of
        rows by chance, and then each caller would get the rows of another.
        """
        wrong = miscount(outputs, rows)
        if wrong is not None and self._switch.turn_off(wrong):
            self._queue.stop_batching()

    def _run_joined(self, batch: Sequence[Queued]) -> list[Answer] | None:
        """Return the answers of a batch; None if its requests must be run one by one."""
        started = perf_counter_ns()
        call, rows = joined(batch, self._batching, started)
        result = self._backend.run_call(call)
        if isinstance(result, Err):
            return None
        self.check_rows(result.value.outputs, rows)
        if self._switch.off is not None:
            # Also if another worker has turned it off meanwhile: the rows of this batch may add up by chance.
            return None
        parts = split(result.value, batch)
        if parts is None:
            return None
        waits = []
        for pending, part in zip(batch, parts, strict=True):
            waited, copied = started - pending.ready_ns, pending.ready_ns - pending.entered_ns
            times = part.timings
            part.timings = times._replace(queue=times.queue + waited, host_to_device=times.host_to_device + copied)
            waits.append(part.timings.queue + part.timings.host_to_device)
        self._recorder.called(waits, result.value.timings.compute, sum(pending.rows for pending in batch))
        return [Ok(part) for part in parts]
