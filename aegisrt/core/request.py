"""`ExecutionRequest` and `ExecutionResult`: what goes into a model and what comes back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aegisrt.core.priority import Priority
from aegisrt.core.timing import StepTimes


@dataclass(slots=True, kw_only=True)
class ExecutionRequest:
    """One call of one model. Holds no clock: a request may be executed again, and each time counts anew."""

    inputs: Mapping[str, Any]
    """Arrays by input name; read, never written, while the call lasts."""
    model: str | None = None
    """The model's name in the manifest; may be left out where there is only one."""
    outputs: Sequence[str] | None = None
    """Names of the outputs to return, in this order; None returns all, in the model's order."""
    timeout_ms: float | None = None
    """The whole call's time limit, counted from the moment that `execute` is entered."""
    id: str | None = None
    priority: Priority = "normal"
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class ExecutionResult:
    """What one call answered. The caller owns the outputs: nothing of the engine's is aliased."""

    outputs: dict[str, Any]
    timings: StepTimes
    model: str | None = None
    backend: str = ""
    device: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)
