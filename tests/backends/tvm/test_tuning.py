"""Tuning: it makes right code, keeps its records, goes on from them, and says what it did."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest

from aegisrt import ExecutionRequest, TVMBackend
from aegisrt.core.result import ErrorCode
from aegisrt.core.sidecar import read_sidecar
from tests.backends import onnx_models as made
from tests.backends.onnx_models import FLOAT, node, tensor, weight

pytestmark = [pytest.mark.engine("tvm"), pytest.mark.slow]
WEIGHTS = np.random.default_rng(0).standard_normal((32, 16)).astype(np.float32)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    graph = made.model(
        [node("MatMul", "x w", "m"), node("Relu", "m", "y")],
        [tensor("x", FLOAT, ("n", 32))],
        [tensor("y", FLOAT, ("n", 16))],
        [weight("w", WEIGHTS)],
    )
    return made.save(tmp_path, graph)


def build(source: Path, trials: int, told: list[str] | None = None):
    options = {"shapes": {"x": [[8, 32]]}, "threads": 1, "tuning": {"trials_per_task": trials}}
    backend = TVMBackend(options)
    library = source.with_suffix(".so")
    backend.build(source, library, progress=told.append if told is not None else None).unwrap()
    backend.load(library).unwrap()
    return backend, read_sidecar(library).metadata


def test_a_tuned_library_is_right_says_so_and_goes_on_from_its_records(source):
    told: list[str] = []
    backend, metadata = build(source, 2, told)
    assert metadata["tuned"] is True
    assert metadata["tuning"]["finished"] is True
    assert list(metadata["tuning"]["trials"].values()) == [2]
    assert any("2 of 2" in text for text in told)
    for batch in (8, 3):
        x = np.random.default_rng(1).standard_normal((batch, 32)).astype(np.float32)
        result = backend.execute(ExecutionRequest(inputs={"x": x})).unwrap()
        assert result.metadata["tuned"] is True
        np.testing.assert_allclose(result.outputs["y"], np.maximum(x @ WEIGHTS, 0), rtol=1e-4, atol=1e-4)
    records = source.with_name("model.so.records") / "records.json"
    assert len(records.read_text().splitlines()) == 2
    with records.open("a") as stream:
        stream.write('[0, [[["a worker was killed here')
    told.clear()
    _, metadata = build(source, 3, told)
    assert list(metadata["tuning"]["trials"].values()) == [3]
    assert any("3 of 3" in text for text in told)
    assert not any("1 of 3" in text for text in told)
    assert all(json.loads(line) for line in records.read_text().splitlines())


@pytest.mark.parametrize("content", [b"nonsense", b"[7, [[], [1.0], {}, []]]\n", b"\xff\xfe\n"])
def test_records_that_cannot_be_read_are_given_up(tmp_path, content):
    pytest.importorskip("tvm")
    from aegisrt.backends.tvm.build.search import open_records

    (tmp_path / "records.json").write_bytes(content)
    assert len(open_records(tmp_path)) == 0


def test_a_search_whose_time_is_over_leaves_code_that_says_it_is_untuned(source):
    options = {"shapes": {"x": [[8, 32]]}, "tuning": {"trials_per_task": 1000, "timeout_s": 0.01}}
    library = source.with_suffix(".so")
    TVMBackend(options).build(source, library).unwrap()
    metadata = read_sidecar(library).metadata
    assert metadata["tuned"] is False
    assert metadata["tuning"]["finished"] is False


def test_a_model_of_dynamic_shape_alone_is_not_tuned(source, tmp_path):
    error = TVMBackend({"tuning": {}}).build(source, tmp_path / "m.so").unwrap_err()
    assert error.code is ErrorCode.INVALID_ARGUMENT
    assert "`shapes`" in error.hint


@pytest.mark.parametrize("code", [ErrorCode.RESOURCE_EXHAUSTED, ErrorCode.INTERNAL])
def test_workers_that_keep_running_out_of_memory_end_the_build_and_others_do_not(tmp_path, monkeypatch, code):
    tvm = pytest.importorskip("tvm")
    from tvm import te

    from aegisrt.backends.tvm.build import tune
    from aegisrt.core.result import ResultError, fail

    started = []

    def dies(*arguments, **_):
        started.append(arguments)
        raise fail(code, "it ran out of memory: its limit is 1 GiB, which `build.memory_bytes` sets")

    monkeypatch.setattr(tune, "run_child", dies)
    a = te.placeholder((4,), name="a", dtype="float32")
    function = te.create_prim_func([a, te.compute((4,), lambda i: a[i] + 1, name="b")])
    tasks = {"task": tvm.IRModule({"main": function.with_attr("global_symbol", "main")})}
    settings = {"trials_per_task": 2, "timeout_s": 60, "memory_bytes": 2**30, "trial_timeout_s": 5, "seed": 0}
    memory = pytest.raises(ResultError, match=r"`build\.memory_bytes`")
    with memory if code is ErrorCode.RESOURCE_EXHAUSTED else nullcontext():
        tune._search(tasks, {**settings, "target": {"kind": "llvm"}}, tmp_path)
    assert len(started) == 3
