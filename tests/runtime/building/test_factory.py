import numpy as np
import pytest

from aegisrt import Err, ErrorCode, MockBackend
from aegisrt.graph.build import build_graph
from aegisrt.manifest.origin import NoOrigins
from aegisrt.runtime.building.factory import build_backends
from tests.runtime.models import affine, manifest


def built(declared):
    return build_backends(build_graph(declared), NoOrigins())


def test_a_model_that_fails_to_load_leaves_none_loaded(tmp_path, monkeypatch):
    unloaded = []
    real = MockBackend.unload
    monkeypatch.setattr(MockBackend, "unload", lambda self: (unloaded.append(self), real(self))[1])
    bad = tmp_path / "bad.mock.json"
    bad.write_text('{"format": "aegisrt-mock/v1"')
    error = built(manifest({"good": {"path": affine(tmp_path)}, "bad": {"path": bad}})).unwrap_err()
    assert error.code is ErrorCode.DATA_LOSS
    assert error.message.startswith("model `bad`: ")
    assert [backend.signature for backend in unloaded] == [None]


def test_the_mock_is_told_to_fail_at_load(tmp_path):
    error = built(manifest({"m": {"path": affine(tmp_path)}}, fail_load="RESOURCE_EXHAUSTED")).unwrap_err()
    assert error.code is ErrorCode.RESOURCE_EXHAUSTED


def test_a_declared_signature_is_checked_against_the_engine(tmp_path):
    wrong = {"inputs": {"x": {"dtype": "FP32", "shape": [None, 5]}}}
    error = built(manifest({"m": {"path": affine(tmp_path), "signature": wrong}})).unwrap_err()
    assert error.code is ErrorCode.FAILED_PRECONDITION
    assert "`x` is declared [?,5], the model has [n,4]" in error.message


@pytest.mark.parametrize("sample", [False, True])
def test_warm_up_calls_every_instance(tmp_path, monkeypatch, sample):
    seen = []
    real = MockBackend._execute
    monkeypatch.setattr(
        MockBackend,
        "_execute",
        lambda self, slot, i, o: (seen.append((id(slot), i["x"].shape)), real(self, slot, i, o))[1],
    )
    model = {"path": affine(tmp_path), "warmup": 2, "instances": 3}
    if sample:
        np.save(tmp_path / "x.npy", np.ones((5, 4), np.float32))
        model["sample"] = {"inputs": tmp_path / "x.npy"}
    built(manifest({"m": model})).unwrap()
    assert len(seen) == 6
    assert len({slot for slot, _ in seen}) == 3
    assert {shape for _, shape in seen} == {(5, 4) if sample else (1, 4)}


def test_a_warm_up_that_fails_fails_the_deployment(tmp_path):
    declared = manifest({"m": {"path": affine(tmp_path), "warmup": 1}}, fail_execute="UNAVAILABLE")
    result = built(declared)
    assert isinstance(result, Err)
    assert result.error.code is ErrorCode.UNAVAILABLE
    assert "warm-up failed" in result.error.message
