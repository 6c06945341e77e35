import json
import pickle
import shutil
from pathlib import Path

import pytest

import aegisrt
from aegisrt.backends.registry import options_by_kind
from aegisrt.core.sidecar import file_sha256
from aegisrt.graph.build import build_graph
from aegisrt.graph.render import to_mermaid, to_text
from aegisrt.manifest.check.validate import manifest_type
from tests.runtime.models import affine, manifest


@pytest.fixture
def declared(tmp_path):
    return manifest({"m": {"path": affine(tmp_path), "instances": 2}}, stream="default")


def test_the_graph_says_what_runs_where_and_nothing_that_no_model_uses(declared):
    plain = build_graph(declared).to_json()
    assert [node["id"] for node in plain["nodes"]] == ["model:m", "backend:mock", "stream:default", "device:cpu"]
    model = plain["nodes"][0]
    assert (model["backend"], model["device"], model["stream"], model["instances"]) == ("mock", "cpu", "default", 2)
    assert model["state"] == "ready"
    edges = {(edge["from"], edge["to"]) for edge in plain["edges"]}
    assert edges == {("model:m", "backend:mock"), ("backend:mock", "stream:default"), ("stream:default", "device:cpu")}


def test_a_loaded_model_has_what_its_engine_says(declared):
    graph = build_graph(declared).loaded({"m": {"providers": ("A", "B"), "cpu_nodes": {"Cast": 5, "Slice": 1}}})
    assert [node.metadata is None for node in graph.nodes] == [False, True, True, True]
    assert to_text(graph).splitlines()[1:] == ["    providers: A, B", "    cpu_nodes: Cast 5, Slice 1"]
    assert to_text(graph.loaded({"m": {"cpu_nodes": {}}})).splitlines()[1:] == ["    cpu_nodes: none"]
    assert to_text(graph.loaded({})) == to_text(build_graph(declared))


def fingerprints(declared) -> dict[str, str]:
    return {node.id: node.fingerprint for node in build_graph(declared).nodes}


def test_a_fingerprint_is_of_the_content_not_of_the_place(tmp_path):
    (tmp_path / "other").mkdir()
    here, there = affine(tmp_path), affine(tmp_path / "other")
    assert fingerprints(manifest({"m": {"path": here}})) == fingerprints(manifest({"m": {"path": there}}))


def test_a_pinned_model_has_the_fingerprint_of_its_file_which_is_not_read_again(tmp_path, monkeypatch):
    file = affine(tmp_path)
    plain = fingerprints(manifest({"m": {"path": file}}))
    pinned = manifest({"m": {"path": file, "sha256": file_sha256(file)}})
    monkeypatch.setattr("aegisrt.graph.nodes.file_sha256", lambda path: pytest.fail(f"{path} was read"))
    assert fingerprints(pinned) == plain


def test_a_fingerprint_changes_with_the_file_the_options_and_what_is_below(tmp_path):
    base = fingerprints(manifest({"m": {"path": affine(tmp_path)}}))
    other_file = fingerprints(manifest({"m": {"path": affine(tmp_path, "b", 5.0)}}))
    assert base["model:m"] != other_file["model:m"]
    assert base["backend:mock"] == other_file["backend:mock"]
    other_options = fingerprints(manifest({"m": {"path": affine(tmp_path)}}, delay_ms=1.0))
    assert base["backend:mock"] != other_options["backend:mock"]
    assert base["model:m"] != other_options["model:m"]
    assert base["device:cpu"] == other_options["device:cpu"]


def test_text_and_mermaid(declared):
    graph = build_graph(declared)
    assert to_text(graph) == "m x2 -> mock -> cpu on stream default  [ready]\n"
    assert to_mermaid(graph).splitlines()[:2] == ["flowchart LR", '    n0["model m x2"]']
    json.dumps(graph.to_json())


def test_a_device_that_the_backend_does_not_run_on_is_unsupported(declared):
    cuda = declared.model_dump(mode="json", serialize_as_any=True)
    cuda["devices"]["cpu"] = {"kind": "cuda"}
    cuda["backends"]["mock"]["stream"] = None
    model = build_graph(type(declared).model_validate_json(json.dumps(cuda))).models[0]
    assert model.state == "unsupported"
    assert "runs on cpu, not on `cuda`" in model.reason


@pytest.mark.parametrize(
    ("devices", "options", "where"),
    [
        ({"gpu0": {"kind": "cuda"}, "gpu1": {"kind": "cuda", "ordinal": 1}}, {}, "gpu0"),
        ({"gpu0": {"kind": "cuda"}, "gpu1": {"kind": "cuda", "ordinal": 1}}, {"device": "gpu1"}, "gpu1"),
        ({"gpu0": {"kind": "cuda"}}, {"device": "cpu"}, "cpu"),
        ({}, {}, "cpu"),
    ],
)
def test_a_kind_that_needs_a_gpu_runs_on_the_first_declared_one(devices, options, where, tmp_path):
    raw = {
        "devices": {"cpu": {"kind": "cpu"}, **devices},
        "backends": {"trt": {"kind": "tensorrt", **options}},
        "models": {"m": {"path": str(affine(tmp_path)), "backend": "trt"}},
    }
    graph = build_graph(manifest_type(options_by_kind().unwrap()).model_validate_json(json.dumps(raw)))
    assert {node.device for node in graph.nodes} == {where}


def test_a_graph_reads_no_file_until_a_fingerprint_is_asked_for(tmp_path, monkeypatch):
    read = []
    monkeypatch.setattr("aegisrt.graph.nodes.file_sha256", lambda path: read.append(path) or "digest")
    graph = build_graph(manifest({"m": {"path": affine(tmp_path)}}))
    to_text(graph), to_mermaid(graph), pickle.dumps(graph)
    assert read == []
    assert graph.models[0].fingerprint
    assert read == [tmp_path / "affine.mock.json"]


def test_a_fingerprint_covers_external_weights(tmp_path):
    models = Path(aegisrt.__file__).parent / "conformance" / "models"
    for file in models.glob("external*"):
        shutil.copy(file, tmp_path)
    declared = manifest({"m": {"path": tmp_path / "external.onnx"}})
    pinned = manifest({"m": {"path": tmp_path / "external.onnx", "sha256": file_sha256(tmp_path / "external.onnx")}})
    before, same = fingerprints(declared), fingerprints(pinned)
    assert before == same
    (weights,) = tmp_path.glob("external.weights*")
    weights.write_bytes(bytes(weights.stat().st_size))
    assert fingerprints(declared)["model:m"] == fingerprints(pinned)["model:m"] != before["model:m"]
    weights.unlink()
    assert fingerprints(declared)["model:m"] == fingerprints(pinned)["model:m"] not in (before["model:m"], None)


def test_a_file_that_changed_since_the_graph_was_built_has_the_fingerprint_of_no_content(tmp_path):
    file = affine(tmp_path)
    first = build_graph(manifest({"m": {"path": file}}))
    kept = first.models[0].fingerprint
    file.write_text(file.read_text() + " ")
    second = build_graph(manifest({"m": {"path": file}}))
    assert first.models[0].fingerprint not in (kept, second.models[0].fingerprint)
    file.unlink()
    assert first.models[0].fingerprint not in (kept, second.models[0].fingerprint)
