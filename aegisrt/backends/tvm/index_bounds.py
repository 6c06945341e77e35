"""Indices into tensors: kept inside by the generated code, and refused where a request's own are outside.

TVM checks no index: one that is out of range reads or writes somebody else's memory, and may end the process. ONNX
leaves such an index undefined, and ONNX Runtime answers an error (https://onnx.ai/onnx/operators/onnx__Gather.html).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from aegisrt.core.result import ErrorCode, fail
from aegisrt.core.tensor import Array

_BY_AXIS = ("Gather", "GatherElements", "ScatterElements", "Scatter")
_INDEXED = (*_BY_AXIS, "GatherND", "ScatterND")
_SAME_VALUES = ("Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Cast")


# -- in the compiler's process ---------------------------------------------------------------------------------------


@contextmanager
def bounded(frontend: Any, operator: str, inputs: Any, attributes: Mapping[str, Any], builder: Any) -> Iterator[Any]:
    """Yield the inputs with which TVM's importer makes code for an operator whose indices stay inside."""
    from tvm import ir, relax

    normalize, extent_of = frontend._normalize_negative_indices, frontend._axis_extent

    def inside(bb: Any, indices: Any, extent: Any) -> Any:
        from_start = normalize(bb, indices, extent)
        if isinstance(indices, ir.GenericConst):
            return from_start
        one, zero = (relax.const(value, indices.ty.dtype.dtype) for value in (1, 0))
        last = relax.op.subtract(extent, one)
        return bb.normalize(relax.op.maximum(relax.op.minimum(from_start, last), zero))

    def known(bb: Any, data: Any, axis: int, dtype: Any) -> Any:
        size = data.ty.shape[axis] if getattr(data.ty, "shape", None) is not None else None
        fixed = getattr(size, "value", None)
        return extent_of(bb, data, axis, dtype) if fixed is None else relax.const(int(fixed), str(dtype))

    if operator not in _INDEXED:
        yield inputs
        return
    frontend._normalize_negative_indices, frontend._axis_extent = inside, known
    try:
        if operator.startswith("Scatter") and operator in _BY_AXIS:
            data, indices, *others = inputs
            extent = known(builder, data, attributes.get("axis", 0), indices.ty.dtype.dtype)
            inputs = type(inputs)([data, inside(builder, indices, extent), *others])
        yield inputs
    finally:
        frontend._normalize_negative_indices, frontend._axis_extent = normalize, extent_of


def index_bounds(model: Any) -> list[dict[str, Any]]:
    """Return what is known of inputs that are indices, as `Bounds` is made of it: into what size they point."""
    inputs = {value.name: value for value in model.graph.input}
    weights = {tensor.name: list(tensor.dims) for tensor in model.graph.initializer}
    makers = {name: node for node in model.graph.node for name in node.output}
    found = []
    for node in model.graph.node:
        if node.op_type not in _BY_AXIS or len(node.input) < 2:
            continue
        axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 0)
        index, data = _origin(node.input[1], makers), node.input[0]
        if index not in inputs or index in weights:
            continue
        if data in weights:
            found.append({"input": index, "size": weights[data][axis], "of": None, "axis": axis})
        elif data in inputs:
            found.append({"input": index, "size": None, "of": data, "axis": axis})
    return found


def _origin(name: str, makers: Mapping[str, Any]) -> str:
    """Return the tensor whose values `name` has, through operators that keep them."""
    while name in makers and makers[name].op_type in _SAME_VALUES:
        name = makers[name].input[0]
    return name


# -- at each call ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Bounds:
    """Into what an input's values point."""

    input: str
    size: int | None
    """How long that is; None: as long as the `axis` of the input `of`."""
    of: str | None
    axis: int


def check_bounds(bounds: Sequence[Bounds], inputs: Mapping[str, Array]) -> None:
    """Return None where all indices of a request point inside; raise INVALID_ARGUMENT for one that does not.

    Indices on a GPU are not read here; the code keeps them inside.
    """
    for bound in bounds:
        indices = inputs[bound.input]
        if not isinstance(indices, np.ndarray) or not indices.size:
            continue
        size = (bound.size or 0) if bound.of is None else int(inputs[bound.of].shape[bound.axis])
        low, high = int(indices.min()), int(indices.max())
        if low < -size or high >= size:
            wrong = high if high >= size else low
            message = f"input `{bound.input}` has the index {wrong}, and what it points into has {size} entries"
            raise fail(ErrorCode.INVALID_ARGUMENT, message, f"indices are from {-size} to {size - 1}")
