"""`Summary`: what many timed requests were like."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

from aegisrt.bench.percentiles import percentile
from aegisrt.core.result import Error

PERCENTILES = (50, 90, 99)


@dataclass(slots=True)
class Timed:
    """Requests of one kind as they are measured; turns of it are added up."""

    latencies_ns: list[int] = field(default_factory=list)
    elapsed_ns: int = 0
    """Time in which requests of this kind alone were running."""
    samples: int = 0
    """Answered requests; a query of several is so many."""
    errors: Counter[str] = field(default_factory=Counter)
    """Answers that were no result, by code; they have no latency here."""
    words: dict[str, str] = field(default_factory=dict)
    """What the first of them said, by code."""

    def failed(self, error: Error) -> None:
        """Count an answer that was no result."""
        self.errors[error.code] += 1
        self.words.setdefault(error.code, error.message)

    def summary(self) -> Summary:
        """Return the summary of all turns; of nothing, all numbers are 0."""
        times_us = [latency / 1e3 for latency in self.latencies_ns]
        latency_us = {f"p{percent}": percentile(times_us, percent) if times_us else 0.0 for percent in PERCENTILES}
        latency_us["mean"] = fmean(times_us) if times_us else 0.0
        rate = self.samples / (self.elapsed_ns / 1e9) if self.elapsed_ns else 0.0
        return Summary(latency_us, rate, len(times_us), dict(self.errors), self.words)


@dataclass(frozen=True, slots=True)
class Summary:
    """Latencies in microseconds, and samples a second."""

    latency_us: dict[str, float]
    """`p50`, `p90`, `p99` (nearest rank) and `mean`."""
    throughput_per_s: float
    count: int
    """Latencies that were measured."""
    errors: dict[str, int]
    words: dict[str, str] = field(default_factory=dict)
    """What the first error of each code said."""

    def to_json(self) -> dict[str, Any]:
        """Return plain values, rounded to nanoseconds and thousandths."""
        return {
            "latency_us": _rounded(self.latency_us.items()),
            "throughput_per_s": round(self.throughput_per_s, 3),
            "count": self.count,
            "errors": self.errors,
        }

    def over(self, bare: Summary) -> dict[str, float]:
        """Return this summary's numbers divided by the bare engine's; of latencies less is better, of rates more."""
        ratios = {name: value / bare.latency_us[name] for name, value in self.latency_us.items() if bare.count}
        if bare.throughput_per_s:
            ratios["throughput"] = self.throughput_per_s / bare.throughput_per_s
        return _rounded(ratios.items())


def _rounded(items: Iterable[tuple[str, float]]) -> dict[str, float]:
    return {name: round(value, 3) for name, value in items}
