"""A process of an isolated instance that needs more memory than it may: RESOURCE_EXHAUSTED, and the parent goes on."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from aegisrt import ErrorCode, ExecutionRequest, deploy
from aegisrt.backends.isolation.backend import isolated
from tests.backends.isolation.hungry import Hungry
from tests.backends.onnx_models import FLOAT, INT64, model, node, save, tensor

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="memory is limited on Linux alone")
LIMIT = 128 << 20


def loaded(tmp_path: Path, how: str, **options):
    path = tmp_path / "m.hungry"
    path.write_text(how)
    backend = isolated(Hungry)(options)
    return backend, backend.load(path)


def of(mebibytes: int) -> ExecutionRequest:
    return ExecutionRequest(inputs={"x": np.array([mebibytes], np.float32)})


@LINUX
@pytest.mark.parametrize("how", ["raise", "text", "abort"])
def test_a_request_that_needs_too_much_is_refused_and_the_next_one_runs(tmp_path, how):
    backend, answer = loaded(tmp_path, how, isolation_memory_bytes=LIMIT)
    answer.unwrap()
    assert backend.execute(of(32)).is_ok()
    before = backend.pids
    error = backend.execute(of(1024)).unwrap_err()
    assert error.code is ErrorCode.RESOURCE_EXHAUSTED, error
    assert "isolation_memory_bytes" in error.hint
    assert (backend.pids == before) is (how != "abort")
    assert backend.execute(of(32)).is_ok()
    backend.unload().unwrap()


@LINUX
def test_a_crash_without_a_reason_names_the_limit(tmp_path):
    backend, answer = loaded(tmp_path, "crash", isolation_memory_bytes=LIMIT)
    answer.unwrap()
    error = backend.execute(of(1024)).unwrap_err()
    assert error.code is ErrorCode.UNAVAILABLE
    assert error.hint.endswith("its limit on memory is 0.125 GiB: `isolation_memory_bytes`")
    backend.unload().unwrap()


@LINUX
def test_a_model_that_needs_too_much_is_not_loaded(tmp_path):
    _, answer = loaded(tmp_path, "load 1024", isolation_memory_bytes=LIMIT)
    error = answer.unwrap_err()
    assert error.code is ErrorCode.RESOURCE_EXHAUSTED
    assert "isolation_memory_bytes" in error.hint


def test_outputs_of_more_than_their_limit_are_refused(tmp_path):
    backend, answer = loaded(tmp_path, "wide", isolation_output_bytes=1 << 20)
    answer.unwrap()
    before = backend.pids
    assert backend.execute(of(1)).unwrap().outputs["y"].nbytes == 1 << 20
    error = backend.execute(of(2)).unwrap_err()
    assert error.code is ErrorCode.RESOURCE_EXHAUSTED
    assert error.hint == "raise `isolation_output_bytes`"
    assert backend.pids == before
    backend.unload().unwrap()


@LINUX
@pytest.mark.engine("onnx")
def test_a_small_model_with_a_large_output_harms_nothing(tmp_path):
    """81 bytes of ONNX ask for 37 GiB when they are warmed up."""
    grown = model([node("Expand", "x s", "y")], [tensor("x", FLOAT, (1,)), tensor("s", INT64, (1,))],
                  [tensor("y", FLOAT, ("n",))])  # fmt: skip
    path = save(tmp_path, grown)
    np.savez(tmp_path / "sample.npz", x=np.ones(1, np.float32), s=np.array([10**10], np.int64))
    manifest = {
        "models": {"m": {"path": str(path), "backend": "o", "warmup": 1, "sample": {"inputs": "sample.npz"}}},
        "backends": {"o": {"kind": "onnx", "isolation": "process", "isolation_memory_bytes": 1 << 30}},
    }
    manifest["models"]["m"]["sample"]["inputs"] = str(tmp_path / "sample.npz")
    error = deploy(manifest).unwrap_err()
    assert error.code is ErrorCode.RESOURCE_EXHAUSTED, error
    assert "isolation_memory_bytes" in error.hint
    del manifest["models"]["m"]["warmup"]
    with deploy(manifest).unwrap() as context:
        large = ExecutionRequest(inputs={"x": np.ones(1, np.float32), "s": np.array([10**10], np.int64)})
        assert context.execute(large).unwrap_err().code is ErrorCode.RESOURCE_EXHAUSTED
        small = ExecutionRequest(inputs={"x": np.ones(1, np.float32), "s": np.array([4], np.int64)})
        assert context.execute(small).unwrap().outputs["y"].shape == (4,)
