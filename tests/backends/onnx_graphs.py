"""Small ONNX models for the builders' tests; needs the package `onnx`."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper, numpy_helper

FLOAT = TensorProto.FLOAT


def node(operator, inputs, outputs, **attributes):
    return helper.make_node(operator, inputs, outputs, name=attributes.pop("name", operator.lower()), **attributes)


def model(nodes, inputs, outputs, weights=None, opset=17, domain=None):
    """Return an `onnx.ModelProto`; `inputs` and `outputs` are `{name: (element type, shape)}`."""
    infos = [[helper.make_tensor_value_info(name, *spec) for name, spec in side.items()] for side in (inputs, outputs)]
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in (weights or {}).items()]
    graph = helper.make_graph(nodes, "g", *infos, tensors)
    opsets = [helper.make_opsetid("", opset), *([helper.make_opsetid(domain, 1)] if domain else [])]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9)


def save(path, *arguments, **options):
    """Write such a model and return its path."""
    path.write_bytes(model(*arguments, **options).SerializeToString())
    return path


def relu(path, shape=("batch", 3)):
    return save(path, [node("Relu", ["x"], ["y"])], {"x": (FLOAT, shape)}, {"y": (FLOAT, shape)})


def net():
    """Return a graph with what a conversion has to know: constants in both spellings, Resize, a branch, a Cast."""
    inner = helper.make_graph(
        [node("Mul", ["r", "half"], ["t"])], "then", [], [helper.make_tensor_value_info("t", FLOAT, None)]
    )
    other = helper.make_graph(
        [node("Identity", ["r"], ["e"])], "else", [], [helper.make_tensor_value_info("e", FLOAT, None)]
    )
    nodes = [
        node("Constant", [], ["half"], value_float=0.5),
        node("Constant", [], ["scales"], value=numpy_helper.from_array(np.array([1, 1, 4 / 3, 1.5], np.float32))),
        node("Conv", ["x", "w"], ["c"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        node("Resize", ["c", "", "scales"], ["r"], mode="nearest"),
        node("If", ["choice"], ["b"], then_branch=inner, else_branch=other),
        node("Cast", ["n"], ["f"], to=FLOAT),
        node("Add", ["b", "f"], ["y"]),
    ]
    weights = {"w": np.random.default_rng(0).normal(size=(2, 3, 3, 3)).astype(np.float32)}
    inputs = {"x": (FLOAT, (1, 3, 9, 8)), "choice": (TensorProto.BOOL, ()), "n": (TensorProto.INT32, (1,))}
    return model(nodes, inputs, {"y": (FLOAT, (1, 2, 12, 12))}, weights)
