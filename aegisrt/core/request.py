"""`ExecutionRequest` and `ExecutionResult`: one call of a model, and its answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aegisrt.core.priority import Priority
from aegisrt.core.timing import StepTimes

MODEL_METADATA = "model_metadata"
"""A request's parameter, and the key of its answer in the result's metadata."""


@dataclass(slots=True, kw_only=True)
class ExecutionRequest:
    """One call of one model. It may be executed several times: its timeout starts at each call of `execute`."""

    inputs: Mapping[str, Any]
    """Arrays by input name; read, never written, while the call lasts."""
    model: str | None = None
    """The model's name in the manifest; optional if there is only one."""
    outputs: Sequence[str] | None = None
    """Names of the outputs to return, in this order; None returns all, in the model's order."""
    timeout_ms: float | None = None
    """Time limit of the whole call, from the moment that `execute` is entered."""
    id: str | None = None
    priority: Priority = "normal"
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """`model_metadata: True` puts the model's own metadata into the result's `metadata`."""


def wants_model_metadata(request: ExecutionRequest) -> bool:
    """Return whether the result is to have the model's own metadata."""
    parameters = request.parameters
    return isinstance(parameters, Mapping) and bool(parameters.get(MODEL_METADATA))


@dataclass(slots=True)
class ExecutionResult:
    """The answer of one call. The caller owns the outputs: they share no memory with the engine."""

    outputs: dict[str, Any]
    timings: StepTimes
    model: str | None = None
    backend: str = ""
    device: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)
