"""`Worker`: takes batches from a queue, runs them, and answers their requests."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from time import perf_counter_ns
from typing import Any, TypeAlias

from aegisrt.backends.base import RuntimeBackend
from aegisrt.core.deadline import late
from aegisrt.core.request import ExecutionResult
from aegisrt.core.result import Err, Error, ErrorCode, Ok, Result
from aegisrt.core.timing import StepTimes
from aegisrt.manifest.serving import BatchingOptions
from aegisrt.runtime.batch import joined, split
from aegisrt.runtime.metrics import Recorder
from aegisrt.runtime.pending import Pending
from aegisrt.runtime.queue import RequestQueue

Answer: TypeAlias = Result[ExecutionResult]
LATE_IN_QUEUE = late(
    "while the request waited for a free instance", "allow a longer timeout_ms, or declare more `instances`"
)
LATE_IN_ENGINE = late("while the engine ran", "allow a longer timeout_ms")
_log = logging.getLogger(__name__)


class Worker:
    """What the worker threads of one model do. It holds no state of its own, so one object serves all of them."""

    def __init__(
        self,
        queue: RequestQueue,
        backend: RuntimeBackend[Any],
        batching: BatchingOptions | None,
        recorder: Recorder,
        answer: Callable[[Pending, Answer], None],
    ) -> None:
        self._queue = queue
        self._backend = backend
        self._batching = batching
        self._recorder = recorder
        self._answer = answer

    def work(self) -> None:
        """Run batches until the queue ends. Answers are given when the instance is free again."""
        while (batch := self._queue.take()) is not None:
            try:
                answers = self._run(batch)
            except BaseException as error:  # noqa: BLE001  (a worker outlives whatever an engine raises)
                _log.exception("a worker failed")
                answers = [Err(Error(ErrorCode.INTERNAL, f"the worker failed: {error!r}")) for _ in batch]
            for pending, answer, awaited in zip(batch, answers, self._queue.finish(batch), strict=True):
                if awaited:
                    self._answer(pending, answer)
            del batch, answers, pending, answer

    def _run(self, batch: list[Pending]) -> list[Answer]:
        if self._batching is None:
            return [self._run_alone(batch[0])]
        if len(batch) > 1 or self._batching.pad_to_preferred:
            live = [pending for pending in batch if not pending.expired()]
            joint = self._run_joined(live, self._batching) if live else None
            if joint is not None:
                by_request = dict(zip(live, joint, strict=True))
                return [by_request.get(pending, LATE_IN_QUEUE) for pending in batch]
        return [self._run_alone(pending) for pending in batch]

    def _run_alone(self, pending: Pending) -> Answer:
        started = perf_counter_ns()
        if pending.deadline_ns is not None and started >= pending.deadline_ns:
            return LATE_IN_QUEUE
        result = self._backend.execute(pending.request)
        if type(result) is Ok:
            waited, checks, compute, copies = result.value.timings
            waited += started - pending.entered_ns
            result.value.timings = StepTimes(waited, checks, compute, copies)
            if self._batching is None:
                self._recorder.called_once(waited, compute)
            else:
                self._recorder.called((waited,), compute, pending.rows)
        return result

    def _run_joined(self, batch: Sequence[Pending], batching: BatchingOptions) -> list[Answer] | None:
        """Return the answers of a batch; None where it must be run one by one, to find which request is the bad one."""
        started = perf_counter_ns()
        result = self._backend.execute(joined(batch, batching))
        if isinstance(result, Err):
            return None
        parts = split(result.value, batch, batching)
        if parts is None:
            _log.warning("the model does not answer one row for each row of a batch: its requests are run one by one")
            return None
        waits = []
        for pending, part in zip(batch, parts, strict=True):
            waits.append(started - pending.entered_ns + part.timings.queue)
            part.timings = part.timings._replace(queue=waits[-1])
        self._recorder.called(waits, result.value.timings.compute, sum(pending.rows for pending in batch))
        return [Ok(part) for part in parts]
