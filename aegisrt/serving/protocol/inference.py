"""`InferRequest`: an inference request, read from JSON, from binary tensors or from gRPC."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from aegisrt.core.priority import Priority
from aegisrt.core.tensor import Array

Parameter: TypeAlias = bool | int | float | str | None
"""A value of `parameters`: both protocols allow scalars only."""


@dataclass(slots=True)
class WantedOutput:
    """An output that a request names."""

    name: str
    binary: bool | None = None
    """HTTP: whether its data is to be binary; None takes the default of the request."""


@dataclass(slots=True)
class InferRequest:
    """One inference request. The arrays are read-only views of the message where its layout allows that."""

    inputs: dict[str, Array]
    outputs: tuple[WantedOutput, ...] | None = None
    """None: all outputs, in the model's order."""
    id: str | None = None
    priority: Priority = "normal"
    timeout_us: int | None = None
    """The client's `timeout` parameter; None if there is none."""
    binary_output: bool = False
    """HTTP: whether the data of outputs is to be binary by default."""
    empty_final: bool = False
    """gRPC: whether the last answer of the request is to be marked; a request has one, which is its last."""
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    """Parameters that are not of the protocol."""

    @property
    def output_names(self) -> list[str] | None:
        """The names of the wanted outputs; None for all."""
        return None if self.outputs is None else [output.name for output in self.outputs]
