"""Indices out of range: an error where a request brings them, and never another's memory or the process's end."""

from __future__ import annotations

import numpy as np
import pytest

from aegisrt import ExecutionRequest, TVMBackend
from aegisrt.core.result import ErrorCode
from tests.backends import onnx_models as made
from tests.backends.onnx_models import FLOAT, INT64, node, tensor, weight

pytestmark = pytest.mark.engine("tvm")
TABLE = np.arange(20, dtype=np.float32).reshape(5, 4)


def built(tmp_path, nodes, inputs, weights=()) -> TVMBackend:
    source = made.save(tmp_path, made.model(nodes, inputs, [tensor("y", FLOAT, None)], list(weights)))
    backend = TVMBackend()
    backend.build(source, tmp_path / "m.so").unwrap()
    backend.load(tmp_path / "m.so").unwrap()
    return backend


def call(backend, **inputs):
    return backend.execute(ExecutionRequest(inputs=inputs))


@pytest.mark.parametrize("axis", [0, 1])
def test_an_index_into_a_weight(tmp_path, axis):
    nodes = [node("Unsqueeze", "i a", "u"), node("Gather", "w u", "y", axis=axis)]
    weights = [weight("w", TABLE), weight("a", np.array([0], np.int64))]
    backend = built(tmp_path, nodes, [tensor("i", INT64)], weights)
    size = TABLE.shape[axis]
    good = np.array([0, -1, size - 1, -size], np.int64)
    found = call(backend, i=good).unwrap().outputs["y"]
    np.testing.assert_array_equal(found, np.take(TABLE, good[None], axis))
    for wrong in (size, -size - 1, 2**40, -(2**40)):
        error = call(backend, i=np.array([0, wrong], np.int64)).unwrap_err()
        assert error.code is ErrorCode.INVALID_ARGUMENT
        assert f"the index {wrong}" in error.message
    np.testing.assert_array_equal(call(backend, i=good).unwrap().outputs["y"], np.take(TABLE, good[None], axis))


@pytest.mark.parametrize("rows", [5, "m"], ids=["fixed", "dynamic"])
def test_an_index_into_another_input(tmp_path, rows):
    backend = built(tmp_path, [node("Gather", "x i", "y")], [tensor("x", FLOAT, (rows, 4)), tensor("i", INT64, ("n",))])
    good = np.array([4, -5, -1], np.int64)
    np.testing.assert_array_equal(call(backend, x=TABLE, i=good).unwrap().outputs["y"], TABLE[good])
    assert call(backend, x=TABLE, i=np.array([5], np.int64)).unwrap_err().code is ErrorCode.INVALID_ARGUMENT
    if rows == "m":
        assert call(backend, x=TABLE[:2], i=good).unwrap_err().code is ErrorCode.INVALID_ARGUMENT


@pytest.mark.parametrize(
    ("operator", "shape"), [("Gather", (3,)), ("GatherElements", (3, 4)), ("GatherND", (3, 1))], ids=str
)
def test_an_index_that_the_model_computes_stays_inside(tmp_path, operator, shape):
    nodes = [node("Add", "i one", "j"), node(operator, "w j", "y")]
    weights = [weight("w", TABLE), weight("one", np.array(1, np.int64))]
    backend = built(tmp_path, nodes, [tensor("i", INT64, shape)], weights)
    for far in (2**30, -(2**30), 2**45):
        found = call(backend, i=np.full(shape, far, np.int64)).unwrap().outputs["y"]
        assert np.isin(found, TABLE).all()
    assert call(backend, i=np.zeros(shape, np.int64)).unwrap().outputs["y"].ravel()[0] == TABLE[1, 0]


@pytest.mark.parametrize(("operator", "shape"), [("ScatterElements", (1, 4)), ("ScatterND", (1, 1))], ids=str)
def test_nothing_is_written_outside(tmp_path, operator, shape):
    nodes = [node("Add", "i one", "j"), node(operator, "w j u", "y")]
    weights = [weight("w", TABLE), weight("one", np.array(1, np.int64)), weight("u", np.full((1, 4), -1, np.float32))]
    backend = built(tmp_path, nodes, [tensor("i", INT64, shape)], weights)
    for index, row in ((0, 1), (-3, -2), (2**30, -1), (-(2**30), 0)):
        found = call(backend, i=np.full(shape, index, np.int64)).unwrap().outputs["y"]
        want = TABLE.copy()
        want[row] = -1
        np.testing.assert_array_equal(found, want)
