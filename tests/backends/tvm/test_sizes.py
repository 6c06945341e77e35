"""Sizes that a model needs and its signature leaves open: ONNX Runtime's answer, or a refusal, never another answer."""

from __future__ import annotations

import numpy as np
import pytest

from aegisrt import ExecutionRequest, ONNXBackend, TVMBackend
from aegisrt.core.result import ErrorCode, Ok
from tests.backends import onnx_models as made
from tests.backends.onnx_models import FLOAT, node, tensor, weight

pytestmark = [pytest.mark.engine("tvm"), pytest.mark.engine("onnx"), pytest.mark.filterwarnings("ignore::UserWarning")]
RANDOM = np.random.default_rng(13)
IMAGE, UNNAMED, ROWS = {"x": ("n", "c", "h", "w")}, {"x": (None,) * 4}, {"x": ("n", "k")}
IMAGES = [(2, 3, 4, 4)], [[(2, 1, 4, 4)], [(2, 4, 4, 4)]]


def floats(*shape):
    return RANDOM.standard_normal(shape).astype(np.float32)


def sizes(*values):
    return np.asarray(values, np.int64)


VECTORS = {"scale": floats(3), "bias": floats(3), "mean": floats(3), "variance": np.abs(floats(3)) + 1}
TWO = {"a": ("n", "k"), "b": ("m", "l")}
# name: nodes, inputs, constants, shapes that fit, lists of shapes that ONNX Runtime refuses, or TVM may refuse
CASES = {
    "MatMul": ([node("MatMul", "x w", "y")], ROWS, {"w": floats(64, 4)}, [(2, 64)], [[(1, 16)], [(1, 128)]]),
    "MatMul, unnamed": (
        [node("MatMul", "x w", "y")], {"x": (None, None)}, {"w": floats(64, 4)}, [(2, 64)], [[(1, 16)]]),
    "MatMul of two": ([node("MatMul", "a b", "y")], TWO, {}, [(2, 8), (8, 3)], [[(2, 8), (4, 3)], [(2, 4), (8, 3)]]),
    "Gemm": ([node("Gemm", "x w c", "y")], ROWS, {"w": floats(8, 4), "c": floats(4)}, [(2, 8)], [[(2, 7)], [(2, 9)]]),
    "Conv": ([node("Conv", "x w", "y")], IMAGE, {"w": floats(4, 3, 3, 3)}, *IMAGES),
    "Conv, unnamed": ([node("Conv", "x w", "y")], UNNAMED, {"w": floats(4, 3, 3, 3)}, *IMAGES),
    "Conv of groups": ([node("Conv", "x w", "y", group=3)], IMAGE, {"w": floats(6, 1, 3, 3)}, *IMAGES),
    "Add of a constant": ([node("Add", "x w", "y")], ROWS, {"w": floats(8)}, [(2, 8)], [[(2, 1)], [(2, 7)]]),
    "Mul of two, unnamed": (
        [node("Mul", "a b", "y")], {"a": (None, None), "b": (None, None)}, {}, [(2, 8), (2, 8)],
        [[(2, 8), (2, 4)], [(2, 8), (3, 8)], [(2, 1), (2, 8)]]),
    "Concat": ([node("Concat", "a b", "y", axis=1)], TWO, {}, [(2, 8), (2, 3)], [[(2, 8), (4, 3)], [(2, 8), (1, 3)]]),
    "Reshape": ([node("Reshape", "x s", "y")], ROWS, {"s": sizes(4, 16)}, [(2, 32)], [[(1, 16)], [(2, 64)]]),
    "Reshape with -1": ([node("Reshape", "x s", "y")], ROWS, {"s": sizes(-1, 16)}, [(2, 32)], [[(1, 17)], [(3, 5)]]),
    "BatchNormalization": ([node("BatchNormalization", "x scale bias mean variance", "y")], IMAGE, VECTORS, *IMAGES),
    "LayerNormalization": (
        [node("LayerNormalization", "x scale bias", "y")], ROWS, {"scale": floats(8), "bias": floats(8)}, [(2, 8)],
        [[(2, 4)], [(2, 9)]]),
    "Split": ([node("Split", "x s", "y z")], ROWS, {"s": sizes(2, 2)}, [(4, 3)], [[(5, 3)], [(3, 3)]]),
    "Einsum": ([node("Einsum", "a b", "y", equation="ij,jk->ik")], TWO, {}, [(2, 8), (8, 3)], [[(2, 8), (4, 3)]]),
    "two layers": (
        [node("MatMul", "x w", "h"), node("Add", "h b", "s"), node("Relu", "s", "r"), node("MatMul", "r v", "y")], ROWS,
        {"w": floats(8, 6), "b": floats(6), "v": floats(6, 2)}, [(3, 8)], [[(3, 7)]]),
}  # fmt: skip


def both(folder, nodes, inputs, constants):
    outputs = [tensor(name, FLOAT, None) for name in nodes[-1].output]
    ends = [tensor(name, FLOAT, dims) for name, dims in inputs.items()]
    model = made.model(nodes, ends, outputs, [weight(name, value) for name, value in constants.items()])
    source = made.save(folder, model)
    onnx, tvm = ONNXBackend(), TVMBackend()
    onnx.load(source).unwrap()
    tvm.build(source, folder / "m.so").unwrap()
    tvm.load(folder / "m.so").unwrap()
    return onnx, tvm


def compare(onnx, tvm, names, shapes):
    """Check one request; return whether TVM answers it."""
    inputs = {name: floats(*shape) for name, shape in zip(names, shapes, strict=True)}
    expected, got = (backend.execute(ExecutionRequest(inputs=inputs)) for backend in (onnx, tvm))
    if not isinstance(got, Ok):
        assert got.unwrap_err().code is ErrorCode.INVALID_ARGUMENT, got.unwrap_err()
        return False
    for name, value in expected.unwrap().outputs.items():
        np.testing.assert_allclose(got.unwrap().outputs[name], value, atol=1e-4, rtol=1e-4)
    return True


@pytest.mark.parametrize("name", CASES)
def test_sizes_that_an_operator_needs_are_checked_at_a_call(tmp_path, name):
    nodes, inputs, constants, fitting, others = CASES[name]
    onnx, tvm = both(tmp_path, nodes, inputs, constants)
    assert compare(onnx, tvm, inputs, fitting)
    for shapes in others:
        assert not compare(onnx, tvm, inputs, shapes)


def test_the_message_names_both_sizes(tmp_path):
    nodes, inputs, constants, *_ = CASES["MatMul"]
    error = both(tmp_path, nodes, inputs, constants)[1].execute(ExecutionRequest(inputs={"x": floats(1, 16)}))
    assert "16 where it needs 64" in error.unwrap_err().message


def test_random_sizes_are_answered_alike_or_refused(tmp_path):
    nodes = [node("MatMul", "a b", "m"), node("Add", "m c", "s"), node("Concat", "s a", "y", axis=1)]
    inputs = {"a": ("p", "q"), "b": ("r", "s"), "c": ("t", "u")}
    onnx, tvm = both(tmp_path, nodes, inputs, {})
    answered = [compare(onnx, tvm, inputs, RANDOM.integers(1, 3, (3, 2)).tolist()) for _ in range(120)]
    assert any(answered)
    assert not all(answered)
