"""`Settler`: answers the requests of one model's queue, each once, and counts the answers."""

from __future__ import annotations

from aegisrt.core.result import Err, Error, ErrorCode, Ok
from aegisrt.runtime.executable import Answer
from aegisrt.runtime.metrics import OK, Recorder
from aegisrt.runtime.scheduling.pending import Queued
from aegisrt.runtime.scheduling.queue import RequestQueue
from aegisrt.runtime.scheduling.worker import LATE_IN_ENGINE, LATE_IN_QUEUE


class Settler:
    """Thread-safe: it holds no state. The queue decides which thread settles a request; no lock is held meanwhile."""

    def __init__(self, queue: RequestQueue, recorder: Recorder) -> None:
        self._queue = queue
        self._recorder = recorder

    def answer(self, pending: Queued, answer: Answer) -> None:
        """Answer a request that the caller has claimed, and count it."""
        if type(answer) is Ok:
            self._recorder.answered(OK)
        else:
            self._recorder.failed(answer.unwrap_err(), pending.request)
        pending.settle(answer)

    def refuse(self, pending: Queued, error: Error) -> None:
        """Answer a request that does not run with an error, unless it has ended."""
        if self._queue.claim(pending, also_running=False) is not None:
            self.answer(pending, Err(error))

    def expire(self, pending: Queued) -> None:
        """Answer DEADLINE_EXCEEDED, unless the request has ended."""
        stage = self._queue.claim(pending, also_running=True)
        if stage is not None:
            self.answer(pending, LATE_IN_ENGINE if stage == "running" else LATE_IN_QUEUE)

    def withdraw(self, pending: Queued) -> bool:
        """Remove a waiting request for its holder's `cancel`, and count it; return False if it does not wait."""
        if self._queue.claim(pending, also_running=False) is None:
            return False
        self._recorder.answered(ErrorCode.CANCELLED)
        return True
