"""The manifest that `init` writes declares dynamic dimensions, and stays right if a backend's options fix them."""

from __future__ import annotations

import numpy as np
import pytest

from aegisrt import ExecutionRequest, deploy
from aegisrt.cli.main import main
from aegisrt.core.result import ErrorCode
from tests.backends import onnx_models as made
from tests.backends.onnx_models import FLOAT, node, tensor, weight

KINDS = [pytest.param(kind, marks=pytest.mark.engine(kind)) for kind in ("onnx", "tvm")]


@pytest.fixture
def manifest(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    affine = made.model(
        [node("Mul", "x two", "y")],
        [tensor("x", FLOAT, ("n", 3))],
        [tensor("y", FLOAT, ("n", 3))],
        [weight("two", np.asarray([2], np.float32))],
    )
    made.save(tmp_path, affine, "affine.onnx")
    assert main(["init", "--model", "affine.onnx"]) == 0
    return tmp_path / "aegisrt.yaml"


@pytest.mark.parametrize("kind", KINDS)
def test_a_declared_dimension_that_free_dimensions_fix_is_satisfied(manifest, kind):
    overrides = [f"models.affine.backend={kind}", f"backends.{kind}.free_dimensions={{n: 2}}"]
    with deploy(manifest, overrides).unwrap() as context:
        x = np.ones((2, 3), np.float32)
        np.testing.assert_array_equal(context.execute(ExecutionRequest(inputs={"x": x})).unwrap().outputs["y"], x + x)
        refused = context.execute(ExecutionRequest(inputs={"x": np.ones((3, 3), np.float32)})).unwrap_err()
        assert refused.code is ErrorCode.INVALID_ARGUMENT


@pytest.mark.parametrize("kind", KINDS)
def test_another_size_than_the_fixed_one_is_still_a_mismatch(manifest, kind):
    overrides = [f"models.affine.backend={kind}", f"backends.{kind}.free_dimensions={{n: 2}}"]
    overrides.append("models.affine.signature.inputs.x.shape=[4, 3]")
    error = deploy(manifest, overrides).unwrap_err()
    assert error.code is ErrorCode.FAILED_PRECONDITION
    assert "[4,3]" in error.message
