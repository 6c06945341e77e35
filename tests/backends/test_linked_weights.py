"""External weights that are links: every engine gives ONNX Runtime's answer, or refuses with the same code."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from aegisrt import ExecutionRequest, ONNXBackend, TVMBackend
from aegisrt.core.result import ErrorCode
from tests.backends.files.test_source import PERMITTED, REFUSED, WEIGHTS
from tests.backends.onnx_models import save_with_external_weights

pytestmark = [pytest.mark.engine("tvm"), pytest.mark.engine("onnx")]
VALUES = [1, 2, 3]


def laid_out(layout, folder: Path) -> Path:
    """Return the model of a layout, with real content in each of its files."""
    original = folder / "original"
    original.mkdir()
    save_with_external_weights(original, VALUES, WEIGHTS)
    model = layout(folder / "layout")
    shutil.copy(original / "model.onnx", model.resolve())
    for path in (folder / "layout").rglob("*"):
        if path.is_file() and path.resolve() != model.resolve():
            path.resolve().write_bytes((original / WEIGHTS).read_bytes())
    return model


def outcomes(model: Path, tmp_path: Path):
    onnx, tvm = ONNXBackend(), TVMBackend()
    yield onnx, onnx.load(model)
    built = tvm.build(model, tmp_path / "model.so")
    yield tvm, tvm.load(tmp_path / "model.so") if built.is_ok() else built


@pytest.mark.parametrize("layout", PERMITTED, ids=lambda layout: layout.__name__)
def test_links_beside_the_model_are_followed_by_all(tmp_path, layout):
    for backend, result in outcomes(laid_out(layout, tmp_path), tmp_path):
        assert result.is_ok(), (backend.kind, result)
        outputs = backend.execute(ExecutionRequest(inputs={"x": np.zeros(3, np.float32)})).unwrap().outputs
        np.testing.assert_array_equal(outputs["y"], VALUES, err_msg=backend.kind)


@pytest.mark.parametrize("layout", REFUSED, ids=lambda layout: layout.__name__)
def test_other_links_are_refused_by_all(tmp_path, layout):
    for backend, result in outcomes(laid_out(layout, tmp_path), tmp_path):
        assert result.unwrap_err().code is REFUSED[layout], backend.kind


def test_weights_that_are_cut_short_are_refused_by_all(tmp_path):
    model = save_with_external_weights(tmp_path, VALUES, WEIGHTS)
    (tmp_path / WEIGHTS).write_bytes(bytes(5))
    for backend, result in outcomes(model, tmp_path):
        error = result.unwrap_err()
        assert error.code is ErrorCode.DATA_LOSS, backend.kind
        assert WEIGHTS in error.message
