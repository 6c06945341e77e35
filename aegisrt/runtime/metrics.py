"""A running model's counts: answers by code, times in the queue and in the engine, batch sizes."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from aegisrt.core.request import ExecutionRequest
from aegisrt.core.result import Error
from aegisrt.core.timing import Moments
from aegisrt.runtime.failures import FailureLog

TIME_BOUNDS_US = (
    50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000,
    100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000, 10_000_000,
)  # fmt: skip
ROW_BOUNDS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1_024)
OK = "OK"
_MOST_NOTED = 32


@dataclass(frozen=True, slots=True)
class Histogram:
    """How many values were at most each bound: cumulative, as in Prometheus."""

    bounds: tuple[int, ...]
    """The bounds in ascending order, in the unit of the values: microseconds, or rows."""
    cumulative: tuple[int, ...]
    """One entry per bound, and a last one that counts all values."""
    sum: float
    """The sum of all values."""

    @property
    def count(self) -> int:
        """The number of values."""
        return self.cumulative[-1]

    def to_json(self) -> dict[str, Any]:
        """Return `{"count", "sum", "buckets": {"50": 3, ..., "+Inf": 9}}`."""
        names = [*map(str, self.bounds), "+Inf"]
        return {"count": self.count, "sum": self.sum, "buckets": dict(zip(names, self.cumulative, strict=True))}


@dataclass(frozen=True, slots=True)
class ModelMetrics:
    """One model's counts since its deployment, at one moment."""

    requests: dict[str, int]
    """Answers by code, `OK` for success. Each request is counted once."""
    queue_us: Histogram
    """From a request's entry to the engine's start, in microseconds; one value per request that reached the engine."""
    compute_us: Histogram
    """Inside the engine, in microseconds; one value per call."""
    batch_rows: Histogram
    """Rows of a call, without padding; one value per call of the engine, for a model with batching options."""
    instances: int
    """How many calls may run at once."""
    busy: int
    """Instances that run a call now."""
    queued: int
    """Requests that wait now."""
    memory_bytes: int | None
    """Memory of the model on its device; None if the engine does not report it."""

    batching: bool | None = None
    """Whether waiting requests are joined; None for a model without batching options."""
    restarts: int = 0
    """Processes of the engine that died, hung or broke the protocol, and were replaced (`isolation: process`)."""

    @property
    def failures(self) -> int:
        """Return how many requests were answered with an error, of any code; canceled ones too."""
        return sum(count for code, count in self.requests.items() if code != OK)

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        plain: dict[str, Any] = {"requests": self.requests}
        for name in ("queue_us", "compute_us", "batch_rows"):
            plain[name] = getattr(self, name).to_json()
        names = ("failures", "restarts", "instances", "busy", "queued", "memory_bytes", "batching")
        return plain | {name: getattr(self, name) for name in names}


class Recorder:
    """Counts. Its lock guards the counts alone; no other lock is taken and nothing is called under it.

    The short path only appends its times to `_noted`, without the lock; they are added up some dozens at a time. After
    an engine's call the counts are not in a CPU cache, and fetching them costs more than all other work for a request.
    """

    __slots__ = (
        "_batch_rows",
        "_codes",
        "_compute_us",
        "_failures",
        "_lock",
        "_most_noted",
        "_noted",
        "_queue_us",
        "mean_call_ns",
    )

    def __init__(self, failures: FailureLog | None = None) -> None:
        """`failures` logs them."""
        self._lock = threading.Lock()
        self._failures = failures
        self._noted: deque[Moments] = deque()
        self._codes: dict[str, int] = defaultdict(int)
        self._queue_us = _Counts(TIME_BOUNDS_US, 1000)
        self._compute_us = _Counts(TIME_BOUNDS_US, 1000)
        self._batch_rows = _Counts(ROW_BOUNDS, 1)
        self._most_noted = 1
        """How many times are noted before they are added up: few at first, so that `mean_call_ns` is there soon."""
        self.mean_call_ns: float | None = None
        """The mean time of the engine's calls, in nanoseconds, the later ones with more weight; None before the first.

        Read without the lock.
        """

    def answered(self, code: str) -> None:
        """Count one answer."""
        with self._lock:
            self._codes[code] += 1

    def failed(self, error: Error, request: ExecutionRequest) -> None:
        """Count an answer that is an error, and log the first of its kind."""
        self.answered(error.code)
        if self._failures is not None:
            self._failures.failed(error, getattr(request, "id", None))

    def ran(self, moments: Moments, *, awaited: bool = True) -> None:
        """Count a call of the engine for one request, and its success if the answer is awaited."""
        if awaited:
            self._noted.append(moments)
            if len(self._noted) < self._most_noted:
                return
        with self._lock:
            self._add_noted()
            if not awaited:
                self._add([moments])

    def ran_rows(self, rows: int) -> None:
        """Count the rows of a call that ran in the caller's thread, for a model with batching options."""
        with self._lock:
            self._batch_rows.add_all((rows,))

    def called(self, queue_ns: Sequence[int], compute_ns: int, rows: int) -> None:
        """Count one call of the engine for a batch of `rows` rows, whose requests waited `queue_ns`."""
        with self._lock:
            self._queue_us.add_all(queue_ns)
            self._compute_us.add_all((compute_ns,))
            self._batch_rows.add_all((rows,))
            self._measured(compute_ns)

    def snapshot(
        self,
        instances: int,
        busy: int,
        queued: int,
        memory_bytes: int | None,
        batching: bool | None = None,
        restarts: int = 0,
    ) -> ModelMetrics:
        """Return all counts of one moment."""
        with self._lock:
            self._add_noted()
            return ModelMetrics(
                dict(self._codes),
                self._queue_us.histogram(),
                self._compute_us.histogram(),
                self._batch_rows.histogram(),
                instances,
                busy,
                queued,
                memory_bytes,
                batching,
                restarts,
            )

    def _add_noted(self) -> None:
        """Add up the noted times; only the lock's holder removes any, so at least `len(_noted)` are there."""
        noted = [self._noted.popleft() for _ in range(len(self._noted))]
        if noted:
            self._add(noted)
            self._codes[OK] += len(noted)
            self._most_noted = min(2 * self._most_noted, _MOST_NOTED)

    def _add(self, calls: Sequence[Moments]) -> None:
        compute_ns = [ended - started for _, _, started, ended in calls]
        self._queue_us.add_all([started - entered for entered, _, started, _ in calls])
        self._compute_us.add_all(compute_ns)
        self._measured(sum(compute_ns) / len(calls))

    def _measured(self, call_ns: float) -> None:
        """Count a call's time, or the mean of some, for half of the mean of all."""
        mean = self.mean_call_ns
        self.mean_call_ns = float(call_ns) if mean is None else (mean + call_ns) / 2


class _Counts:
    """Counts values in a unit `scale` times finer than the bounds, so that nanoseconds are added as measured."""

    __slots__ = ("_bounds", "_counts", "_limits", "_scale", "_sum")

    def __init__(self, bounds: tuple[int, ...], scale: int) -> None:
        self._bounds = bounds
        self._scale = scale
        self._limits = tuple(bound * scale for bound in bounds)
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0

    def add_all(self, values: Sequence[int]) -> None:
        counts, limits = self._counts, self._limits
        for value in values:
            counts[bisect_left(limits, value)] += 1
        self._sum += sum(values)

    def histogram(self) -> Histogram:
        return Histogram(self._bounds, tuple(accumulate(self._counts)), self._sum / self._scale)
