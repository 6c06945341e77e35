"""`Subject`: the argument of a check: fresh backends, reference models, and the assertions that most checks need."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import perf_counter_ns
from typing import Any

from aegisrt.conformance import verdict
from aegisrt.conformance.fixtures import Fixtures
from aegisrt.conformance.references.compare import difference
from aegisrt.conformance.references.models import REFERENCES, SLOW_SIDES, Reference
from aegisrt.conformance.target import Backend
from aegisrt.conformance.verdict import Skipped
from aegisrt.core.request import ExecutionRequest, ExecutionResult
from aegisrt.core.tensor import Array

_SLOW_ENOUGH_NS = 25_000_000


class Subject(Fixtures):
    """The backend under test, for the length of one check."""

    def call(self, backend: Backend, inputs: Mapping[str, Any], doing: str = "execute", **more: Any) -> ExecutionResult:
        """Return the result of a call that must succeed."""
        return verdict.ok(backend.execute(ExecutionRequest(inputs=inputs, **more)), doing)

    def serves(self, backend: Backend, name: str = "affine", seed: int = 0, *, when: str = "", **dims: int) -> None:
        """Fail unless `backend` answers model `name` correctly."""
        inputs = self.inputs(name, seed, **dims)
        doing = f"execute {when}".strip()
        self.matches(name, inputs, self.call(backend, inputs, doing).outputs, doing)

    def matches(self, name: str, inputs: dict[str, Array], outputs: Mapping[str, Any], doing: str = "execute") -> None:
        """Fail unless `outputs` are the answer of reference model `name` to `inputs`, within the tolerances."""
        self.same(name, outputs, REFERENCES[name].goldens(inputs), doing)

    def same(self, name: str, outputs: Mapping[str, Any], goldens: Mapping[str, Array], doing: str) -> None:
        """Fail unless `outputs` are `goldens` of model `name`: the same names in order, values within tolerance."""
        verdict.that(list(outputs) == list(goldens), f"{doing}: wanted outputs {list(goldens)}, got {list(outputs)}")
        for output, golden in goldens.items():
            problem = difference(outputs[output], golden, self.tolerance(REFERENCES[name], output))
            verdict.that(problem is None, f"{doing}: output `{output}` of `{name}`: {problem}")

    def tolerance(self, reference: Reference, output: str) -> float:
        """Return the accepted difference of one output, relative to the largest value wanted."""
        dtype = next(spec.dtype for spec in reference.signature.outputs if spec.name == output)
        return self.settings.tolerances.get(dtype, reference.tolerance(output))

    def slow(self) -> tuple[str, int]:
        """Return a reference model whose call takes tens of milliseconds here, and the nanoseconds of a call."""
        if "slow" not in self.memo:
            self.memo["slow"] = self._find_slow()
        name, took_ns = self.memo["slow"]
        if name is None:
            raise Skipped(f"no reference model is slow enough here: the slowest took {took_ns / 1e6:.1f} ms a call")
        return name, took_ns

    def _find_slow(self) -> tuple[str | None, int]:
        took_ns = 0
        for side in SLOW_SIDES:
            name = f"slow-{side}"
            try:
                backend = self.loaded(name)
            except Skipped:
                if side == SLOW_SIDES[0]:
                    raise
                break
            inputs = self.inputs(name)
            took_ns = min(_timed(lambda: self.call(backend, inputs)) for _ in range(5))  # noqa: B023
            backend.unload()
            if took_ns >= _SLOW_ENOUGH_NS:
                return name, took_ns
        return None, took_ns


def _timed(call: Callable[[], object]) -> int:
    started = perf_counter_ns()
    call()
    return perf_counter_ns() - started
