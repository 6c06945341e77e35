"""`Capabilities`: what a backend declares that it can do, in its own file."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from aegisrt.core.tensor import DataType


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """Read by `aegisrt backends` and the graph's checks; the conformance kit checks that a backend meets them."""

    devices: tuple[str, ...] = ("cpu",)
    """Device kinds that it runs on."""
    formats: tuple[str, ...]
    """File name endings that `load` accepts, with the dot."""
    builds_from: tuple[str, ...] = ()
    """File name endings of the models from which it builds a file for `load`."""
    dtypes: frozenset[DataType]
    """Tensor dtypes of inputs and outputs, passed bit for bit."""
    narrowed: frozenset[DataType] = frozenset()
    """Dtypes of models that it also serves, computed in a narrower type: an input that does not fit is refused."""
    dynamic_shapes: bool = False
    """One loaded model serves inputs of different shapes."""
    zero_size: bool = False
    """Tensors with a dimension of 0."""
    scalars: bool = False
    """Tensors of rank 0."""
    output_subset: bool = True
    """`outputs` of a request may name some of the outputs only."""
    concurrent: bool = True
    """Concurrent calls from several threads are answered correctly."""
    deterministic: bool = True
    """Equal inputs give bit-identical outputs."""
    external_data: bool = False
    """Models with weights in separate files beside them."""
    native_code: bool = False
    """`load` runs machine code from the model's file."""

    def to_json(self) -> dict[str, Any]:
        """Return plain values, dtypes sorted by name."""
        return {**asdict(self), "dtypes": sorted(self.dtypes), "narrowed": sorted(self.narrowed)}
