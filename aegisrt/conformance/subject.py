"""`Subject`: what a check gets in hand: fresh backends, reference models, and the questions that most checks ask."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from time import perf_counter_ns
from typing import Any

from aegisrt.conformance import verdict
from aegisrt.conformance.options import ConformanceOptions
from aegisrt.conformance.references.compare import difference
from aegisrt.conformance.references.models import REFERENCES, SLOW_SIDES, Reference
from aegisrt.conformance.references.supply import Supply, undeclared
from aegisrt.conformance.target import Backend, Target
from aegisrt.conformance.verdict import Skipped
from aegisrt.core.capabilities import Capabilities
from aegisrt.core.request import ExecutionRequest, ExecutionResult
from aegisrt.core.result import ResultError
from aegisrt.core.tensor import Array

_SLOW_ENOUGH_NS = 25_000_000


class Subject:
    """The backend under test, for the length of one check."""

    def __init__(
        self, target: Target, settings: ConformanceOptions, supply: Supply, scratch: Path, memo: dict[str, Any]
    ) -> None:
        self.target = target
        self.settings = settings
        self.scratch = scratch
        """An empty folder of this check."""
        self._supply = supply
        self._memo = memo
        self._made: list[Backend] = []
        self._once: dict[str, Backend] = {}

    @property
    def can(self) -> Capabilities:
        """Return what the backend declares."""
        return self.target.backend.capabilities

    # -- models ------------------------------------------------------------------------------------------------

    def model(self, name: str, *, even_undeclared: bool = False) -> Path:
        """Return the backend's file of a reference model; Skipped where it declares no such model."""
        reason = undeclared(REFERENCES[name], self.can)
        if reason and not even_undeclared:
            raise Skipped(reason)
        if not even_undeclared:
            _need_numpy_dtypes(REFERENCES[name])
        return self._supply.file(name)

    def copy(self, name: str, folder: str = "copy") -> Path:
        """Return a copy of the backend's file of a reference model, in a folder of this check, free to be damaged."""
        self.model(name)
        target = self.scratch / folder
        target.mkdir(exist_ok=True)
        return self._supply.copy(name, target)

    def building(self, name: str) -> None:
        """Tell that the check is about to build a model itself: a build has time of its own, beside the check's."""
        self._supply.building(name)

    def inputs(self, name: str, seed: int = 0, /, **dims: int) -> dict[str, Array]:
        """Return inputs of a reference model; other seeds give other values."""
        return REFERENCES[name].inputs(self.settings.seed + seed, **dims)

    # -- backends ----------------------------------------------------------------------------------------------

    def fresh(self, *, instances: int | None = None) -> Backend:
        """Return a backend with nothing loaded; it is unloaded when the check ends."""
        target = self.target if instances is None else replace(self.target, instances=instances)
        backend = target.make()
        self._made.append(backend)
        return backend

    def loaded(self, name: str = "affine", *, instances: int | None = None) -> Backend:
        """Return a backend with a reference model loaded."""
        file = self.model(name)
        backend = self.fresh(instances=instances)
        verdict.ok(backend.load(file), f"load of the model `{name}`")
        return backend

    def once(self, name: str) -> Backend:
        """Return one backend with a reference model loaded, the same at each asking within a check."""
        if name not in self._once:
            self._once[name] = self.loaded(name)
        return self._once[name]

    def forget(self, backend: Backend) -> None:
        """Hold a backend no longer, so that it is gone when the check lets go of it."""
        self._made.remove(backend)

    def close(self) -> None:
        """Unload every backend that the check made."""
        for backend in self._made:
            with contextlib.suppress(Exception):
                backend.unload()
        self._made.clear()
        self._once.clear()

    # -- questions ---------------------------------------------------------------------------------------------

    def call(self, backend: Backend, inputs: Mapping[str, Any], doing: str = "execute", **more: Any) -> ExecutionResult:
        """Return the result of a call that must succeed."""
        return verdict.ok(backend.execute(ExecutionRequest(inputs=inputs, **more)), doing)

    def serves(self, backend: Backend, name: str = "affine", seed: int = 0, *, when: str = "", **dims: int) -> None:
        """Fail unless `backend` answers model `name` rightly."""
        inputs = self.inputs(name, seed, **dims)
        doing = f"execute {when}".strip()
        self.matches(name, inputs, self.call(backend, inputs, doing).outputs, doing)

    def matches(self, name: str, inputs: dict[str, Array], outputs: Mapping[str, Any], doing: str = "execute") -> None:
        """Fail unless `outputs` are what the reference model `name` answers to `inputs`, within the tolerances."""
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
        """Return a reference model that takes tens of milliseconds here, and how many nanoseconds a call took."""
        if "slow" not in self._memo:
            self._memo["slow"] = self._find_slow()
        name, took_ns = self._memo["slow"]
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


def _need_numpy_dtypes(reference: Reference) -> None:
    """Skip where numpy lacks a dtype of the model here: BF16 comes with the package ml_dtypes."""
    for dtype in reference.dtypes:
        try:
            _ = dtype.numpy
        except ResultError as missing:
            raise Skipped(missing.error.message) from None


def _timed(call: Callable[[], object]) -> int:
    started = perf_counter_ns()
    call()
    return perf_counter_ns() - started
