"""`Fixtures`: fresh backends and reference models for one check."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path
from typing import Any

from aegisrt.conformance import verdict
from aegisrt.conformance.options import ConformanceOptions
from aegisrt.conformance.references.models import REFERENCES, Reference
from aegisrt.conformance.references.supply import Supply, undeclared
from aegisrt.conformance.target import Backend, Target
from aegisrt.conformance.verdict import Skipped
from aegisrt.core.capabilities import Capabilities
from aegisrt.core.result import ResultError
from aegisrt.core.tensor import Array


class Fixtures:
    """Makes backends and files for the length of one check, and unloads the backends in `close`."""

    def __init__(
        self, target: Target, settings: ConformanceOptions, supply: Supply, scratch: Path, memo: dict[str, Any]
    ) -> None:
        self.target = target
        self.settings = settings
        self.scratch = scratch
        """An empty folder of this check."""
        self.memo = memo
        """Lasts for all checks of a process."""
        self._supply = supply
        self._made: list[Backend] = []
        self._once: dict[str, Backend] = {}

    @property
    def can(self) -> Capabilities:
        """Return what the backend declares."""
        return self.target.backend.capabilities

    def model(self, name: str, *, even_undeclared: bool = False) -> Path:
        """Return the backend's file of a reference model; Skipped if the backend does not declare such models."""
        reason = undeclared(REFERENCES[name], self.can)
        if reason and not even_undeclared:
            raise Skipped(reason)
        if not even_undeclared:
            _need_numpy_dtypes(REFERENCES[name])
        return self._supply.file(name)

    def copy(self, name: str, folder: str = "copy") -> Path:
        """Return a copy of the backend's file of a reference model, in a folder of this check; it may be damaged."""
        self.model(name)
        target = self.scratch / folder
        target.mkdir(exist_ok=True)
        return self._supply.copy(name, target)

    def building(self, name: str) -> None:
        """Announce that the check is about to build a model itself: a build has a time limit of its own."""
        self._supply.building(name)

    def inputs(self, name: str, seed: int = 0, /, **dims: int) -> dict[str, Array]:
        """Return inputs of a reference model; another seed gives other values."""
        return REFERENCES[name].inputs(self.settings.seed + seed, **dims)

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
        """Return one backend with a reference model loaded: the same in every call within a check."""
        if name not in self._once:
            self._once[name] = self.loaded(name)
        return self._once[name]

    def forget(self, backend: Backend) -> None:
        """Drop the reference to a backend, so that it is freed when the check drops its own."""
        self._made.remove(backend)

    def close(self) -> None:
        """Unload every backend that the check made."""
        for backend in self._made:
            with contextlib.suppress(Exception):
                backend.unload()
        self._made.clear()
        self._once.clear()


def _need_numpy_dtypes(reference: Reference) -> None:
    """Skip if numpy lacks a dtype of the model here: BF16 comes with the package ml_dtypes."""
    for dtype in reference.dtypes:
        try:
            _ = dtype.numpy
        except ResultError as missing:
            raise Skipped(missing.error.message) from None
