"""What `aegisrt init` writes is enough for each engine, for the four kinds of models that people bring."""

import json

import numpy as np
import pytest

pytest.importorskip("onnx", reason="the package onnx, which makes the test models, is not installed")

from aegisrt.backends.tensorrt.distribution import installed
from aegisrt.cli.main import main
from tests.release.four_models import MODELS, make

TOLERANCE = 1e-4


@pytest.fixture(params=list(MODELS))
def model(request, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AEGISRT_CACHE_DIR", str(tmp_path / "cache"))
    return make(request.param, tmp_path / "my.onnx")


def answered(*words: str) -> dict[str, np.ndarray]:
    assert main([*words, "--output", "answer.npz"]) == 0
    with np.load("answer.npz") as found:
        return {name: found[name] for name in found.files}


@pytest.mark.engine("onnx")
def test_onnx_runtime_answers(model):
    assert main(["init"]) == 0
    for value in answered("run", "aegisrt.yaml").values():
        assert value.size > 0
        assert np.isfinite(value).all()


@pytest.mark.slow
@pytest.mark.engine("tvm")
@pytest.mark.engine("onnx")
def test_tvm_answers_the_same(model):
    assert main(["init", "--backend", "tvm"]) == 0
    ours = answered("run", "aegisrt.yaml")
    reference = answered("run", "aegisrt.yaml", "models.my.backend=onnx")
    assert ours.keys() == reference.keys()
    for name, value in ours.items():
        np.testing.assert_allclose(value, reference[name], rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.slow
@pytest.mark.engine("tensorrt")
def test_tensorrt_builds(model, capsys):
    if "tensorrt_rtx" not in installed():
        pytest.skip("TensorRT for RTX, which builds without a GPU, is not installed")
    assert main(["init", "--backend", "tensorrt"]) == 0
    capsys.readouterr()
    target = ['backends.trt.compute_capabilities=["8.9"]', "backends.trt.distribution=tensorrt_rtx"]
    assert main(["build", "aegisrt.yaml", *target, "--json"]) == 0
    (file,) = json.loads(capsys.readouterr().out)["files"]
    assert file["state"] == "built"
