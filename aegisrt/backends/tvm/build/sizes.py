"""`with_size_checks`: sizes that an operator's operands must have, checked at each call, in the compiler's process.

TVM computes an operator's result for the sizes that the operator needs, and checks none at a call: a matrix product
of `[n,k]` with a constant of `[64,4]` reads outside of its operand if `k` is not 64. Where the sizes cannot be proved,
a `match_cast` is put before the operator; the virtual machine then refuses other sizes. A dynamic dimension that meets
a fixed one, or another dynamic one, has to be equal: it is not broadcast.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from aegisrt.backends.tvm.build.corrections import constant

_Shapes: TypeAlias = Sequence[list[Any]]
_Required: TypeAlias = dict[int, list[Any]]
"""The shape that an operand has to have, by its index."""

_ELEMENTWISE = (
    "add subtract multiply divide floor_divide power mod floor_mod maximum minimum equal not_equal less less_equal "
    "greater greater_equal logical_and logical_or logical_xor bitwise_and bitwise_or bitwise_xor left_shift "
    "right_shift where"
)


def with_size_checks(module: Any) -> Any:
    """Return the module with a check before each operator whose operands may have other sizes than it needs."""
    from tvm import relax

    @relax.expr_functor.mutator
    class Checks(relax.PyExprMutator):  # type: ignore[misc]
        def visit_call_(self, call: Any) -> Any:
            call = self.visit_expr_post_order(call)
            name = str(getattr(call.op, "name", ""))
            if name == "relax.reshape":
                return _reshaped(self.builder_, call)
            rule = _RULES.get(name.removeprefix("relax."))
            return call if rule is None else _checked(self.builder_, call, rule)

    checks = Checks(module)
    for name, function in module.functions_items():
        if isinstance(function, relax.Function):
            checks.builder_.update_func(name, checks.visit_expr(function))
    return checks.builder_.get()


def matched(builder: Any, value: Any, shape: Sequence[Any]) -> Any:
    """Return a tensor whose shape each call checks, or `value` itself if it is known to have that shape."""
    from tvm import relax

    known = _shape(value)
    if known is None or all(_equal(size, wanted) for size, wanted in zip(known, shape, strict=True)):
        return value
    return builder.match_cast(builder.normalize(value), relax.TensorType(list(shape), value.ty.dtype))


def operands_of(builder: Any, operator: str, inputs: Any, attributes: Mapping[str, Any]) -> Any:
    """Return an ONNX operator's inputs, with checks of sizes that TVM's importer drops."""
    rule = _IMPORTED.get(operator)
    required = rule(inputs, attributes) if rule is not None else {}
    if not required:
        return inputs
    checked = type(inputs)(inputs)
    for index, shape in required.items():
        checked[index] = matched(builder, inputs[index], shape)
    return checked


def _checked(builder: Any, call: Any, rule: Callable[[_Shapes, Any], _Required]) -> Any:
    from tvm import ir, relax

    together = len(call.args) == 1 and isinstance(call.args[0], ir.Tuple)
    operands = list(call.args[0].fields if together else call.args)
    shapes = [_sizes(operand) or _shape(operand) for operand in operands]
    tensors = [shape for shape in shapes if shape is not None]
    if len(tensors) < len(shapes):  # the sizes of some are known only at a call; TVM cannot compile such an operator
        return call
    required = rule(tensors, call.attrs)
    changed = [
        matched(builder, value, required[index]) if index in required else value for index, value in enumerate(operands)
    ]
    if all(new is old for new, old in zip(changed, operands, strict=True)):
        return call
    arguments = [relax.Tuple(changed)] if together else changed
    return relax.Call(call.op, arguments, call.attrs, call.ty_args)


def _reshaped(builder: Any, call: Any) -> Any:
    """Check the number of elements: TVM gives a tensor another shape without looking at it."""
    from tvm import relax

    data, target = _shape(call.args[0]), _sizes(call.args[1])
    if data is None or target is None or _equal(math.prod(data), math.prod(target)):
        return call
    flat = builder.emit(relax.op.reshape(call.args[0], [math.prod(data)]))
    return relax.op.reshape(matched(builder, flat, [math.prod(target)]), target)


def _shape(value: Any) -> list[Any] | None:
    """Return the sizes of a tensor's dimensions; None if they are not known, or it is not a tensor."""
    return _sizes(getattr(getattr(value, "ty", None), "shape", None))


def _sizes(shape: Any) -> list[Any] | None:
    from tvm import relax

    return list(shape.values) if isinstance(shape, relax.ShapeExpr) else None


def _fixed(size: Any) -> int | None:
    value = getattr(size, "value", size)
    return value if isinstance(value, int) else None


def _equal(one: Any, other: Any) -> bool:
    """Return whether two sizes are known to be equal."""
    from tvm import sym

    if _fixed(one) is not None and _fixed(one) == _fixed(other):
        return True
    return bool(sym.Analyzer().can_prove_equal(one, other))


def _common(sizes: Sequence[Any]) -> Any:
    """Return the size that all have to have: a fixed one if there is one, else the first."""
    return next((size for size in sizes if _fixed(size) is not None), sizes[0])


def _alike(shapes: _Shapes, places: Sequence[tuple[int, int]]) -> _Required:
    """Require that dimensions, given as operand and axis, are equal."""
    size = _common([shapes[index][axis] for index, axis in places])
    required: _Required = {}
    for index, axis in places:
        required.setdefault(index, list(shapes[index]))[axis] = size
    return required


def _merged(shapes: _Shapes, groups: Sequence[Sequence[tuple[int, int]]]) -> _Required:
    changed = [list(shape) for shape in shapes]
    for group in groups:
        for index, shape in _alike(changed, group).items():
            changed[index] = shape
    return dict(enumerate(changed))


def _broadcast(shapes: _Shapes, _: Any = None, *, skipped: int = 0) -> _Required:
    """Require equal sizes, counted from the last axis but `skipped`, of all that are not 1."""
    groups = []
    for back in range(1 + skipped, 1 + max(map(len, shapes))):
        places = [(i, len(shape) - back) for i, shape in enumerate(shapes) if len(shape) >= back]
        groups.append([(i, axis) for i, axis in places if _fixed(shapes[i][axis]) != 1])
    return _merged(shapes, [group for group in groups if group])


def _matmul(shapes: _Shapes, _: Any) -> _Required:
    left, right = shapes
    inner = _alike(shapes, [(0, len(left) - 1), (1, max(len(right) - 2, 0))])
    return _broadcast([inner[0], inner[1]], skipped=2) if min(len(left), len(right)) > 2 else inner


def _conv(shapes: _Shapes, attributes: Any) -> _Required:
    data, weights = shapes
    channel = str(attributes.data_layout).index("C")
    if "IO" in str(attributes.kernel_layout):  # a transposed one
        return _alike(shapes, [(0, channel), (1, str(attributes.kernel_layout).index("I"))])
    size = weights[str(attributes.kernel_layout).index("I")] * int(attributes.groups)
    return {0: [*data[:channel], size, *data[channel + 1 :]]}


def _concat(shapes: _Shapes, attributes: Any) -> _Required:
    rank = len(shapes[0])
    along = int(attributes.axis or 0) % rank
    return _merged(shapes, [[(i, axis) for i in range(len(shapes))] for axis in range(rank) if axis != along])


def _stack(shapes: _Shapes, _: Any) -> _Required:
    return _merged(shapes, [[(i, axis) for i in range(len(shapes))] for axis in range(len(shapes[0]))])


def _along_axis(shapes: _Shapes, attributes: Any) -> _Required:
    """Require that each vector is as long as the first operand's axis."""
    given = attributes.axis if hasattr(attributes, "axis") else attributes.channel_axis
    axis = int(given) % max(len(shapes[0]), 1)
    vectors = [i for i, shape in enumerate(shapes) if i and len(shape) == 1 and _fixed(shape[0]) != 1]
    return _merged(shapes, [[(0, axis), *((i, 0) for i in vectors)]]) if vectors else {}


def _along_axes(shapes: _Shapes, attributes: Any) -> _Required:
    axes = [int(axis) % len(shapes[0]) for axis in attributes.axes]
    others = range(1, len(shapes))
    return _merged(shapes, [[(0, axis), *((i, at) for i in others)] for at, axis in enumerate(axes)])


def _squeeze(shapes: _Shapes, attributes: Any) -> _Required:
    if attributes.axis is None:
        return {}
    axes = {int(axis) % len(shapes[0]) for axis in attributes.axis}
    return {0: [1 if axis in axes else size for axis, size in enumerate(shapes[0])]}


def _broadcast_to(shapes: _Shapes, _: Any) -> _Required:
    data, target = shapes
    last = target[len(target) - len(data) :]
    return {0: [size if _fixed(size) == 1 else wanted for size, wanted in zip(data, last, strict=True)]}


def _elements(shapes: _Shapes, attributes: Any) -> _Required:
    """Indices of elements lie within the data on the other axes; updates have the shape of the indices."""
    from tvm import tirx

    data, indices, *updates = shapes
    along = int(attributes.axis) % len(data)
    inside = [
        size if axis == along or _equal(size, data[axis]) else tirx.min(size, data[axis])
        for axis, size in enumerate(indices)
    ]
    return {1: inside, **({2: list(indices)} if updates else {})}


def _gather_nd(shapes: _Shapes, attributes: Any) -> _Required:
    return _merged(shapes, [[(0, axis), (1, axis)] for axis in range(int(attributes.batch_dims))])


def _scatter_nd(shapes: _Shapes, _: Any) -> _Required:
    data, indices, _updates = shapes
    depth = _fixed(indices[-1])
    return {} if depth is None else {2: [*indices[:-1], *data[depth:]]}


def _topk(shapes: _Shapes, attributes: Any) -> _Required:
    from tvm import tirx

    data, count = list(shapes[0]), _fixed(attributes.k)
    axis = int(attributes.axis) % len(data)
    if _fixed(data[axis]) is None and count is not None:
        data[axis] = tirx.max(data[axis], tirx.const(count, "int64"))
    return {0: data}


def _batch(shapes: _Shapes, _: Any) -> _Required:
    return _alike(shapes, [(0, 0), (1, 0)])


def _attention(shapes: _Shapes, _: Any) -> _Required:
    batch, heads, depth = ([(i, axis) for i in range(3)] for axis in (0, 2, 3))
    return _merged(shapes, [batch, heads, depth[:2], [(1, 1), (2, 1)]])


_RULES: dict[str, Callable[[_Shapes, Any], _Required]] = {
    **dict.fromkeys(_ELEMENTWISE.split(), _broadcast),
    **dict.fromkeys((f"nn.conv{rank}d{kind}" for rank in (1, 2, 3) for kind in ("", "_transpose")), _conv),
    **dict.fromkeys(
        ("nn.batch_norm", "nn.group_norm", "nn.instance_norm", "nn.prelu", "quantize", "dequantize"), _along_axis
    ),
    **dict.fromkeys(("nn.layer_norm", "nn.rms_norm"), _along_axes),
    **dict.fromkeys(("gather_elements", "scatter_elements"), _elements),
    "broadcast_to": _broadcast_to,
    "concat": _concat,
    "gather_nd": _gather_nd,
    "image.grid_sample": _batch,
    "matmul": _matmul,
    "nn.attention": _attention,
    "scatter_nd": _scatter_nd,
    "squeeze": _squeeze,
    "stack": _stack,
    "topk": _topk,
}
"""By Relax operator."""


def _split(inputs: Sequence[Any], attributes: Mapping[str, Any]) -> _Required:
    """The importer takes the last part to be the rest."""
    data, parts = _shape(inputs[0]), constant(inputs, 1)
    given = attributes.get("split") if parts is None else parts.tolist()
    if data is None or given is None:
        return {}
    axis = int(attributes.get("axis", 0)) % len(data)
    return {0: [*data[:axis], sum(int(part) for part in given), *data[axis + 1 :]]}


def _einsum(inputs: Sequence[Any], attributes: Mapping[str, Any]) -> _Required:
    equation = attributes["equation"]
    terms = (equation.decode() if isinstance(equation, bytes) else equation).replace(" ", "").partition("->")[0]
    shapes = [_shape(value) for value in inputs]
    known = [shape for shape in shapes if shape is not None]
    if "." in terms or len(known) < len(shapes):
        return {}
    labels: dict[str, list[tuple[int, int]]] = {}
    for index, term in enumerate(terms.split(",")):
        for axis, label in enumerate(term):
            labels.setdefault(label, []).append((index, axis))
    return _merged(known, list(labels.values()))


_IMPORTED: dict[str, Callable[[Sequence[Any], Mapping[str, Any]], _Required]] = {"Split": _split, "Einsum": _einsum}
"""By ONNX operator, for sizes that its Relax operators no longer name."""
