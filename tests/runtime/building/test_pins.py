"""The pin of an engine file covers the checks of its sidecar, also if the file itself is pinned."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from aegisrt import ExecutionRequest, deploy
from aegisrt.core.result import Error, ErrorCode
from aegisrt.core.sidecar import (
    TRAILER_BYTES,
    bare_size,
    file_sha256,
    read_sidecar,
    read_trailer,
    sidecar_path,
    write_sidecar,
)
from aegisrt.core.tensor import Signature
from aegisrt.manifest.schema import ModelOptions
from aegisrt.runtime.building.engine_files import loadable_file
from tests.backends.onnx_models import FLOAT, INT64, model, node, save, tensor, weight
from tests.fakes.builder import FakeBackend


def built(folder: Path, *, trailer: bool = True, name: str = "built.engine") -> Path:
    source, path = folder / "m.txt", folder / name
    source.write_text("weights")
    FakeBackend({"trailer": trailer}).build(source, path).unwrap()
    return path


def pinned(path: Path, sha256: str) -> Error | None:
    backend = FakeBackend()
    answer = loadable_file("m", ModelOptions(path=path, backend="b", sha256=sha256), backend)
    if answer.is_err():
        return answer.unwrap_err()
    assert read_sidecar(answer.unwrap()) == read_sidecar(path)
    return None


def suggested(path: Path) -> str:
    """Return the digest that the error for a file without a pin suggests."""
    hint = loadable_file("m", ModelOptions(path=path, backend="b"), FakeBackend()).unwrap_err().hint
    return hint.rpartition("sha256: ")[2].strip("`")


def test_the_digest_of_the_file_is_its_pin(tmp_path):
    path = built(tmp_path)
    assert suggested(path) == file_sha256(path)
    assert pinned(path, file_sha256(path)) is None
    assert pinned(path, file_sha256(sidecar_path(path))) is None, "it has the digest of the file"
    wrong = pinned(path, "0" * 64)
    assert wrong.code is ErrorCode.PERMISSION_DENIED
    assert wrong.hint == f"if this is the right file, write `sha256: {file_sha256(path)}`"


@pytest.mark.parametrize(
    "change",
    [
        lambda sidecar: {"metadata": {}},
        lambda sidecar: {"metadata": {**sidecar.metadata, "bounds": [0, 400]}},
        lambda sidecar: {"signature": Signature((), sidecar.signature.outputs)},
        lambda sidecar: {"recipe": {**sidecar.recipe, "target": "elsewhere"}},
    ],
    ids=["checks removed", "checks changed", "signature", "target"],
)
def test_a_changed_sidecar_is_refused(tmp_path, change):
    path = built(tmp_path)
    pin, sidecar = file_sha256(path), read_sidecar(path)
    write_sidecar(path, replace(sidecar, **change(sidecar)))
    error = pinned(path, pin)
    assert error.code is ErrorCode.DATA_LOSS
    assert f"{sidecar_path(path)} was changed" in error.message


def test_the_sidecar_of_another_file_is_refused(tmp_path):
    path, other = built(tmp_path), built(tmp_path, name="other.engine")
    pin = file_sha256(path)
    write_sidecar(other, replace(read_sidecar(other), metadata={}), trailer=True)
    sidecar_path(other).replace(sidecar_path(path))
    assert pinned(path, pin).code is ErrorCode.DATA_LOSS


def test_a_missing_sidecar_is_refused_with_the_file_to_copy(tmp_path):
    path = built(tmp_path)
    sidecar_path(path).unlink()
    assert suggested(path) == file_sha256(path)
    error = pinned(path, file_sha256(path))
    assert error.code is ErrorCode.FAILED_PRECONDITION
    assert str(path) in error.message
    assert error.hint.startswith("copy built.engine.json")
    sidecar_path(path).symlink_to(tmp_path / "nowhere")
    assert pinned(path, file_sha256(path)).code is ErrorCode.FAILED_PRECONDITION


def test_a_trailer_that_was_cut_changes_the_pin(tmp_path):
    path = built(tmp_path)
    pin, whole = file_sha256(path), path.read_bytes()
    for size in (bare_size(path), len(whole) - 1):
        path.write_bytes(whole[:size])
        assert pinned(path, pin).code is ErrorCode.PERMISSION_DENIED
    os.truncate(path, bare_size(path))
    sidecar_path(path).unlink()
    assert pinned(path, pin).code is ErrorCode.PERMISSION_DENIED


def test_a_trailer_that_is_none_never_matches(tmp_path):
    path = built(tmp_path)
    path.write_bytes(path.read_bytes()[:-2] + b"\xff\n")
    write_sidecar(path, read_sidecar(path))
    assert pinned(path, file_sha256(path)).code is ErrorCode.DATA_LOSS


def test_a_file_with_a_sidecar_and_no_trailer_is_pinned_by_the_sidecar(tmp_path):
    path = built(tmp_path, trailer=False)
    digest = file_sha256(sidecar_path(path))
    assert suggested(path) == digest
    assert pinned(path, digest) is None
    alone = pinned(path, file_sha256(path))
    assert alone.code is ErrorCode.PERMISSION_DENIED
    assert alone.hint == f"build it again, or pin both: `sha256: {digest}`"

    code = path.read_bytes()
    path.write_bytes(code[:-1] + b"?")
    damaged = pinned(path, digest)
    assert (damaged.code, str(path) in damaged.message) == (ErrorCode.DATA_LOSS, True)
    path.write_bytes(code)
    sidecar_path(path).unlink()
    assert pinned(path, digest).code is ErrorCode.PERMISSION_DENIED


def test_the_bare_file_is_as_the_engine_wrote_it(tmp_path):
    with_one, without = built(tmp_path), built(tmp_path, trailer=False, name="bare.engine")
    assert with_one.read_bytes()[:-TRAILER_BYTES] == without.read_bytes()
    assert (TRAILER_BYTES, bare_size(without)) == (100, without.stat().st_size)
    assert (read_trailer(without), read_trailer(tmp_path / "none")) == (None, None)
    once = with_one.read_bytes()
    write_sidecar(with_one, read_sidecar(with_one), trailer=True)
    assert with_one.read_bytes() == once


@pytest.mark.engine("tvm")
def test_a_library_without_its_bounds_is_refused(tmp_path):
    from aegisrt import TVMBackend

    library = tmp_path / "gather.so"
    weights = [weight("w", np.arange(20, dtype=np.float32).reshape(5, 4))]
    nodes, inputs = [node("Gather", "w i", "y")], [tensor("i", INT64, ("n",))]
    source = save(tmp_path, model(nodes, inputs, [tensor("y", FLOAT, None)], weights))
    TVMBackend().build(source, library).unwrap()
    outside = ExecutionRequest(inputs={"i": np.array([7], np.int64)})

    def served(pin: Path) -> Error | None:
        answer = deploy({"models": {"m": {"path": str(library), "backend": "tvm", "sha256": file_sha256(pin)}}})
        if answer.is_err():
            return answer.unwrap_err()
        with answer.unwrap() as context:
            assert context.execute(outside).unwrap_err().code is ErrorCode.INVALID_ARGUMENT
        return None

    assert served(library) is None
    assert served(sidecar_path(library)) is None
    sidecar = read_sidecar(library)
    assert sidecar.metadata.pop("bounds")
    write_sidecar(library, sidecar)
    assert served(library).code is ErrorCode.DATA_LOSS
    assert TVMBackend().load(library).unwrap_err().code is ErrorCode.DATA_LOSS
    sidecar_path(library).unlink()
    assert served(library).code is ErrorCode.FAILED_PRECONDITION
    assert TVMBackend().load(library).unwrap_err().code is ErrorCode.FAILED_PRECONDITION
