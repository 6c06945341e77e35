"""`benchmark`: one scenario on one model, and its report; `sweep`: latency against load."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from aegisrt.bench.environment import environment
from aegisrt.bench.scenario_run import Progress, ScenarioRun, silent
from aegisrt.bench.scenarios import Scenario, measure
from aegisrt.bench.summary import Summary
from aegisrt.bench.workload import Workload
from aegisrt.core.result import ErrorCode, fail
from aegisrt.reports.junit import JUnitCase, JUnitSuite, junit_xml
from aegisrt.runtime.context import ExecutionContext

LOADS = (0.1, 0.3, 0.5, 0.7, 0.9)
"""Shares of the offline throughput at which a sweep measures."""


@dataclass(frozen=True, slots=True)
class Load:
    """What a scenario is run with."""

    seconds: float = 5.0
    rows: int = 1
    qps: float | None = None
    against_bare: bool = False


@dataclass(frozen=True, slots=True)
class BenchReport:
    """One scenario's results."""

    scenario: Scenario
    model: str
    backend: str
    load: Load
    ours: Summary
    bare: Summary | None

    def to_json(self) -> dict[str, Any]:
        """Return the JSON document of `aegisrt bench`."""
        document: dict[str, Any] = {
            "environment": environment(),
            "scenario": self.scenario,
            "model": self.model,
            "backend": self.backend,
            "seconds": self.load.seconds,
            "rows": self.load.rows,
            **self.ours.to_json(),
        }
        if self.load.qps is not None:
            document["qps"] = round(self.load.qps, 3)
        if self.bare is not None:
            document |= {"bare": self.bare.to_json(), "ratio": self.ours.over(self.bare)}
        return document

    @property
    def failures(self) -> list[str]:
        """Return for each code with which requests failed, of either side, their count and message."""
        sides = (self.ours,) if self.bare is None else (self.ours, self.bare)
        return [f"{count} {code}: {side.messages[code]}" for side in sides for code, count in side.errors.items()]

    def to_junit(self) -> bytes:
        """Return JUnit XML: one test case, which fails if a request failed; the numbers are its suite's properties."""
        classname, seconds = f"bench.{self.backend}.{self.model}", self.load.seconds
        case = JUnitCase(classname, self.scenario, seconds)
        if self.failures:
            failed = sum(sum(side.errors.values()) for side in (self.ours, self.bare) if side is not None)
            text = "; ".join(self.failures)
            case = replace(case, outcome="failed", message=f"{failed} requests failed", type="requests", text=text)
        suite = JUnitSuite(f"{self.model} on {self.backend}", [case], dict(self._numbers()))
        return junit_xml("aegisrt bench", [suite])

    def _numbers(self) -> Iterator[tuple[str, object]]:
        yield from environment().items()
        for prefix, summary in (("", self.ours), ("bare.", self.bare)):
            if summary is not None:
                latencies = summary.to_json()["latency_us"]
                yield from ((f"{prefix}latency_us.{name}", us) for name, us in latencies.items() if us is not None)
                yield f"{prefix}throughput_per_s", round(summary.throughput_per_s, 3)
                yield f"{prefix}count", summary.count
        if self.bare is not None:
            ratios = self.ours.over(self.bare)
            yield from ((f"ratio.{name}", ratio) for name, ratio in ratios.items() if ratio is not None)


def benchmark(
    context: ExecutionContext, model: str, scenario: Scenario, load: Load, progress: Progress = silent
) -> BenchReport:
    """Return the report of a scenario; `server` without a rate takes half of what `offline` reaches in a short run.

    INVALID_ARGUMENT: if no request was due in the time, or the model cannot take the rows.
    RESOURCE_EXHAUSTED: if requests cannot be sent at the rate.
    """
    workload = Workload.of(context, model, load.rows)
    if scenario == "server" and load.qps is None:
        load = Load(load.seconds, load.rows, _capacity(workload, load.seconds) / 2, load.against_bare)
    report = _measured(workload, model, scenario, load, progress)
    if not report.ours.count and not report.ours.errors:
        message = f"no request was due within {load.seconds:g} s at {load.qps or 0:g} a second"
        raise fail(ErrorCode.INVALID_ARGUMENT, message, "use a higher --qps, or more --seconds")
    return report


def _measured(
    workload: Workload, model: str, scenario: Scenario, load: Load, progress: Progress = silent
) -> BenchReport:
    run = ScenarioRun(workload, load.seconds, load.against_bare, load.qps, progress)
    measure(run, scenario)
    backend = workload.context.graph.manifest.models[model].backend
    bare = run.bare.summary() if load.against_bare else None
    return BenchReport(scenario, model, backend, load, run.ours.summary(), bare)


def sweep(context: ExecutionContext, model: str, load: Load, progress: Progress = silent) -> list[BenchReport]:
    """Return the `server` scenario at several shares of the offline throughput, each for the load's seconds."""
    workload = Workload.of(context, model, load.rows)
    capacity = _capacity(workload, load.seconds)
    reports = []
    for index, share in enumerate(LOADS):
        progress(index, len(LOADS), f"{share:.0%} load")
        at = Load(load.seconds, load.rows, capacity * share, load.against_bare)
        reports.append(_measured(workload, model, "server", at))
    return reports


def _capacity(workload: Workload, seconds: float) -> float:
    """Return how many requests a second succeed if all are there at once; if none does, how many fail."""
    run = ScenarioRun(workload, min(1.0, seconds))
    measure(run, "offline")
    count = run.ours.samples or sum(run.ours.errors.values())
    return max(1.0, count / (run.ours.elapsed_ns / 1e9))
