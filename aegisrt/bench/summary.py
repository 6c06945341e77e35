"""`RequestTimes`: requests as they are measured; `Summary`: their percentiles and rates."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

import numpy as np

from aegisrt.core.result import Error

PERCENTILES = (50, 90, 99)


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the smallest value that at least `percent` of the values do not exceed (the nearest rank)."""
    return float(np.percentile(values, percent, method="inverted_cdf"))


@dataclass(slots=True)
class RequestTimes:
    """Requests of one kind (ours, or the bare engine's) while they are measured; all turns are added up."""

    latencies_ns: list[int] = field(default_factory=list)
    elapsed_ns: int = 0
    """Time in which requests of this kind alone were running."""
    samples: int = 0
    """Answered requests; a query of several counts as several."""
    errors: Counter[str] = field(default_factory=Counter)
    """Failed requests by code; they have no latency here."""
    messages: dict[str, str] = field(default_factory=dict)
    """The first error's message by code."""

    def failed(self, error: Error) -> None:
        """Count a failed request."""
        self.errors[error.code] += 1
        self.messages.setdefault(error.code, error.message)

    def summary(self) -> Summary:
        """Return the summary of all turns; if nothing was answered, every latency is None."""
        times_us = [latency / 1e3 for latency in self.latencies_ns]
        latency_us = {f"p{percent}": percentile(times_us, percent) if times_us else None for percent in PERCENTILES}
        latency_us["mean"] = fmean(times_us) if times_us else None
        rate = self.samples / (self.elapsed_ns / 1e9) if self.elapsed_ns else 0.0
        return Summary(latency_us, rate, len(times_us), dict(self.errors), self.messages)


@dataclass(frozen=True, slots=True)
class Summary:
    """Latencies in microseconds, and samples a second."""

    latency_us: dict[str, float | None]
    """`p50`, `p90`, `p99` (nearest rank) and `mean`; None if nothing was answered."""
    throughput_per_s: float
    count: int
    """Latencies that were measured."""
    errors: dict[str, int]
    messages: dict[str, str] = field(default_factory=dict)
    """The first error's message by code."""

    def to_json(self) -> dict[str, Any]:
        """Return plain values, rounded to nanoseconds and thousandths."""
        return {
            "latency_us": _rounded(self.latency_us.items()),
            "throughput_per_s": round(self.throughput_per_s, 3),
            "count": self.count,
            "errors": self.errors,
            "messages": self.messages,
        }

    def over(self, bare: Summary) -> dict[str, float | None]:
        """Return this summary's numbers divided by the bare engine's; for latencies less is better, for rates more.

        A ratio is None if either side answered nothing.
        """
        ratios = {name: _ratio(value, bare.latency_us[name]) for name, value in self.latency_us.items()}
        ratios["throughput"] = _ratio(self.throughput_per_s or None, bare.throughput_per_s)
        return _rounded(ratios.items())


def _ratio(ours: float | None, bare: float | None) -> float | None:
    return ours / bare if ours is not None and bare else None


def _rounded(items: Iterable[tuple[str, float | None]]) -> dict[str, float | None]:
    return {name: None if value is None else round(value, 3) for name, value in items}
