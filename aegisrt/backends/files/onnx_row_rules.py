"""`RULES`: what each ONNX operator does to the batch dimension of its inputs (https://onnx.ai/onnx/operators/)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from aegisrt.backends.files.onnx_nodes import Operator
from aegisrt.backends.files.onnx_traces import LOST, Trace, Traces

_WHOLE = 1_000_000_000
"""Exporters write at least this as the end of a slice that reaches to the end of an axis."""

Rule = Callable[[Traces, Operator], list[Trace]]


def _at(axes: Sequence[int], trace: Trace) -> set[int]:
    """Return axes as positive numbers, if the rank is known."""
    return {axis + trace.rank if axis < 0 and trace.rank is not None else axis for axis in axes}


def _reduced(traces: Traces, node: Operator) -> list[Trace]:
    trace = traces.first(node)
    axes = traces.integers(node, 1, "axes")
    if node.kind in ("ArgMax", "ArgMin"):
        axes = (node.integer("axis", 0),)
    if axes is None:
        computed = len(node.inputs) > 1 and node.inputs[1] != ""
        if not computed and not node.integer("noop_with_empty_axes", 0):
            traces.mix(node)
        return [replace(trace, axis=LOST, rank=None)]
    at = _at(axes, trace)
    if trace.axis in at:
        traces.mix(node)
    if node.integer("keepdims", 1) or trace.axis == LOST:
        return [trace]
    rank = None if trace.rank is None else trace.rank - len(at)
    return [replace(trace, axis=trace.axis - sum(0 <= axis < trace.axis for axis in at), rank=rank)]


def _along(default: int, index: int | None = None, before_13: int | None = None) -> Rule:
    """Return the rule of an operator that works along one axis and keeps the shape."""

    def rule(traces: Traces, node: Operator) -> list[Trace]:
        trace = traces.any(node)
        usual = before_13 if before_13 is not None and traces.opset < 13 else default
        axes = traces.integers(node, index, "axis") if index is not None else (node.integer("axis", usual),)
        if axes and trace.axis in _at(axes, trace):
            traces.mix(node)
        return [trace]

    return rule


def _normalized(traces: Traces, node: Operator) -> list[Trace]:
    trace = traces.first(node)
    axes = node.attributes.get("axes", (0, 2, 3)) if node.kind == "MeanVarianceNormalization" else ()
    trained = node.kind == "BatchNormalization" and (
        node.integer("training_mode", 0) == 1 or (traces.opset < 7 and node.integer("is_test", 0) == 0)
    )
    first = node.kind == "LayerNormalization" and node.integer("axis", -1) == 0
    if trained:
        traces.mix(node, "in training mode")
    elif first or trace.axis in _at(axes, trace):
        traces.mix(node)
    return [trace]


def _transposed(traces: Traces, node: Operator) -> list[Trace]:
    trace = traces.first(node)
    order = node.attributes.get("perm") or (tuple(range(trace.rank))[::-1] if trace.rank else ())

    def moved(axis: int | None) -> int | None:
        return order.index(axis) if axis in order else None

    axis = moved(trace.axis)
    return [
        replace(trace, axis=LOST if axis is None else axis, rank=len(order) or None, found_axis=moved(trace.found_axis))
    ]


def _gathered(traces: Traces, node: Operator) -> list[Trace]:
    data, indices = traces.data(node), traces.trace(node, 1)
    axis = node.integer("axis", 0)
    if data is not None and data.axis in _at((axis,), data):
        traces.mix(node)
    if indices is not None and indices.found_axis is not None:
        return [replace(indices, axis=LOST, rank=None, found_axis=axis + indices.found_axis if axis >= 0 else None)]
    if data is None:
        indices = indices or traces.any(node)
        return [replace(indices, axis=LOST if indices.axis == LOST else indices.axis + axis, rank=None)]
    return [replace(data, rank=None)]


def _compressed(traces: Traces, node: Operator) -> list[Trace]:
    trace = traces.first(node)
    axis = node.integer("axis", -1) if "axis" in node.attributes else None
    if axis is None or trace.axis in _at((axis,), trace):
        traces.mix(node)
    return [
        replace(
            trace, found_axis=0 if axis is None else axis, finder="Compress", axis=LOST if axis is None else trace.axis
        )
    ]


def _cut(traces: Traces, node: Operator) -> list[Trace]:
    trace = traces.first(node)
    axes: Sequence[int] = (node.integer("axis", 0),)
    whole = False
    if node.kind == "Slice":
        starts, ends = traces.integers(node, 1, "starts"), traces.integers(node, 2, "ends")
        axes = traces.integers(node, 3, "axes") or tuple(range(len(starts or ())))
        pairs = zip(axes, starts or (), ends or (), strict=False)
        whole = any(axis == trace.axis and start == 0 and end >= _WHOLE for axis, start, end in pairs)
    if not whole and trace.axis in _at(axes, trace):
        traces.mix(node)
    return [trace]


def _squeezed(traces: Traces, node: Operator) -> list[Trace]:
    trace = traces.first(node)
    axes = traces.integers(node, 1, "axes")
    if axes is None:
        return [replace(trace, axis=0 if trace.axis == 0 else LOST, rank=None, found_axis=None)]
    step = 1 if node.kind == "Unsqueeze" else -1
    rank = None if trace.rank is None else trace.rank + step * len(axes)
    at = _at(axes, replace(trace, rank=rank) if step == 1 else trace)

    def moved(axis: int) -> int:
        for other in sorted(at) if step == 1 else sorted(at, reverse=True):
            if 0 <= other <= axis if step == 1 else 0 <= other < axis:
                axis += step
        return axis

    axis = LOST if trace.axis == LOST else moved(trace.axis)
    return [
        replace(trace, axis=axis, rank=rank, found_axis=None if trace.found_axis is None else moved(trace.found_axis))
    ]


def _reshaped(traces: Traces, node: Operator) -> list[Trace]:
    """A first dimension with a fixed size is not the batch; otherwise the batch is assumed to stay first."""
    trace = traces.first(node)
    shape = traces.integers(node, 1, "shape") if node.kind == "Reshape" else None
    keeps = (not shape or shape[0] in (0, -1)) and node.integer("axis", 1) != 0
    found_axis = trace.found_axis if trace.found_axis == 0 and keeps else None
    return [
        replace(
            trace,
            axis=0 if trace.axis == 0 and keeps else LOST,
            rank=len(shape) if shape else None,
            found_axis=found_axis,
        )
    ]


def _multiplied(traces: Traces, node: Operator) -> list[Trace]:
    left, right = traces.trace(node, 0), traces.trace(node, 1)
    transposed = node.kind == "Gemm" and node.integer("transA", 0)
    summed = left is not None and left.axis == (0 if transposed else None)
    if left is not None and right is not None and right.rank == 2:
        summed = True  # of two matrices: the rows of one meet those of the other
    if left is None and right is not None and right.rank == 2 and right.axis == (1 if node.integer("transB", 0) else 0):
        summed = True
    if summed:
        traces.mix(node)
    trace = left or right or traces.any(node)
    return [replace(trace, found_axis=trace.found_axis if trace is left else None)]


def _recurrent(traces: Traces, node: Operator) -> list[Trace]:
    """X is [time, batch, input] and Y [time, direction, batch, hidden]; with layout 1 the batch is first in all."""
    trace = traces.first(node)
    if node.integer("layout", 0):
        return [replace(trace, axis=trace.axis, rank=4), replace(trace, rank=3)]
    if trace.axis == 0:
        traces.mix(node)
    at = trace.axis == 1
    return [replace(trace, axis=2 if at else LOST, rank=4), replace(trace, axis=1 if at else LOST, rank=3)]


RULES: dict[str, Rule] = {
    **{
        f"Reduce{kind}": _reduced
        for kind in ("Max", "Min", "Mean", "Sum", "Prod", "L1", "L2", "LogSum", "LogSumExp", "SumSquare")
    },
    **dict.fromkeys(("ArgMax", "ArgMin"), _reduced),
    **dict.fromkeys(("Softmax", "LogSoftmax", "Hardmax"), _along(-1, before_13=1)),
    **dict.fromkeys(("LpNormalization", "TopK"), _along(-1)),
    **dict.fromkeys(("Concat", "GatherElements", "ScatterElements"), _along(0)),
    "CumSum": _along(0, index=1),
    **dict.fromkeys(("BatchNormalization", "MeanVarianceNormalization", "LayerNormalization"), _normalized),
    "Transpose": _transposed,
    "Gather": _gathered,
    "Compress": _compressed,
    **dict.fromkeys(("Split", "Slice"), _cut),
    **dict.fromkeys(("Squeeze", "Unsqueeze"), _squeezed),
    **dict.fromkeys(("Reshape", "Flatten"), _reshaped),
    **dict.fromkeys(("MatMul", "Gemm"), _multiplied),
    **dict.fromkeys(("LSTM", "GRU", "RNN"), _recurrent),
}
