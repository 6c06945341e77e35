"""`ConformanceOptions`: what configs/conformance/*.yaml and overrides can set for a run of the kit."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from aegisrt.core.options import StrictModel
from aegisrt.core.tensor import DataType


class ConformanceOptions(StrictModel):
    """One run of the conformance kit: `conformance` in a composed configuration."""

    backend: str | None = None
    """The backend kind to check; null checks every known one."""
    device: str = "cpu"
    """The device kind that it runs on, such as `cpu`, `cuda`, `cuda:1`."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Options of the backend, as an option set under `backends` has them."""
    instances: Annotated[int, Field(ge=1, le=64)] = 2
    """How many calls of one backend may run at once."""
    checks: Annotated[tuple[str, ...], Field(min_length=1)] = ("*",)
    """Globs over check ids; a check runs when one matches."""
    exclude: tuple[str, ...] = ()
    """Globs over check ids; a check that one matches does not run."""
    threads: Annotated[int, Field(ge=2, le=256)] = 8
    """Threads that call one backend at once in the concurrency checks."""
    calls: Annotated[int, Field(ge=1, le=100_000)] = 50
    """Calls of each of those threads."""
    race_ms: Annotated[float, Field(gt=0, le=600_000)] = 300.0
    """Milliseconds that each race between load, unload and execute goes on."""
    cycles: Annotated[int, Field(ge=2, le=100_000)] = 25
    """Load, execute, unload cycles in one round of the memory checks; a leak must show in three rounds."""
    growth_bytes: Annotated[int, Field(ge=0)] = 1_500_000
    """Growth of memory in one round that counts as allocator noise."""
    time_limit_s: Annotated[float, Field(gt=0, le=86_400)] = 60.0
    """Seconds that one check may take; a longer one fails as a hang."""
    build_limit_s: Annotated[float, Field(gt=0, le=86_400)] = 900.0
    """Seconds that building one reference model may take, in addition to the time of the check that needs it."""
    tolerances: dict[DataType, Annotated[float, Field(ge=0)]] = Field(default_factory=dict)
    """Accepted differences from the reference by dtype, in place of the kit's own (docs/CONFORMANCE.md)."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Seed of all inputs."""
    xfails: Path | None = None
    """A file of expected failures, in place of the packaged one."""
    require_installed: bool = False
    """Exit 1 if an engine is not installed or no check runs: for a machine whose purpose is to test it."""
