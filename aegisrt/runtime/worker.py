"""`Worker`: takes batches from a queue, runs them, and answers their requests."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from time import perf_counter_ns
from typing import Any, TypeAlias

from aegisrt.backends.base import RuntimeBackend
from aegisrt.core.request import ExecutionResult
from aegisrt.core.result import Err, Error, ErrorCode, Ok, Result
from aegisrt.manifest.serving import BatchingOptions
from aegisrt.runtime.batch import joined, split
from aegisrt.runtime.metrics import Recorder
from aegisrt.runtime.pending import Pending
from aegisrt.runtime.queue import RequestQueue

Answer: TypeAlias = Result[ExecutionResult]
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
        expire: Callable[[Pending], None],
    ) -> None:
        self._queue = queue
        self._backend = backend
        self._batching = batching
        self._recorder = recorder
        self._answer = answer
        self._expire = expire

    def work(self) -> None:
        """Run batches until the queue ends. Answers are given after the instance is free again."""
        while (batch := self._queue.take()) is not None:
            live = [pending for pending in batch if not pending.expired()]
            answers = self._answers(live)
            self._queue.leave(batch)
            for pending in batch:
                if pending not in live:
                    self._expire(pending)
            for pending, answer in zip(live, answers, strict=True):
                self._answer(pending, answer)
            del batch, live, answers

    def _answers(self, live: Sequence[Pending]) -> list[Answer]:
        try:
            return self._run(live)
        except BaseException as error:  # noqa: BLE001  (a worker outlives whatever an engine raises)
            _log.exception("a worker failed")
            return [Err(Error(ErrorCode.INTERNAL, f"the worker failed: {error!r}")) for _ in live]

    def _run(self, live: Sequence[Pending]) -> list[Answer]:
        if self._batching is not None and (len(live) > 1 or (live and self._batching.pad_to_preferred)):
            answers = self._run_joined(live, self._batching)
            if answers is not None:
                return answers
        return [self._run_alone(pending) for pending in live]

    def _run_alone(self, pending: Pending) -> Answer:
        started = perf_counter_ns()
        result = self._backend.execute(pending.request)
        if isinstance(result, Ok):
            self._count([pending], started, result.value)
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
        self._count(batch, started, *parts)
        return [Ok(part) for part in parts]

    def _count(self, batch: Sequence[Pending], started: int, *results: ExecutionResult) -> None:
        """Count one call of the engine, and add to each result's `queue` what its request waited before."""
        waits = []
        for pending, result in zip(batch, results, strict=True):
            times = result.timings
            waits.append(started - pending.entered_ns + times.queue)
            result.timings = times._replace(queue=waits[-1])
        rows = None if self._batching is None else sum(pending.rows for pending in batch)
        self._recorder.called(waits, results[0].timings.compute, rows)
