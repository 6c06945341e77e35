"""OpenVINO answers as a manifest asks it; `aegisrt conformance --backend openvino` checks the contract."""

from pathlib import Path

import numpy as np
import pytest

import aegisrt.conformance
from aegisrt import ErrorCode, ExecutionRequest, deploy
from aegisrt.core.resources import configs_dir

KIT = Path(aegisrt.conformance.__file__).parent / "models"


def deployed(path, **options):
    manifest = {
        "models": {"model": {"path": str(path), "backend": "openvino"}},
        "backends": {"openvino": {"kind": "openvino", **options}},
    }
    return deploy(manifest).unwrap()


@pytest.mark.parametrize("hint", ["LATENCY", "THROUGHPUT"])
def test_digits_are_recognized(hint):
    folder = configs_dir() / "model"
    images, labels = np.load(folder / "digits.images.npy"), np.load(folder / "digits.labels.npy")
    with deployed(folder / "digits.onnx", performance_hint=hint) as context:
        (name,) = (spec.name for spec in context.signature("model").inputs)
        result = context.execute(ExecutionRequest(inputs={name: images})).unwrap()
    (scores,) = (value for value in result.outputs.values() if value.ndim == 2)
    assert (scores.argmax(axis=1) == labels).mean() > 0.95


def test_an_int64_that_int32_cannot_hold_is_refused():
    with deployed(KIT / "identity-int64.onnx") as context:
        (spec,) = context.signature("model").inputs
        value = np.zeros(spec.shape, np.int64)
        value.flat[0] = 2**31 - 1
        result = context.execute(ExecutionRequest(inputs={spec.name: value})).unwrap()
        assert np.array_equal(next(iter(result.outputs.values())), value)
        value.flat[0] = 2**31
        error = context.execute(ExecutionRequest(inputs={spec.name: value})).unwrap_err()
    assert error.code is ErrorCode.INVALID_ARGUMENT
    assert "outside int32" in error.message
