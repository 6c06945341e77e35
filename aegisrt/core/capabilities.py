"""`Capabilities`: what a backend declares that it can do, in its own file."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from aegisrt.core.tensor import DataType


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """Read by `aegisrt backends`, by the graph's checks and by the conformance kit, which holds a backend to them."""

    devices: tuple[str, ...] = ("cpu",)
    """Device kinds that it runs on."""
    formats: tuple[str, ...]
    """File name endings that `load` takes, with the dot."""
    builds_from: tuple[str, ...] = ()
    """File name endings from which it builds a file that `load` takes."""
    dtypes: frozenset[DataType]
    """Tensor dtypes that it takes and gives, bit for bit."""
    narrowed: frozenset[DataType] = frozenset()
    """Dtypes of models that it serves too, in a narrower arithmetic: an input that does not fit is refused."""
    dynamic_shapes: bool = False
    """One loaded model serves inputs of differing shapes."""
    zero_size: bool = False
    """Tensors with a dimension of 0."""
    scalars: bool = False
    """Tensors of rank 0."""
    output_subset: bool = True
    """`outputs` of a request may name fewer than all."""
    concurrent: bool = True
    """Calls from several threads at once are answered rightly."""
    deterministic: bool = True
    """Equal inputs give equal bits."""
    external_data: bool = False
    """Models whose weights lie in files beside them."""
    native_code: bool = False
    """`load` runs machine code that the model's file carries."""

    def to_json(self) -> dict[str, Any]:
        """Return plain values, dtypes sorted by name."""
        return {**asdict(self), "dtypes": sorted(self.dtypes), "narrowed": sorted(self.narrowed)}
