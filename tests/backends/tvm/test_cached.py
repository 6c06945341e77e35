"""A library that is in the cache is found, verified and loaded in milliseconds."""

from __future__ import annotations

import gc
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

from aegisrt import TVMBackend
from aegisrt.artifacts.build import engine_file
from aegisrt.artifacts.cache import ArtifactCache
from aegisrt.backends.tvm import backend as tvm
from aegisrt.backends.tvm.run.library import open_library
from aegisrt.core.result import ErrorCode
from tests.backends import onnx_models as made

pytestmark = pytest.mark.engine("tvm")
DIGITS = Path(__file__).resolve().parents[3] / "configs" / "model" / "digits.onnx"


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> ArtifactCache:
    made = ArtifactCache(tmp_path_factory.mktemp("cache"))
    assert engine_file(TVMBackend(), DIGITS, made).unwrap().built
    return made


def test_what_is_cached_is_loaded_without_a_build(cache):
    for _ in range(3):
        backend = TVMBackend()
        found = engine_file(backend, DIGITS, cache).unwrap()
        assert not found.built
        backend.load(found.path).unwrap()
        backend.unload().unwrap()


def test_each_further_opening_of_a_library_with_kernels_leaves_nothing(cache, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    library = engine_file(TVMBackend(), DIGITS, cache).unwrap().path

    def blocks_after(openings: int) -> int:
        for _ in range(openings):
            open_library(library, holds_kernels=True)
        gc.collect()
        return sys.getallocatedblocks()

    before = blocks_after(5)
    assert blocks_after(100) - before < 30, "Python keeps something of each opening: an interned name, say"
    assert not list(tmp_path.iterdir())


def test_options_of_the_build_make_another_library_and_limits_do_not(cache):
    def key(**options):
        return TVMBackend(options).recipe().unwrap()

    assert key() == key(build={"timeout_s": 5.0}) == key(entry="main")
    assert key() != key(free_dimensions={"batch": 4})
    assert key() != key(shapes={"image": [[1, 1, 8, 8]]})
    assert key() != key(threads=7)
    assert key(tuning={"timeout_s": 1.0}) == key(tuning={"timeout_s": 2.0}) != key(tuning={"trials_per_task": 3})


def test_a_damaged_library_is_built_again_or_refused_before_it_is_loaded(cache):
    file = engine_file(TVMBackend(), DIGITS, cache).unwrap().path
    content = bytearray(file.read_bytes())
    content[len(content) // 3] ^= 0x10
    file.write_bytes(content)
    assert TVMBackend().load(file).unwrap_err().code is ErrorCode.DATA_LOSS
    refused = engine_file(TVMBackend(), DIGITS, cache, on_damage="fail").unwrap_err()
    assert refused.code is ErrorCode.DATA_LOSS
    again = engine_file(TVMBackend(), DIGITS, cache).unwrap()
    assert again.built
    assert TVMBackend().load(again.path).is_ok()


def test_a_model_folded_by_another_onnx_runtime_is_built_again_and_others_are_not(cache, tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime")
    expand = [made.node("Shape", "x", "s"), made.node("Add", "s one", "t"), made.node("Expand", "v t", "y")]
    weights = [made.weight("one", np.array([0], np.int64)), made.weight("v", np.ones(1, np.float32))]
    ends = [made.tensor("x", made.FLOAT, (3,))], [made.tensor("y", made.FLOAT, (3,))]
    folded = made.save(tmp_path, made.model(expand, *ends, weights))
    for source, again in ((folded, True), (DIGITS, False)):
        first = engine_file(TVMBackend(), source, cache).unwrap()
        assert not engine_file(TVMBackend(), source, cache).unwrap().built
        with monkeypatch.context() as here:
            here.setattr(tvm, "installed_version", lambda: "0.1.0")
            second = engine_file(TVMBackend(), source, cache).unwrap()
            assert (second.built, second.key) == (again, first.key), source
