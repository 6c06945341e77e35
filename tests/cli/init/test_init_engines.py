"""What `aegisrt init` writes is enough for each engine, for the four kinds of models that people bring."""

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx", reason="the package onnx, which makes the test models, is not installed")

from onnx import helper, numpy_helper

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


ROW = [None, None]
IMAGE = [None, 3, None, None]
WEIGHTS = {"w": np.ones((64, 4), np.float32), "k": np.ones((2, 3, 3, 3), np.float32), "s": np.int64([4, 2])}


def unnamed(operator, inputs, **shapes):
    """Write a model of one node whose inputs have dimensions without names."""
    outputs = [helper.make_tensor_value_info("y", 1, None)]
    takes = [helper.make_tensor_value_info(name, 1, shape) for name, shape in shapes.items()]
    weights = [numpy_helper.from_array(WEIGHTS[name], name) for name in inputs.split() if name in WEIGHTS]
    graph = helper.make_graph([helper.make_node(operator, inputs.split(), ["y"])], "g", takes, outputs, weights)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    Path("my.onnx").write_bytes(made.SerializeToString())


@pytest.mark.engine("onnx")
@pytest.mark.parametrize(
    ("graph", "fits"),
    [
        (("MatMul", "x w", {"x": ROW}), "x=1x64"),
        (("Reshape", "x s", {"x": [None]}), "x=8"),
        (("Conv", "x k", {"x": [None] * 4}), "x=1x3x5x5"),
        (("Conv", "x k", {"x": ["?"] * 4}), "x=1x3x5x5"),
        (("Conv", "x k", {"x": None}), "x=1x3x5x5"),
        (("Conv", "x k", {"x": IMAGE}), None),
        (("Conv", "x k", {"x": ["?", 3, "?", "?"]}), None),
        (("Add", "a b", {"a": ROW, "b": ["n", None]}), None),
        (("Relu", "x", {"x": ["unk", "unk"]}), None),
    ],
    ids=str,
)
def test_what_init_writes_for_sizes_without_names_runs(graph, fits, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    operator, inputs, shapes = graph
    unnamed(operator, inputs, **shapes)
    if fits is not None:
        for backend in ("onnx", "tvm"):
            assert main(["init", "--backend", backend]) == 2
            said = capsys.readouterr().err
            assert "the model does not accept" in said
            assert f"give sizes that the model accepts for each N: --shape {fits[:2]}" in said
        assert [path.name for path in tmp_path.iterdir()] == ["my.onnx"]
    assert main(["init", *(["--shape", fits] if fits else [])]) == 0
    assert main(["run", "aegisrt.yaml"]) == 0


@pytest.mark.parametrize(
    "backend",
    [
        "mock",
        pytest.param("onnx", marks=pytest.mark.engine("onnx")),
        pytest.param("tvm", marks=pytest.mark.engine("tvm")),
    ],
)
def test_an_optional_input_keeps_its_default(backend, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AEGISRT_CACHE_DIR", str(tmp_path / "cache"))
    takes = [helper.make_tensor_value_info(name, 1, shape) for name, shape in (("x", ["n", 3]), ("b", [None]))]
    default = numpy_helper.from_array(np.float32([1, 2, 3]), "b")
    outputs = [helper.make_tensor_value_info("y", 1, ["n", 3])]
    graph = helper.make_graph([helper.make_node("Add", ["x", "b"], ["y"])], "g", takes, outputs, [default])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    Path("my.onnx").write_bytes(made.SerializeToString())
    assert main(["init", "--backend", backend, "--shape", "b=3"]) == 2
    assert "`b` is optional" in capsys.readouterr().err
    assert main(["init", "--backend", backend]) == 0
    assert "b: {dtype: FP32, shape: [null], optional: true}" in Path("aegisrt.yaml").read_text()
    with np.load("aegisrt.generated.npz") as made:
        x = made["x"]
        assert made.files == ["x"]
    answer = answered("run", "aegisrt.yaml")["y"]
    assert answer.shape == x.shape
    if backend != "mock":
        np.testing.assert_allclose(answer - x, np.broadcast_to([1, 2, 3], x.shape), rtol=1e-6)


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
