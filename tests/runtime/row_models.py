"""ONNX models whose rows are independent, and models that mix them; each with its inputs for `n` rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from aegisrt.core.tensor import DataType
from tests.backends.onnx_models import BOOL, ELEMENT, FLOAT, INT64, model, node, tensor, weight

RANDOM = np.random.default_rng(7)
UINT8 = ELEMENT[DataType.UINT8]
ONE = weight("one", np.float32(1))


def _weights(**shapes: tuple[int, ...]) -> list[Any]:
    return [weight(name, RANDOM.normal(0, 0.4, shape).astype(np.float32)) for name, shape in shapes.items()]


def _ints(name: str, *values: int) -> Any:
    return weight(name, np.array(values, np.int64))


def _table(
    nodes: list[Any], weights: list[Any] = (), *, y: Any = None, dims: tuple[Any, ...] = (6,), **rest: Any
) -> Any:
    """Return a model of `x` FP32 [n,...]; `y` is FP32 [n,m] unless given."""
    outputs = [y or tensor("y", FLOAT, ("n", "m"))]
    return model(nodes, [tensor("x", FLOAT, ("n", *dims))], outputs, weights, **rest)


def _batch_norm(**attributes: Any) -> list[Any]:
    outputs = "b m v" if attributes.get("training_mode") else "b"
    return [node("BatchNormalization", "x s o mean var", outputs, **attributes), node("Relu", "b", "y")]


NORM = [
    weight("s", np.ones(3, np.float32)),
    weight("o", np.zeros(3, np.float32)),
    weight("mean", np.zeros(3, np.float32)),
    weight("var", np.ones(3, np.float32)),
]
PIXELS = tensor("y", FLOAT, ("n", 3, "h", "w"))


def _attention() -> Any:
    nodes = [
        node("MatMul", "x wq", "q"),
        node("MatMul", "x wk", "k"),
        node("MatMul", "x wv", "v"),
        node("Transpose", "k", "kt", perm=[0, 2, 1]),
        node("MatMul", "q kt", "scores"),
        node("Softmax", "scores", "p", axis=-1),
        node("MatMul", "p v", "y"),
    ]
    weights = _weights(wq=(6, 6), wk=(6, 6), wv=(6, 6))
    return _table(nodes, weights, dims=("t", 6), y=tensor("y", FLOAT, ("n", "t", 6)))


def _heads() -> Any:
    """Reshape to heads by a shape that is computed, as exporters write it."""
    nodes = [
        node("Shape", "x", "shape"),
        node("Gather", "shape zero", "rows", axis=0),
        node("Concat", "rows rest", "to", axis=0),
        node("Reshape", "x to", "heads"),
        node("ReduceMean", "heads", "y", axes=[1], keepdims=0),
    ]
    return _table(nodes, [_ints("zero", 0), _ints("rest", 2, 3)])


def _recurrent() -> Any:
    """An LSTM of [time, batch, input] inside a model of [batch, time, input]."""
    nodes = [
        node("Transpose", "x", "t", perm=[1, 0, 2]),
        node("LSTM", "t W R", "Y", hidden_size=4),
        node("Transpose", "Y", "u", perm=[2, 0, 1, 3]),
        node("ReduceMax", "u", "y", axes=[1, 2], keepdims=0),
    ]
    return _table(nodes, _weights(W=(1, 16, 6), R=(1, 16, 4)), dims=("t", 6))


def _static_quantized() -> Any:
    nodes = [
        node("QuantizeLinear", "x scale zero", "q"),
        node("DequantizeLinear", "q scale zero", "d"),
        node("MatMul", "d w", "y"),
    ]
    return _table(nodes, [weight("scale", np.float32(0.02)), weight("zero", np.uint8(128)), *_weights(w=(6, 5))])


def _embedding() -> Any:
    nodes = [node("Gather", "table x", "e"), node("ReduceMean", "e", "y", axes=[1], keepdims=0)]
    return model(nodes, [tensor("x", INT64, ("n", "t"))], [tensor("y", FLOAT, ("n", 8))], _weights(table=(90, 8)))


def _two_inputs() -> Any:
    inputs = [tensor("x", FLOAT, ("n", 6)), tensor("wanted", BOOL, ("n", 6))]
    nodes = [node("Where", "wanted x none", "y")]
    return model(nodes, inputs, [tensor("y", FLOAT, ("n", 6))], [weight("none", np.float32(0))])


def _half() -> Any:
    nodes = [
        node("Cast", "x", "h", to=10),
        node("MatMul", "h w", "m"),
        node("Softmax", "m", "s"),
        node("Cast", "s", "y", to=1),
    ]
    return _table(nodes, [weight("w", RANDOM.normal(0, 0.4, (6, 5)).astype(np.float16))])


def _own_norm() -> Any:
    nodes = [
        node("ReduceMax", "x", "most", axes=[1]),
        node("Sub", "x most", "d"),
        node("Exp", "d", "e"),
        node("ReduceSum", "e axis", "sum"),
        node("Div", "e sum", "y"),
    ]
    return _table(nodes, [_ints("axis", 1)])


ROW_WISE: dict[str, Callable[[], Any]] = {
    "affine": lambda: _table([node("Mul", "x one", "t"), node("Add", "t one", "y")], [ONE]),
    "dense": lambda: _table([node("Gemm", "x w b", "y")], _weights(w=(6, 5), b=(5,))),
    "two-layers": lambda: _table(
        [
            node("MatMul", "x w", "a"),
            node("Relu", "a", "b"),
            node("MatMul", "b v", "c"),
            node("Softmax", "c", "y", axis=-1),
        ],
        _weights(w=(6, 9), v=(9, 4)),
    ),
    "class": lambda: _table(
        [node("MatMul", "x w", "a"), node("ArgMax", "a", "y", axis=1, keepdims=0)],
        _weights(w=(6, 5)),
        y=tensor("y", INT64),
    ),
    "best-three": lambda: _table([node("TopK", "x three", "y i")], [_ints("three", 3)]),
    "sums-of-rows": lambda: _table([node("CumSum", "x axis", "y")], [_ints("axis", 1)]),
    "softmax-by-hand": _own_norm,
    "layer-norm": lambda: _table([node("LayerNormalization", "x g", "y")], [weight("g", np.ones(6, np.float32))]),
    "convolution": lambda: _table(
        [
            node("Conv", "x w", "a"),
            node("Relu", "a", "b"),
            node("MaxPool", "b", "c", kernel_shape=[2, 2]),
            node("GlobalAveragePool", "c", "d"),
            node("Flatten", "d", "y"),
        ],
        _weights(w=(4, 3, 3, 3)),
        dims=(3, 16, 16),
    ),
    "batch-norm": lambda: _table(_batch_norm(), NORM, dims=(3, "h", "w"), y=PIXELS),
    "instance-norm": lambda: _table(
        [node("InstanceNormalization", "x s o", "y")], NORM[:2], dims=(3, "h", "w"), y=PIXELS
    ),
    "attention": _attention,
    "heads": _heads,
    "lstm": _recurrent,
    "static-quantization": _static_quantized,
    "embedding": _embedding,
    "two-inputs": _two_inputs,
    "half": _half,
    "columns": lambda: _table([node("Gather", "x some", "y", axis=1)], [_ints("some", 4, 0, 2)]),
    "joined-columns": lambda: _table([node("Concat", "x x", "y", axis=1)]),
    "halves": lambda: _table([node("Split", "x", "a b", axis=1), node("Add", "a b", "y")]),
    "flipped": lambda: _table(
        [node("Slice", "x from to along by", "y")],
        [_ints("from", -1), _ints("to", -99), _ints("along", 1), _ints("by", -1)],
    ),
    "another-name": lambda: _table([node("MatMul", "x w", "y")], _weights(w=(6, 5)), y=tensor("y", FLOAT, ("rows", 5))),
    "unnamed": lambda: _table([node("MatMul", "x w", "y")], _weights(w=(6, 5)), y=tensor("y", FLOAT, (None, 5))),
    "images-of-a-window": lambda: _table(
        [node("Unsqueeze", "x axis", "u"), node("Squeeze", "u axis", "y")], [_ints("axis", 1)]
    ),
}


def _hits(dims: tuple[Any, Any] = ("hits", 2)) -> Any:
    """One row per positive number: for some batches the rows add up by chance."""
    nodes = [
        node("Sub", "x half", "c"),
        node("Greater", "c zero", "m"),
        node("Cast", "m", "i", to=INT64),
        node("NonZero", "i", "t"),
        node("Transpose", "t", "y", perm=[1, 0]),
    ]
    weights = [weight("half", np.float32(0.8)), weight("zero", np.float32(0))]
    return _table(nodes, weights, dims=(3,), y=tensor("y", INT64, dims))


def _dynamic_quantized() -> Any:
    nodes = [
        node("DynamicQuantizeLinear", "x", "q scale zero"),
        node("MatMulInteger", "q w zero", "i"),
        node("Cast", "i", "f", to=FLOAT),
        node("Mul", "f scale", "y"),
    ]
    return _table(nodes, [weight("w", RANDOM.integers(-100, 100, (6, 5)).astype(np.int8))])


def _quantized_pictures() -> Any:
    """Quantized with one scale for the batch: dark pictures lose their detail beside bright ones alone."""
    nodes = [
        node("Cast", "x", "f", to=FLOAT),
        node("Mul", "f f", "light"),
        node("DynamicQuantizeLinear", "light", "q scale zero"),
        node("DequantizeLinear", "q scale zero", "d"),
        node("ReduceMean", "d", "mean", axes=[1, 2], keepdims=0),
        node("Sqrt", "mean", "y"),
    ]
    return model(nodes, [tensor("x", UINT8, ("n", 4, 4, 3))], [tensor("y", FLOAT, ("n", 3))])


def _by_size() -> Any:
    """Divided by the number of rows, which no other row shows."""
    nodes = [
        node("Shape", "x", "s", start=0, end=1),
        node("Cast", "s", "n", to=FLOAT),
        node("Div", "x n", "y"),
    ]
    return _table(nodes)


def _selected() -> Any:
    """Boxes that suppress each other over all rows, as a detector's."""
    nodes = [
        node("Unsqueeze", "x first", "boxes"),
        node("ReduceMean", "x", "m", axes=[1], keepdims=0),
        node("Unsqueeze", "m front", "scores"),
        node("NonMaxSuppression", "boxes scores most iou", "y"),
    ]
    weights = [_ints("first", 0), _ints("front", 0, 1), _ints("most", 100), weight("iou", np.float32(0.1))]
    return _table(nodes, weights, dims=(4,), y=tensor("y", INT64, ("found", 3)))


MIXING: dict[str, Callable[[], Any]] = {
    "hits": _hits,
    "hits-under-the-batch's-name": lambda: _hits(("n", 2)),
    "suppression": _selected,
    "distinct": lambda: _table([node("Unique", "x", "y", axis=0, sorted=1)]),
    "compressed": lambda: _table(
        [
            node("ReduceMean", "x", "m", axes=[1], keepdims=0),
            node("Greater", "m half", "c"),
            node("Compress", "x c", "y", axis=0),
        ],
        [weight("half", np.float32(0.5))],
    ),
    "dynamic-quantization": _dynamic_quantized,
    "maximum": lambda: _table([node("ReduceMax", "x", "m", axes=[0]), node("Div", "x m", "y")]),
    "mean": lambda: _table([node("ReduceMean", "x", "m", axes=[0]), node("Sub", "x m", "y")]),
    "range": lambda: _table([node("ReduceMax", "x", "m"), node("Div", "x m", "y")]),
    "batch-statistics": lambda: _table(_batch_norm(training_mode=1), NORM, dims=(3, "h", "w"), y=PIXELS),
    "mean-variance": lambda: _table(
        [node("MeanVarianceNormalization", "x", "y", axes=[0, 2, 3])], dims=(3, "h", "w"), y=PIXELS
    ),
    "softmax": lambda: _table([node("Softmax", "x", "y", axis=0)]),
    "sums": lambda: _table([node("CumSum", "x axis", "y")], [_ints("axis", 0)]),
    "sorted": lambda: _table([node("Shape", "x", "s", start=0, end=1), node("TopK", "x s", "y i", axis=0)]),
    "backwards": lambda: _table(
        [node("Slice", "x from to along by", "y")],
        [_ints("from", -1), _ints("to", -99), _ints("along", 0), _ints("by", -1)],
    ),
    "rolled": lambda: _table(
        [
            node("Slice", "x from end along", "a"),
            node("Slice", "x zero from along", "b"),
            node("Concat", "a b", "y", axis=0),
        ],
        [_ints("from", 1), _ints("end", 1 << 40), _ints("along", 0), _ints("zero", 0)],
    ),
    "first-row": lambda: _table(
        [node("Gather", "x first", "f", axis=0), node("Sub", "x f", "d"), node("Add", "d x", "y")], [_ints("first", 0)]
    ),
    "recurrent": lambda: _table(
        [node("Unsqueeze", "x axis", "u"), node("LSTM", "u W R", "Y", hidden_size=4), node("Reshape", "Y to", "y")],
        [_ints("axis", 1), _ints("to", -1, 4), *_weights(W=(1, 16, 6), R=(1, 16, 4))],
    ),
    "similarity": lambda: _table(
        [node("Transpose", "x", "t", perm=[1, 0]), node("MatMul", "x t", "p"), node("MatMul", "p x", "y")]
    ),
    "best-of-all": lambda: _table(
        [node("ArgMax", "x", "a", axis=0, keepdims=1), node("Cast", "a", "f", to=FLOAT), node("Add", "x f", "y")]
    ),
    "by-size": _by_size,
    "quantized-pictures": _quantized_pictures,
}


def inputs_of(made: Any, rows: int, seed: int) -> dict[str, np.ndarray]:
    """Return random inputs, 5 in each dynamic dimension behind the first."""
    random, found = np.random.default_rng(seed), {}
    for value in made.graph.input:
        dims = value.type.tensor_type.shape.dim[1:]
        shape = (rows, *(dim.dim_value or 5 for dim in dims))
        element = value.type.tensor_type.elem_type
        if element == FLOAT:
            found[value.name] = random.normal(0, 1, shape).astype(np.float32)
        elif element == UINT8:
            found[value.name] = random.integers(128, 256, shape).astype(np.uint8)
        else:
            found[value.name] = random.integers(0, 90, shape) if element == INT64 else random.random(shape) < 0.5
    return found
