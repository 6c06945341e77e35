"""AegisRT reads a model's file at most once whole beside the engine's own read, and not at all without a reason.

Counted in every process: the caller's, isolated ones and the compiler's. What an engine reads in native code does not
count, nor does the compiler of an engine file, which is the engine's own read.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from aegisrt.core.sidecar import sidecar_path
from aegisrt.core.stamp import file_sha256
from tests.backends.onnx_models import FLOAT, model, node, save, tensor, weight

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="finds the file of a descriptor in /proc")

ROOT = Path(__file__).resolve().parents[3]
COUNTER = ROOT / "tests" / "fakes" / "reads"
HEADER = 2**17
"""More than the bytes beside the weights that are read of a model, or of the tables of a library, by all processes."""
MOST_OPENS = 16
ONNX, TVM = (pytest.mark.engine(name) for name in ("onnx", "tvm"))


@pytest.fixture
def source(tmp_path):
    """A model of 4 MB: y = x @ w."""
    values = np.random.default_rng(0).normal(size=(1024, 1024)).astype(np.float32)
    ends = [tensor(name, FLOAT, ("n", 1024)) for name in "xy"]
    path = save(tmp_path, model([node("MatMul", "x w", "y", "mm")], ends[:1], ends[1:], [weight("w", values)]))
    time.sleep(0.05)  # a file that was written a moment ago is read again
    return path


@pytest.fixture
def counted(tmp_path):
    """Run Python code, or a module with arguments; return `{(process, inode): (bytes read, opens)}`."""
    log = tmp_path / "reads.log"

    def run(*words):
        log.write_text("")
        own = {"FOLDER": str(tmp_path.resolve()), "LOG": str(log)}
        named = {f"AEGISRT_READS_{name}": text for name, text in own.items()}
        paths = {"PYTHONPATH": f"{COUNTER}{os.pathsep}{ROOT}", "AEGISRT_CACHE_DIR": str(tmp_path / "cache")}
        environment = {**os.environ, **paths, **named}
        done = subprocess.run([sys.executable, "-P", *words], env=environment, cwd=tmp_path, capture_output=True)
        assert done.returncode == 0, done.stderr.decode()[-3000:]
        found = defaultdict(lambda: [0, 0])
        for line in log.read_text().splitlines():
            process, action, size, inode = line.split()
            found[process, int(inode)][action == "open"] += int(size) if action == "read" else 1
        return found

    return run


def times_whole(found, file, process="aegisrt"):
    """Return how often a file was read whole; a read of its header and its tables counts as nothing."""
    read, opens = found[process, file.stat().st_ino]
    times, rest = divmod(read, file.stat().st_size)
    assert rest <= HEADER, f"{file.name}: {read} bytes were read, {times} times all of it and {rest} more"
    assert opens <= MOST_OPENS, f"{file.name} was opened {opens} times"
    return times


def deployed(path, backend, *overrides, **options):
    manifest = {"models": {"m": {"path": str(path), "backend": backend, **options}}}
    return ["-c", f"import aegisrt; aegisrt.deploy({manifest!r}, {overrides!r}).unwrap().close()"]


BACKENDS = ["mock", pytest.param("onnx", marks=ONNX)]


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_plain_model_is_not_read_whole(source, counted, backend):
    assert times_whole(counted(*deployed(source, backend)), source) == 0


@pytest.mark.parametrize("backend", BACKENDS)
def test_batching_reads_the_operators_and_not_the_weights(source, counted, backend):
    assert times_whole(counted(*deployed(source, backend, batching={"max_batch_size": 4})), source) == 0


@pytest.mark.parametrize("isolation", ["none", "process"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_pinned_model_is_read_once(source, counted, backend, isolation):
    run = deployed(source, backend, f"backends.{backend}.isolation={isolation}", sha256=file_sha256(source))
    assert times_whole(counted(*run), source) == 1


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("instances", [1, 2])
def test_an_isolated_model_is_read_once_for_the_digest_that_later_processes_have_to_find(
    source, counted, backend, instances
):
    run = deployed(source, backend, f"backends.{backend}.isolation=process", instances=instances)
    assert times_whole(counted(*run), source) == 1


@ONNX
@pytest.mark.parametrize(("isolation", "times"), [("none", 0), ("process", 1)])
def test_external_weights(source, counted, isolation, times):
    import onnx

    path = source.with_name("external.onnx")
    onnx.save_model(onnx.load(source), path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    time.sleep(0.05)
    found = counted(*deployed(path, "onnx", f"backends.onnx.isolation={isolation}"))
    assert times_whole(found, path.with_name("weights.bin")) == times


@TVM
@pytest.mark.parametrize("isolation", ["none", "process"])
def test_a_build_and_a_warm_cache_read_the_source_once_and_the_engine_file_once(source, counted, tmp_path, isolation):
    run = deployed(source, "tvm", f"backends.tvm.isolation={isolation}")
    for built in (True, False):
        found = counted(*run)
        (library,) = tmp_path.glob("cache/artifacts/*/model.so")
        assert (times_whole(found, source), times_whole(found, library)) == (1, 1), f"{built=}"
        assert times_whole(found, source, "compiler") == built
    pinned = counted(*deployed(source, "tvm", sha256=file_sha256(source)))
    assert (times_whole(pinned, source), times_whole(pinned, library)) == (1, 1)
    itself = counted(*deployed(library, "tvm"))
    assert times_whole(itself, library) == 1
    own = counted(*deployed(library, "tvm", sha256=file_sha256(sidecar_path(library))))
    assert times_whole(own, library) == 1, "while it is copied: no other file is hashed"


@TVM
def test_external_weights_of_a_build_are_read_once(source, counted, tmp_path):
    import onnx

    path = source.with_name("external.onnx")
    onnx.save_model(onnx.load(source), path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    time.sleep(0.05)
    for _ in range(2):
        assert times_whole(counted(*deployed(path, "tvm")), path.with_name("weights.bin")) == 1


@pytest.mark.parametrize(("words", "times"), [(["validate"], 0), (["graph"], 0), (["graph", "--json"], 1)])
def test_verbs_that_load_nothing(source, counted, tmp_path, words, times):
    (tmp_path / "deploy.yaml").write_text("models:\n  m: {path: model.onnx, backend: mock}\n")
    verb, *options = words
    assert times_whole(counted("-m", "aegisrt", verb, "deploy.yaml", *options), source) == times


@pytest.mark.parametrize("backend", [*BACKENDS, pytest.param("tvm", marks=TVM)])
def test_run(source, counted, tmp_path, backend):
    np.save(tmp_path / "x.npy", np.zeros((1, 1024), np.float32))
    (tmp_path / "deploy.yaml").write_text(f"models:\n  m: {{path: model.onnx, backend: {backend}}}\n")
    found = counted("-m", "aegisrt", "run", "deploy.yaml", "--input", "x=x.npy", "--json", "--output", "y.json")
    assert times_whole(found, source) == (backend == "tvm")
    assert json.loads((tmp_path / "y.json").read_text())
