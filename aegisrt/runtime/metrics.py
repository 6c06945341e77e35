"""What a running model counts: requests by code, times in the queue and in the engine, sizes of batches."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from aegisrt.core.timing import StepTimes

TIME_BOUNDS_US = (
    50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000,
    100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000, 10_000_000,
)  # fmt: skip
ROW_BOUNDS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1_024)
OK = "OK"
_MOST_NOTED = 32


@dataclass(frozen=True, slots=True)
class Histogram:
    """How often a value was at most each bound, as Prometheus has it."""

    bounds: tuple[int, ...]
    cumulative: tuple[int, ...]
    """One entry a bound, and one more for all values."""
    sum: float

    @property
    def count(self) -> int:
        """How many values there were."""
        return self.cumulative[-1]

    def to_json(self) -> dict[str, Any]:
        """Return `{"count", "sum", "buckets": {"50": 3, ..., "+Inf": 9}}`."""
        names = [*map(str, self.bounds), "+Inf"]
        return {"count": self.count, "sum": self.sum, "buckets": dict(zip(names, self.cumulative, strict=True))}


@dataclass(frozen=True, slots=True)
class ModelMetrics:
    """One model's counts since its deployment, at one moment."""

    requests: dict[str, int]
    """Answers by code; `OK` for those that succeeded. Each request is counted once."""
    queue_us: Histogram
    """From a request's entry to the engine's start, in microseconds; one value a request that reached the engine."""
    compute_us: Histogram
    """Inside the engine, in microseconds; one value a call of it."""
    batch_rows: Histogram
    """Rows of a batch, without padding; one value a call of the engine that came from a queue with batching."""
    instances: int
    busy: int
    """Instances that run a call now."""
    queued: int
    """Requests that wait now."""
    memory_bytes: int | None
    """What the model holds on its device; None where the engine does not tell."""

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        plain: dict[str, Any] = {"requests": self.requests}
        for name in ("queue_us", "compute_us", "batch_rows"):
            plain[name] = getattr(self, name).to_json()
        return plain | {name: getattr(self, name) for name in ("instances", "busy", "queued", "memory_bytes")}


class Recorder:
    """Counts. Its lock guards the counts alone; nothing else is taken or called under it.

    What the short path counts is only noted, without the lock, and added up some dozens at a time: after an engine's
    call the counts are in no cache, and to fetch them costs more than all else that is done for a request.
    """

    __slots__ = ("_batch_rows", "_codes", "_compute_us", "_lock", "_noted", "_queue_us")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._noted: deque[StepTimes] = deque()
        self._codes: dict[str, int] = defaultdict(int)
        self._queue_us = _Counts(TIME_BOUNDS_US, 1000)
        self._compute_us = _Counts(TIME_BOUNDS_US, 1000)
        self._batch_rows = _Counts(ROW_BOUNDS, 1)

    def answered(self, code: str) -> None:
        """Count one answer."""
        with self._lock:
            self._codes[code] += 1

    def ran(self, times: StepTimes, *, awaited: bool = True) -> None:
        """Count a call of the engine for one request, and its success where the answer is awaited."""
        if awaited:
            self._noted.append(times)
            if len(self._noted) < _MOST_NOTED:
                return
        with self._lock:
            self._add_noted()
            if not awaited:
                self._add(times)

    def called(self, queue_ns: Sequence[int], compute_ns: int, rows: int) -> None:
        """Count one call of the engine for a batch of `rows` rows, whose requests waited `queue_ns`."""
        with self._lock:
            for waited in queue_ns:
                self._queue_us.add(waited)
            self._compute_us.add(compute_ns)
            self._batch_rows.add(rows)

    def snapshot(self, instances: int, busy: int, queued: int, memory_bytes: int | None) -> ModelMetrics:
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
            )

    def _add_noted(self) -> None:
        """Only the lock's holder takes from `_noted`, so that as many are there as were counted."""
        for _ in range(len(self._noted)):
            self._add(self._noted.popleft())
            self._codes[OK] += 1

    def _add(self, times: StepTimes) -> None:
        self._queue_us.add(times.queue + times.host_to_device)
        self._compute_us.add(times.compute)


class _Counts:
    """Values in a unit of which `scale` make one of the bounds', so that times are added as they are measured."""

    __slots__ = ("_bounds", "_counts", "_limits", "_scale", "_sum")

    def __init__(self, bounds: tuple[int, ...], scale: int) -> None:
        self._bounds = bounds
        self._scale = scale
        self._limits = tuple(bound * scale for bound in bounds)
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0

    def add(self, value: int) -> None:
        self._counts[bisect_left(self._limits, value)] += 1
        self._sum += value

    def histogram(self) -> Histogram:
        return Histogram(self._bounds, tuple(accumulate(self._counts)), self._sum / self._scale)
