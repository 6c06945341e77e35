"""What `aegisrt bench` reports beside the times: what it sent, to which engine, on which machine."""

import importlib.metadata
import importlib.util
import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from aegisrt.cli.main import main
from tests.cli.verbs.benching import bench, write_manifest
from tests.runtime.models import affine


@pytest.fixture
def manifest(tmp_path):
    return write_manifest(tmp_path)


def picture_model(folder: Path) -> str:
    """Write a manifest of a model of pictures `(n, 3, height, width)` without a sample."""
    tensor = {"dtype": "FP32", "shape": ["n", 3, "height", "width"]}
    operation = {"kind": "affine", "input": "image", "scale": 1.0}
    outputs = [{"name": "y", **tensor, "operation": operation}]
    document = {"format": "aegisrt-mock/v1", "inputs": [{"name": "image", **tensor}], "outputs": outputs}
    (folder / "pictures.mock.json").write_text(json.dumps(document))
    path = folder / "pictures.yaml"
    path.write_text("models:\n  p: {path: pictures.mock.json, backend: mock}\n")
    return str(path)


def test_free_dimensions_without_a_sample_are_refused(capsys, tmp_path):
    code, found = bench(capsys, picture_model(tmp_path), "--seconds", "0.1")
    assert (code, found["error"]["code"]) == (2, "INVALID_ARGUMENT")
    assert found["error"]["message"] == ("model `p` has no sample, and free dimensions: `image` FP32[n,3,height,width]")
    assert "models.p.sample.inputs" in found["error"]["hint"]
    assert "--shape image=1x3x224x224" in found["error"]["hint"]


def test_shapes_are_sent_as_told_and_reported(capsys, tmp_path):
    words = [picture_model(tmp_path), "--shape", "image=2x3x8x16", "--seconds", "0.1"]
    code, found = bench(capsys, *words)
    assert code == 0
    assert found["inputs"] == [{"name": "image", "dtype": "FP32", "shape": [2, 3, 8, 16]}]
    assert found["inputs_from"] == "zeros"
    assert found["options"]["shapes"] == {"image": [2, 3, 8, 16]}
    assert main(["bench", *words]) == 0
    assert "image FP32[2,3,8,16], zeros" in capsys.readouterr().out


def test_a_dimension_that_two_inputs_share_is_told_once(capsys, tmp_path):
    tensor = {"dtype": "INT64", "shape": ["n", "length"]}
    outputs = [{"name": "y", **tensor, "operation": {"kind": "affine", "input": "tokens", "scale": 1.0}}]
    inputs = [{"name": "tokens", **tensor}, {"name": "mask", **tensor}]
    document = {"format": "aegisrt-mock/v1", "inputs": inputs, "outputs": outputs}
    (tmp_path / "text.mock.json").write_text(json.dumps(document))
    (tmp_path / "text.yaml").write_text("models:\n  t: {path: text.mock.json, backend: mock}\n")
    words = [str(tmp_path / "text.yaml"), "--seconds", "0.1"]
    code, found = bench(capsys, *words, "--shape", "tokens=1x128")
    assert code == 0
    assert [one["shape"] for one in found["inputs"]] == [[1, 128], [1, 128]]
    code, found = bench(capsys, *words, "--shape", "token=1x128")
    assert (code, found["error"]["hint"]) == (2, "did you mean `tokens`?")


def test_rows_are_the_first_dimension_of_what_is_sent(capsys, manifest):
    code, found = bench(capsys, manifest, "--rows", "3", "--seconds", "0.1")
    assert (code, found["inputs"]) == (0, [{"name": "x", "dtype": "FP32", "shape": [3, 4]}])


def test_the_report_names_the_sample_the_engine_the_machine_and_the_options(capsys, tmp_path):
    np.savez(tmp_path / "s.npz", x=np.ones((5, 4), np.float32))
    affine(tmp_path)
    path = tmp_path / "m.yaml"
    path.write_text(
        "backends: {slow: {kind: mock, delay_ms: 1}}\n"
        "models:\n  m: {path: affine.mock.json, backend: slow, instances: 2, sample: {inputs: s.npz}}\n"
    )
    code, found = bench(capsys, str(path), "--seconds", "0.1")
    assert code == 0
    assert (found["inputs"][0]["shape"], found["inputs_from"]) == ([1, 4], "sample")
    assert (found["engine"]["kind"], found["engine"]["device"], found["engine"]["instances"]) == ("mock", "cpu", 2)
    assert found["options"]["backend"]["delay_ms"] == 1
    assert found["options"]["model"]["instances"] == 2
    machine = found["environment"]
    assert machine["versions"]["numpy"] == np.__version__
    assert machine["processor"]
    assert abs((datetime.now(UTC) - datetime.fromisoformat(machine["date"])).total_seconds()) < 60
    assert main(["bench", str(path), "--seconds", "0.1"]) == 0
    out = capsys.readouterr().out
    for fact in ("x FP32[1,4], from the sample", "2 instances", machine["processor"], "backend.delay_ms=1", "rows=1"):
        assert fact in out, fact


@pytest.mark.engine("onnx")
def test_the_report_names_the_version_of_the_engine(capsys):
    code, found = bench(capsys, "--seconds", "0.1")
    assert code == 0
    version = importlib.metadata.version("onnxruntime")
    assert (found["engine"]["version"], found["environment"]["versions"]["onnxruntime"]) == (version, version)


def test_values_of_the_environment_are_hidden_in_the_report(capsys, manifest, monkeypatch):
    monkeypatch.setenv("BENCH_DELAY", "7")
    with Path(manifest).open("a") as file:
        file.write("backends: {mock: {kind: mock, delay_ms: '${oc.decode:${oc.env:BENCH_DELAY}}'}}\n")
    code, found = bench(capsys, manifest, "--seconds", "0.1")
    assert (code, found["options"]["backend"]["delay_ms"]) == (0, "***")


def test_made_up_inputs_are_named_as_such(capsys, tmp_path):
    np.savez(tmp_path / "m.generated.npz", x=np.ones((1, 4), np.float32))
    affine(tmp_path)
    path = tmp_path / "m.yaml"
    path.write_text("models:\n  m: {path: affine.mock.json, backend: mock, sample: {inputs: m.generated.npz}}\n")
    assert main(["bench", str(path), "--seconds", "0.1"]) == 0
    assert "from the sample (made up by `aegisrt init`)" in capsys.readouterr().out
