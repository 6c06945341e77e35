"""The three models that ONNX Runtime itself ships, through a manifest; one of them answers what is no tensor."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from aegisrt import ErrorCode, ExecutionRequest

pytestmark = pytest.mark.engine("onnx")

POINTS = np.array([[5, 3], [0, 5], [-5, -5]], np.float32)
"""Of two of the three classes that the logistic regression knows."""
EXAMPLES = {
    "mul_1.onnx": {"X": np.array([[1, 2], [3, 4], [5, 6]], np.float32)},
    "sigmoid.onnx": {"x": np.linspace(-4, 4, 60, dtype=np.float32).reshape(3, 4, 5)},
}


@pytest.fixture
def example():
    datasets = pytest.importorskip("onnxruntime.datasets", reason="onnxruntime is not installed")
    return lambda name: Path(datasets.get_example(name))


@pytest.mark.parametrize("name", EXAMPLES)
def test_outputs_equal_a_bare_session(name, example, deployed, bare_session):
    path, feeds = example(name), EXAMPLES[name]
    (got,) = deployed(path).execute(ExecutionRequest(model="m", inputs=feeds)).unwrap().outputs.values()
    (want,) = bare_session(path).run(None, feeds)
    assert got.dtype == want.dtype
    assert np.array_equal(got, want)


def test_tensors_beside_a_sequence_of_maps_are_served(example, deployed, bare_session):
    path = example("logreg_iris.onnx")
    context = deployed(path)
    outputs = context.execute(ExecutionRequest(model="m", inputs={"float_input": POINTS})).unwrap().outputs
    (want,) = bare_session(path).run(["label"], {"float_input": POINTS})
    assert list(outputs) == ["label"]
    assert outputs["label"].dtype == np.int64
    assert np.unique(want).size == 2
    assert np.array_equal(outputs["label"], want)
    assert context.signature("m").omitted == (("probabilities", "seq(map(int64,tensor(float)))"),)


def test_a_sequence_of_maps_is_refused_by_name(example, deployed):
    context = deployed(example("logreg_iris.onnx"))
    request = ExecutionRequest(model="m", inputs={"float_input": POINTS}, outputs=["probabilities"])
    error = context.execute(request).unwrap_err()
    assert error.code == ErrorCode.UNIMPLEMENTED
    assert "`probabilities` is seq(map(int64,tensor(float)))" in error.message
    assert "zipmap" in error.hint
