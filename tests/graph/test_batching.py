"""What `validate` and `graph` say of a batching model before anything is loaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from aegisrt import ErrorCode, deploy
from aegisrt.deployment import resolve
from tests.backends.onnx_models import FLOAT, model, node, save, tensor
from tests.runtime.row_models import MIXING, ROW_WISE

MANIFEST = """\
models:
  m:
    path: {path}
    backend: {backend}
    batching: {{max_batch_size: 8{more}}}
"""


def written(folder, made, more="", backend="onnx"):
    path = save(folder, made)
    manifest = folder / "deploy.yaml"
    manifest.write_text(MANIFEST.format(path=path, backend=backend, more=more))
    return manifest


@pytest.mark.parametrize("backend", ["onnx", "tvm", "mock"])
@pytest.mark.parametrize("name", ["hits", "hits-under-the-batch's-name", "compressed"])
def test_a_model_that_certainly_is_not_row_wise_is_an_error_at_its_line(tmp_path, monkeypatch, name, backend):
    monkeypatch.chdir(tmp_path)
    written(tmp_path, MIXING[name](), backend=backend)
    error = resolve("deploy.yaml").unwrap_err()
    assert error.code is ErrorCode.FAILED_PRECONDITION
    assert str(error.location) == "deploy.yaml:5:15"
    (found,) = [one for one in error.diagnostics if one.severity == "error"]
    assert (found.id, found.path) == ("not-row-wise", "models.m.batching")
    assert "one row for each element that " in found.message
    assert deploy(Path("deploy.yaml")).unwrap_err() == error


def warnings(manifest):
    return [one for one in resolve(manifest).unwrap().warnings if one.id != "not-installed"]


@pytest.mark.parametrize("name", ["dynamic-quantization", "maximum", "batch-statistics", "softmax", "similarity"])
def test_operators_that_mix_rows_are_named_in_a_warning(tmp_path, name):
    (found,) = warnings(written(tmp_path, MIXING[name]()))
    assert (found.id, found.severity) == ("may-mix-rows", "warning")
    assert found.message.endswith("; checked at deploy")
    assert any(kind in found.message for kind in ("DynamicQuantizeLinear", "Reduce", "BatchNorm", "Softmax", "MatMul"))


def test_where_the_file_does_not_tell_it_is_checked_at_deploy(tmp_path):
    made = model(
        [node("Own", "x", "y", domain="com.example")],
        [tensor("x", FLOAT, ("n", 3))],
        [tensor("y", FLOAT, ("found", 3))],
        domains=[("com.example", 1)],
    )
    (found,) = warnings(written(tmp_path, made))
    assert "does not show that output `y` has one row per row of the batch; checked at deploy" in found.message


@pytest.mark.parametrize("name", ROW_WISE)
def test_a_row_wise_model_is_valid_without_a_word(tmp_path, name):
    assert warnings(written(tmp_path, ROW_WISE[name]())) == []


@pytest.mark.parametrize("more", [", rows: trust"])
@pytest.mark.parametrize("name", ["hits", "maximum"])
def test_trusted_rows_are_not_looked_at(tmp_path, name, more):
    assert warnings(written(tmp_path, MIXING[name](), more)) == []


def test_a_file_that_is_no_model_is_left_to_the_engine(tmp_path):
    manifest = written(tmp_path, MIXING["hits"]())
    (tmp_path / "model.onnx").write_bytes(b"\x08\x08:\xa5\x01")
    assert warnings(manifest) == []
