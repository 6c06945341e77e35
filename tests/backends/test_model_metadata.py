"""The model's own metadata: what its author wrote into the file, wherever the model runs."""

import json

import pytest

onnx = pytest.importorskip("onnx", reason="the models of this test are made with the package onnx")
import numpy as np  # noqa: E402

from aegisrt import ExecutionRequest, MockBackend, ONNXBackend, deploy  # noqa: E402
from aegisrt.backends.files.onnx import read_onnx  # noqa: E402
from aegisrt.cli.main import main  # noqa: E402
from tests.backends.onnx_models import FLOAT, model, node, save, tensor  # noqa: E402

OWN = {"names": "{0: 'cat', 1: 'dog'}", "characters": "äöü 漢字", "empty": ""}
ALL = {**OWN, "producer_name": "exporter", "domain": "org.example", "doc_string": "a model", "model_version": "7"}
X = np.zeros((2, 3), np.float32)
ENGINES = ["mock", *(pytest.param(kind, marks=pytest.mark.engine(kind)) for kind in ("onnx", "tvm"))]


@pytest.fixture
def path(tmp_path):
    made = model([node("Relu", "x", "y")], [tensor("x", FLOAT, ["n", 3])], [tensor("y", FLOAT, ["n", 3])])
    made.producer_name, made.domain, made.doc_string, made.model_version = "exporter", "org.example", "a model", 7
    onnx.helper.set_model_props(made, OWN)
    return save(tmp_path, made)


def test_the_header_has_it(path, tmp_path):
    assert read_onnx(path).metadata == ALL
    plain = model([node("Relu", "x", "y")], [tensor("x")], [tensor("y")])
    plain.producer_name = ""
    assert read_onnx(save(tmp_path, plain, "plain.onnx")).metadata == {}


@pytest.mark.engine("onnx")
@pytest.mark.parametrize("version", [0, 1])
def test_onnx_runtime_agrees_of_a_model_that_has_nearly_none(version, tmp_path):
    plain = model([node("Relu", "x", "y")], [tensor("x")], [tensor("y")])
    plain.model_version = version
    backend = ONNXBackend()
    backend.load(save(tmp_path, plain, "plain.onnx")).unwrap()
    assert backend.model_metadata == read_onnx(tmp_path / "plain.onnx").metadata


@pytest.mark.parametrize("isolation", ["none", "process"])
@pytest.mark.parametrize("kind", ENGINES)
def test_a_deployment_has_it_and_a_result_if_it_is_asked_for(kind, isolation, path):
    manifest = {
        "backends": {kind: {"isolation": isolation}},
        "models": {"m": {"path": str(path), "backend": kind}},
    }
    with deploy(manifest).unwrap() as context:
        assert context.metadata("m") == ALL
        assert context.metadata("other") is None
        assert json.loads(json.dumps(context.graph.to_json()))["nodes"][0]["model_metadata"] == ALL
        plain = context.execute(ExecutionRequest(inputs={"x": X})).unwrap()
        assert "model_metadata" not in plain.metadata
        wanted = ExecutionRequest(inputs={"x": X}, parameters={"model_metadata": True})
        for answer in (context.execute(wanted), context.submit(wanted).result()):
            assert answer.unwrap().metadata["model_metadata"] == ALL
    assert context.metadata("m") is None


@pytest.mark.engine("onnx")
def test_a_request_of_a_batch_gets_it_too(path):
    batching = {"max_batch_size": 8, "max_queue_delay_us": 20_000}
    with deploy({"models": {"m": {"path": str(path), "backend": "onnx", "batching": batching}}}).unwrap() as context:
        futures = [
            context.submit(ExecutionRequest(inputs={"x": X}, parameters={"model_metadata": wanted}))
            for wanted in (True, False, True)
        ]
        assert ["model_metadata" in future.result().unwrap().metadata for future in futures] == [True, False, True]


@pytest.mark.parametrize("parameters", [{}, {"model_metadata": False}, {"other": True}, None, [1], "model_metadata"])
def test_other_parameters_change_nothing(parameters, path):
    batching = {"max_batch_size": 8, "rows": "trust"}
    model = {"path": str(path), "backend": "mock", "batching": batching}
    with deploy({"models": {"m": model}}).unwrap() as context:
        request = ExecutionRequest(inputs={"x": X}, parameters=parameters)
        for answer in (context.execute(request), context.submit(request).result()):
            assert "model_metadata" not in answer.unwrap().metadata


@pytest.mark.parametrize("kind", [MockBackend, pytest.param(ONNXBackend, marks=pytest.mark.engine("onnx"))])
def test_it_is_the_callers_own(kind, path):
    backend = kind()
    assert backend.model_metadata is None
    backend.load(path).unwrap()
    backend.model_metadata.clear()
    assert backend.model_metadata == ALL


def test_graph_shows_it_without_an_engine(path, tmp_path, capsys):
    manifest = tmp_path / "m.yaml"
    manifest.write_text("models:\n  m: {path: model.onnx, backend: mock}\n")
    assert main(["graph", str(manifest), "--json"]) == 0
    nodes = {node["id"]: node for node in json.loads(capsys.readouterr().out)["nodes"]}
    assert nodes["model:m"]["model_metadata"] == ALL
    assert nodes["backend:mock"]["model_metadata"] is None
    assert main(["graph", str(manifest), "--json", "--load"]) == 0
    assert json.loads(capsys.readouterr().out)["nodes"][0]["model_metadata"] == ALL
