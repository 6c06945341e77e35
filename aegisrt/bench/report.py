"""`benchmark`: one scenario on one model, and its report; `sweep`: latency against load."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from aegisrt.bench.environment import engine, environment
from aegisrt.bench.scenario_run import Progress, ScenarioRun, silent
from aegisrt.bench.scenarios import Scenario, measure, scenario_s
from aegisrt.bench.shapes import Shapes
from aegisrt.bench.summary import Summary
from aegisrt.bench.workload import Workload
from aegisrt.core.result import ErrorCode, fail
from aegisrt.core.tensor import shape_text
from aegisrt.reports.junit import JUnitCase, JUnitSuite, junit_xml

LOADS = (0.1, 0.3, 0.5, 0.7, 0.9)
"""Shares of the offline throughput at which a sweep measures."""


@dataclass(frozen=True, slots=True)
class Load:
    """What a scenario is run with."""

    seconds: float = 5.0
    rows: int = 1
    qps: float | None = None
    against_bare: bool = False
    shapes: Shapes = field(default_factory=dict)
    """Shapes of zeros that the user asked for, by input name."""

    def to_json(self) -> dict[str, Any]:
        """Return the options of the command line, as the user gave them."""
        shapes = {name: list(shape) for name, shape in self.shapes.items()}
        against = "bare" if self.against_bare else None
        return {"seconds": self.seconds, "rows": self.rows, "qps": self.qps, "against": against, "shapes": shapes}


@dataclass(frozen=True, slots=True)
class BenchReport:
    """One scenario's results, and everything that they depend on."""

    scenario: Scenario
    model: str
    backend: str
    load: Load
    ours: Summary
    bare: Summary | None
    inputs: list[dict[str, Any]]
    """Name, dtype and shape of each input that was sent."""
    inputs_from: str
    """`sample` or `zeros`."""
    engine: dict[str, Any] = field(default_factory=dict)
    """Its kind, version, device and metadata; in the reports of `benchmark`."""
    environment: dict[str, Any] = field(default_factory=dict)
    """The machine, the date and the versions; in the reports of `benchmark`."""
    options: dict[str, Any] = field(default_factory=dict)
    """What the manifest declares of the model and its backend, and the options of the command line."""

    def to_json(self) -> dict[str, Any]:
        """Return the JSON document of `aegisrt bench`."""
        document: dict[str, Any] = {
            "environment": self.environment,
            "engine": self.engine,
            "scenario": self.scenario,
            "model": self.model,
            "backend": self.backend,
            "inputs": self.inputs,
            "inputs_from": self.inputs_from,
            "options": self.options,
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
    def sent(self) -> str:
        """Return what was sent, as one line: `x FP32[1,4], zeros`."""
        shown = [f"{one['name']} {one['dtype']}{shape_text(one['shape'])}" for one in self.inputs]
        return f"{', '.join(shown) or 'no inputs'}, {'zeros' if self.inputs_from == 'zeros' else 'from the sample'}"

    @property
    def served_by(self) -> str:
        """Return the engine, its version and its device, as one line."""
        device = self.engine["device_name"]
        name = " ".join(filter(None, (self.engine["kind"], self.engine["version"])))
        instances = self.engine["instances"]
        on = f"{self.engine['device']} ({device})" if device else self.engine["device"]
        return f"{name} on {on}, {instances} {'instance' if instances == 1 else 'instances'}"

    @property
    def measured_on(self) -> str:
        """Return the machine, the versions and the date, as one line."""
        machine = self.environment
        return (
            f"{machine['processor']}, {machine['cores']} cores, {machine['system']}, Python {machine['python']}, "
            f"aegisrt {machine['aegisrt']}, numpy {machine['numpy']}, {machine['date']}"
        )

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
        suite = JUnitSuite(f"{self.model} on {self.backend}", [case], dict(self._properties()))
        return junit_xml("aegisrt bench", [suite])

    def _properties(self) -> Iterator[tuple[str, object]]:
        for prefix, values in (("", self.environment), ("engine.", self.engine), ("options.", self.options)):
            yield from _flat(prefix, values)
        yield from ((f"inputs.{one['name']}", f"{one['dtype']}{one['shape']}") for one in self.inputs)
        yield "inputs_from", self.inputs_from
        for prefix, summary in (("", self.ours), ("bare.", self.bare)):
            if summary is not None:
                latencies = summary.to_json()["latency_us"]
                yield from ((f"{prefix}latency_us.{name}", us) for name, us in latencies.items() if us is not None)
                yield f"{prefix}throughput_per_s", round(summary.throughput_per_s, 3)
                yield f"{prefix}count", summary.count
        if self.bare is not None:
            ratios = self.ours.over(self.bare)
            yield from ((f"ratio.{name}", ratio) for name, ratio in ratios.items() if ratio is not None)


def _flat(prefix: str, values: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(f"{prefix}{name}.", value)
        else:
            yield f"{prefix}{name}", value


def benchmark(
    workload: Workload,
    scenario: Scenario,
    load: Load,
    progress: Progress = silent,
    declared: Mapping[str, Any] | None = None,
) -> BenchReport:
    """Return the report of a scenario; `server` without a rate takes half of what `offline` reaches in a short run.

    `declared` is what the manifest has of the model and its backend, for the report.

    INVALID_ARGUMENT: if no request was due in the time.
    RESOURCE_EXHAUSTED: if requests cannot be sent at the rate.
    """
    options = {**(declared or {}), **load.to_json()}
    if scenario == "server" and load.qps is None:
        load = replace(load, qps=_capacity(workload, load.seconds, progress) / 2)
    served_by = engine(workload.context, workload.model)
    report = replace(
        _measured(workload, scenario, load, progress), options=options, engine=served_by, environment=environment()
    )
    if not report.ours.count and not report.ours.errors:
        message = f"no request was due within {load.seconds:g} s at {load.qps or 0:g} a second"
        raise fail(ErrorCode.INVALID_ARGUMENT, message, "use a higher --qps, or more --seconds")
    return report


def sweep(workload: Workload, load: Load, progress: Progress = silent) -> list[BenchReport]:
    """Return the `server` scenario at several shares of the offline throughput, each for the load's seconds."""
    capacity = _capacity(workload, load.seconds, progress)
    return [_measured(workload, "server", replace(load, qps=capacity * share), progress) for share in LOADS]


def planned_s(scenario: Scenario, load: Load) -> float:
    """Return about how many seconds `benchmark` takes."""
    measured = scenario_s(scenario, load.seconds, against_bare=load.against_bare)
    return measured + (_capacity_s(load) if scenario == "server" and load.qps is None else 0)


def sweep_s(load: Load) -> float:
    """Return about how many seconds `sweep` takes."""
    return _capacity_s(load) + len(LOADS) * scenario_s("server", load.seconds, against_bare=load.against_bare)


def _capacity_s(load: Load) -> float:
    return scenario_s("offline", min(1.0, load.seconds), against_bare=False)


def _measured(workload: Workload, scenario: Scenario, load: Load, progress: Progress) -> BenchReport:
    run = ScenarioRun(workload, load.seconds, load.against_bare, load.qps, progress)
    measure(run, scenario)
    model = workload.model
    backend = workload.context.graph.manifest.models[model].backend
    bare = run.bare.summary() if load.against_bare else None
    return BenchReport(scenario, model, backend, load, run.ours.summary(), bare, workload.inputs, workload.source)


def _capacity(workload: Workload, seconds: float, progress: Progress) -> float:
    """Return how many requests a second succeed if all are there at once; if none does, how many fail."""
    run = ScenarioRun(workload, min(1.0, seconds), progress=progress)
    measure(run, "offline")
    count = run.ours.samples or sum(run.ours.errors.values())
    return max(1.0, count / (run.ours.elapsed_ns / 1e9))
