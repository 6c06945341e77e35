"""`RequestCounts`: what a server counts of one model, for the statistics of the protocol and for metrics."""

from __future__ import annotations

from time import time_ns

from aegisrt.core.timing import StepTimes
from aegisrt.serving.protocol.description import Duration, Statistics


class RequestCounts:
    """Counts of one model. It belongs to the loop's thread; another thread may read it, and sees a recent state."""

    __slots__ = (
        "_compute",
        "_failed",
        "_failed_ns",
        "_fetched",
        "_last_ns",
        "_ok",
        "_ok_ns",
        "_queue",
        "_rows",
        "_staged",
    )

    def __init__(self) -> None:
        self._ok = self._ok_ns = self._failed = self._failed_ns = self._rows = self._last_ns = 0
        self._queue = self._staged = self._compute = self._fetched = 0

    def succeeded(self, elapsed_ns: int, times: StepTimes, rows: int) -> None:
        """Count an answer with outputs."""
        self._ok += 1
        self._ok_ns += elapsed_ns
        self._rows += rows
        self._last_ns = time_ns()
        self._queue += times.queue
        self._staged += times.host_to_device
        self._compute += times.compute
        self._fetched += times.device_to_host

    def failed(self, elapsed_ns: int) -> None:
        """Count an answer with an error."""
        self._failed += 1
        self._failed_ns += elapsed_ns

    def statistics(self, executions: int) -> Statistics:
        """Return all counts; `executions` is the number of calls of the engine, which a batch shares."""
        return Statistics(
            last_inference_ms=self._last_ns // 1_000_000,
            inferences=self._rows,
            executions=executions,
            success=Duration(self._ok, self._ok_ns),
            failure=Duration(self._failed, self._failed_ns),
            queue=Duration(self._ok, self._queue),
            compute_input=Duration(self._ok, self._staged),
            compute=Duration(self._ok, self._compute),
            compute_output=Duration(self._ok, self._fetched),
        )
