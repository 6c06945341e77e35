"""Four kinds of models that people bring, small; made with the package `onnx`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

FLOAT, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL


def make(kind: str, path: Path) -> Path:
    """Write the model of that kind, and return its path."""
    path.write_bytes(MODELS[kind]().SerializeToString())
    return path


def cnn() -> Any:
    """Return a picture's classes: two convolutions with valid padding, pooling, a dense layer."""
    nodes = [
        _node("Conv", "pixels w1", "a", kernel_shape=[3, 3]),
        _node("Relu", "a", "b"),
        _node("MaxPool", "b", "c", kernel_shape=[2, 2], strides=[2, 2]),
        _node("Conv", "c w2", "d", kernel_shape=[3, 3]),
        _node("GlobalAveragePool", "d", "e"),
        _node("Flatten", "e", "f"),
        _node("Gemm", "f w3", "g"),
        _node("Softmax", "g", "classes"),
    ]
    weights = {"w1": (4, 3, 3, 3), "w2": (8, 4, 3, 3), "w3": (8, 10)}
    return _model(nodes, {"pixels": (FLOAT, ["batch", 3, 32, 32])}, {"classes": (FLOAT, ["batch", 10])}, weights)


def transformer() -> Any:
    """Return the logits of tokens: an embedding, masked self-attention, LayerNormalization, a dense layer."""
    nodes = [
        _node("Gather", "embedding input_ids", "x"),
        _node("MatMul", "x wq", "q"),
        _node("MatMul", "x wk", "k"),
        _node("MatMul", "x wv", "v"),
        _node("Transpose", "k", "kt", perm=[0, 2, 1]),
        _node("MatMul", "q kt", "scores"),
        _node("Cast", "attention_mask", "mask", to=FLOAT),
        _node("Unsqueeze", "mask axis", "mask3"),
        _node("Log", "mask3", "logmask"),
        _node("Add", "scores logmask", "masked"),
        _node("Softmax", "masked", "attention", axis=-1),
        _node("MatMul", "attention v", "mixed"),
        _node("Add", "x mixed", "y"),
        _node("LayerNormalization", "y scale", "z"),
        _node("MatMul", "z wo", "logits"),
    ]
    square = dict.fromkeys(("wq", "wk", "wv"), (16, 16))
    text = (INT64, ["batch", "sequence"])
    constants = {"axis": np.array([1], np.int64), "scale": np.ones(16, np.float32)}
    return _model(
        nodes,
        {"input_ids": text, "attention_mask": text},
        {"logits": (FLOAT, ["batch", "sequence", 50])},
        {"embedding": (50, 16), **square, "wo": (16, 50)},
        constants,
    )


def several_inputs() -> Any:
    """Return rows of a table, scaled, chosen by an index, or not: inputs of three types and a scalar."""
    nodes = [
        _node("Gather", "table index", "rows"),
        _node("Mul", "rows scale", "scaled"),
        _node("Where", "wanted scaled rows", "y"),
    ]
    inputs = {"table": (FLOAT, [5, 3]), "index": (INT64, [4]), "scale": (FLOAT, []), "wanted": (BOOL, [4, 1])}
    return _model(nodes, inputs, {"y": (FLOAT, [4, 3])}, {})


def dynamic_shapes() -> Any:
    """Return the mean colours of pictures of any size after a convolution that shrinks them."""
    nodes = [_node("Conv", "picture w", "a", kernel_shape=[5, 5], strides=[2, 2]), _node("GlobalAveragePool", "a", "y")]
    inputs = {"picture": (FLOAT, ["n", 3, "height", "width"])}
    return _model(nodes, inputs, {"y": (FLOAT, ["n", 3, 1, 1])}, {"w": (3, 3, 5, 5)})


MODELS = {"cnn": cnn, "transformer": transformer, "several-inputs": several_inputs, "dynamic-shapes": dynamic_shapes}


def _node(operator: str, inputs: str, outputs: str, **attributes: Any) -> Any:
    return helper.make_node(operator, inputs.split(), outputs.split(), **attributes)


def _model(nodes: list[Any], inputs: Any, outputs: Any, weights: dict[str, Any], constants: Any = None) -> Any:
    random = np.random.default_rng(0)
    values = {name: random.normal(0, 0.3, shape).astype(np.float32) for name, shape in weights.items()}
    tensors = [numpy_helper.from_array(value, name) for name, value in {**values, **(constants or {})}.items()]
    sides = [[helper.make_tensor_value_info(name, *spec) for name, spec in side.items()] for side in (inputs, outputs)]
    graph = helper.make_graph(nodes, "g", *sides, tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
