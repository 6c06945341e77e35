"""Indices into tensors, in the compiler's process: code that keeps them inside, and the ranges that calls check.

TVM checks no index: one that is out of range reads or writes foreign memory, and may end the process.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

_BY_AXIS = ("Gather", "GatherElements", "ScatterElements", "Scatter")
_INDEXED = (*_BY_AXIS, "GatherND", "ScatterND")
_SAME_VALUES = ("Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Cast")


@contextmanager
def bounded(frontend: Any, operator: str, inputs: Any, attributes: Mapping[str, Any], builder: Any) -> Iterator[Any]:
    """Yield an operator's inputs; meanwhile TVM's importer clamps its indices to the range.

    The importer calls two functions of its own wherever it handles indices. They are replaced while it converts this
    operator, since it has no option for clamping.
    """
    from tvm import ir, relax

    normalize, extent_of = frontend._normalize_negative_indices, frontend._axis_extent

    def inside(bb: Any, indices: Any, extent: Any) -> Any:
        from_start = normalize(bb, indices, extent)
        if isinstance(indices, ir.GenericConst):
            return from_start
        one, zero = (relax.const(value, indices.ty.dtype.dtype) for value in (1, 0))
        last = relax.op.subtract(extent, one)
        return bb.normalize(relax.op.maximum(relax.op.minimum(from_start, last), zero))

    def extent(bb: Any, data: Any, axis: int, dtype: Any) -> Any:
        size = data.ty.shape[axis] if getattr(data.ty, "shape", None) is not None else None
        fixed = getattr(size, "value", None)
        return extent_of(bb, data, axis, dtype) if fixed is None else relax.const(int(fixed), str(dtype))

    if operator not in _INDEXED:
        yield inputs
        return
    frontend._normalize_negative_indices, frontend._axis_extent = inside, extent
    try:
        if operator.startswith("Scatter") and operator in _BY_AXIS:
            data, indices, *others = inputs
            size = extent(builder, data, attributes.get("axis", 0), indices.ty.dtype.dtype)
            inputs = type(inputs)([data, inside(builder, indices, size), *others])
        yield inputs
    finally:
        frontend._normalize_negative_indices, frontend._axis_extent = normalize, extent_of


def index_bounds(model: Any) -> list[dict[str, Any]]:
    """Return the arguments of a `Bounds` (run/index_bounds.py) for each input that is an index."""
    inputs = {value.name: value for value in model.graph.input}
    weights = {tensor.name: list(tensor.dims) for tensor in model.graph.initializer}
    producers = {name: node for node in model.graph.node for name in node.output}
    bounds = []
    for node in model.graph.node:
        if node.op_type not in _BY_AXIS or len(node.input) < 2:
            continue
        axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 0)
        index, data = _origin(node.input[1], producers), node.input[0]
        if index not in inputs or index in weights:
            continue
        if data in weights:
            bounds.append({"input": index, "size": weights[data][axis], "of": None, "axis": axis})
        elif data in inputs:
            bounds.append({"input": index, "size": None, "of": data, "axis": axis})
    return bounds


def _origin(name: str, producers: Mapping[str, Any]) -> str:
    """Return the tensor whose values `name` has, through operators that keep them."""
    while name in producers and producers[name].op_type in _SAME_VALUES:
        name = producers[name].input[0]
    return name
