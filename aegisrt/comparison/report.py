"""`ComparisonReport`: what `aegisrt compare` found, as plain values and as JUnit XML."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from aegisrt.comparison.tensors import TensorComparison
from aegisrt.core.result import Error
from aegisrt.reports.junit import JUnitCase, JUnitSuite, junit_xml


@dataclass(frozen=True, slots=True)
class EngineComparison:
    """One option set: how its outputs differ from those of the reference, or why there are none."""

    backend: str
    """The name of the option set."""
    device: str | None = None
    outputs: Mapping[str, TensorComparison] = field(default_factory=dict)
    latency_us: float | None = None
    """Median of the calls after the first."""
    error: Error | None = None

    @property
    def ok(self) -> bool:
        """Whether the outputs are as those of the reference."""
        return self.error is None and all(output.ok for output in self.outputs.values())

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        error = self.error
        return {
            "backend": self.backend,
            "device": self.device,
            "ok": self.ok,
            "outputs": {name: output.to_json() for name, output in self.outputs.items()},
            "latency_us": None if self.latency_us is None else round(self.latency_us, 1),
            "error": None if error is None else {"code": error.code, "message": error.message, "hint": error.hint},
        }


@dataclass(frozen=True, slots=True)
class ComparisonReport:
    """One model on several option sets; the first is the reference."""

    model: str
    results: tuple[EngineComparison, ...]

    @property
    def ok(self) -> bool:
        """Whether every option set answered as the reference did."""
        return all(result.ok for result in self.results)

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "ok": self.ok,
            "model": self.model,
            "reference": self.results[0].backend,
            "results": [result.to_json() for result in self.results],
        }

    def to_junit(self) -> bytes:
        """Return a suite for each option set, with a case for each output."""
        suites = [JUnitSuite(f"{self.model} on {result.backend}", _cases(result)) for result in self.results]
        return junit_xml("aegisrt compare", suites)


def _cases(result: EngineComparison) -> list[JUnitCase]:
    seconds = (result.latency_us or 0.0) / 1e6
    if result.error is not None:
        return [JUnitCase(result.backend, "answer", 0.0, "failed", str(result.error), str(result.error.code))]
    return [
        JUnitCase(result.backend, name, seconds)
        if output.ok
        else JUnitCase(result.backend, name, seconds, "failed", verdict(output), "difference")
        for name, output in result.outputs.items()
    ]


def verdict(output: TensorComparison) -> str:
    """Return one phrase: equal, within the tolerance, or what differs and where."""
    if output.problem is not None:
        return output.problem
    if not output.wrong:
        return "within tolerance" if output.max_abs else "equal"
    at = ",".join(map(str, output.wrong_at or ()))
    return f"{output.wrong} of {output.size} elements differ, the first at [{at}]"
