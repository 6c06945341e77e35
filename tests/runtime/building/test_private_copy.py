"""The bytes that were hashed are the bytes that are loaded."""

from __future__ import annotations

import gc
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aegisrt import ExecutionRequest, deploy
from aegisrt.core.result import ErrorCode
from aegisrt.core.sidecar import file_sha256, sidecar_path
from aegisrt.deployment import resolve, run
from aegisrt.manifest.schema import ModelOptions
from aegisrt.runtime.building import engine_files, factory
from aegisrt.runtime.building.engine_files import loadable_file
from aegisrt.runtime.building.private_copy import private_copy
from tests.fakes.builder import FakeBackend

MODELS = Path(__file__).resolve().parents[3] / "configs" / "model"


@pytest.fixture
def native(tmp_path: Path) -> Path:
    path = tmp_path / "model.engine"
    path.write_bytes(b"code")
    return path


def options(path: Path) -> ModelOptions:
    return ModelOptions(path=path, backend="b", sha256=file_sha256(path))


def test_what_is_loaded_is_what_was_hashed(native):
    backend = FakeBackend()
    path = loadable_file("m", options(native), backend).unwrap()
    native.write_bytes(b"other code")
    assert path.read_bytes() == b"code"
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_a_copy_goes_with_its_backend(native):
    backend = FakeBackend()
    path = loadable_file("m", options(native), backend).unwrap()
    del backend
    gc.collect()
    assert not path.parent.exists()


def test_a_copy_survives_the_end_of_a_forked_process(native):
    backend = FakeBackend()
    path = loadable_file("m", options(native), backend).unwrap()
    child = os.fork()
    if child == 0:
        del backend
        gc.collect()
        os._exit(0)
    os.waitpid(child, 0)
    assert path.exists()


@pytest.mark.parametrize("mode", [0o664, 0o646])
def test_a_file_that_others_can_write_to_is_refused(native, mode):
    native.chmod(mode)
    error = loadable_file("m", options(native), FakeBackend()).unwrap_err()
    assert error.code is ErrorCode.PERMISSION_DENIED
    assert error.hint.endswith(f"chmod go-w {native}")


@pytest.mark.parametrize("through_a_link", [False, True])
def test_a_file_in_a_folder_that_others_can_write_to_is_refused(tmp_path, through_a_link):
    folder = tmp_path / "shared"
    folder.mkdir()
    path = folder / "model.engine"
    path.write_bytes(b"code")
    folder.chmod(0o777)
    if through_a_link:
        (tmp_path / "link.engine").symlink_to(path)
        path = tmp_path / "link.engine"
    error = loadable_file("m", options(path), FakeBackend()).unwrap_err()
    assert error.code is ErrorCode.PERMISSION_DENIED
    assert f"chmod go-w {folder}" in error.hint
    folder.chmod(0o1777)
    assert loadable_file("m", options(path), FakeBackend()).is_ok()


def test_a_sidecar_that_others_can_write_to_is_refused(native):
    sidecar_path(native).write_text("{}")
    sidecar_path(native).chmod(0o666)
    error = loadable_file("m", options(native), FakeBackend()).unwrap_err()
    assert error.code is ErrorCode.PERMISSION_DENIED


@pytest.mark.parametrize("pipe", ["the sidecar", "the file"])
def test_a_pipe_is_not_waited_for(native, monkeypatch, pipe):
    chosen = options(native)
    if pipe == "the sidecar":
        os.mkfifo(sidecar_path(native))
    else:  # it is put there after the name was checked
        monkeypatch.setattr(engine_files, "readable_file", lambda path: path)
        native.unlink()
        os.mkfifo(native)
    error = loadable_file("m", chosen, FakeBackend()).unwrap_err()
    assert error.code is ErrorCode.INVALID_ARGUMENT
    assert "not a regular file" in error.message


def test_a_sidecar_that_is_too_large_is_not_copied(native):
    sidecar_path(native).touch()
    os.truncate(sidecar_path(native), 1 << 40)
    error = loadable_file("m", options(native), FakeBackend()).unwrap_err()
    assert error.code is ErrorCode.DATA_LOSS
    assert str(sidecar_path(native)) in error.message


def test_a_load_that_fails_names_the_file_of_the_manifest(tmp_path):
    path = tmp_path / "m.engine"
    path.write_bytes(b"code")
    copy = private_copy(path, backend := FakeBackend())
    error = FakeBackend().load(copy.path.with_name("none.engine")).unwrap_err()
    shown = engine_files.with_own_path(error, options(path), copy.path)
    assert str(tmp_path / "none.engine") in shown.message
    assert backend.kind == "fake"


@pytest.mark.parametrize("kind", ["mock", pytest.param("onnx", marks=pytest.mark.engine("onnx"))])
@pytest.mark.parametrize("forged", [False, True])
def test_a_model_that_is_swapped_for_the_load_alone_is_refused(tmp_path, monkeypatch, kind, forged):
    """The pinned file is there for both checks of its digest, and another one between them."""
    path, good = tmp_path / "m.onnx", (MODELS / "digits.onnx").read_bytes()
    path.write_bytes(good)
    manifest = {"models": {"m": {"path": str(path), "backend": kind, "sha256": file_sha256(path)}}}
    resolved = resolve(manifest).unwrap()
    times = path.stat()
    other = good[:-1] + bytes([good[-1] ^ 1]) if kind == "mock" else good.replace(b"digits", b"tigids")
    assert other != good

    def put(content: bytes) -> None:
        if forged:
            with path.open("r+b") as stream:
                stream.write(content)
        else:
            path.with_name("fresh").write_bytes(content)
            path.with_name("fresh").replace(path)
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))

    real_load, real_check = factory.loadable_file, factory.check_pinned

    def loadable(*arguments: Any) -> Any:
        put(other)
        return real_load(*arguments)

    def check(*arguments: Any) -> None:
        put(good)
        real_check(*arguments)

    monkeypatch.setattr(factory, "loadable_file", loadable)
    monkeypatch.setattr(factory, "check_pinned", check)
    assert run(resolved).unwrap_err().code is ErrorCode.DATA_LOSS


def compiled(target: Path, marker: Path) -> Path:
    source = target.with_suffix(".c")
    source.write_text(
        "#include <stdio.h>\n__attribute__((constructor)) static void run(void) "
        f'{{ FILE *f = fopen("{marker}", "w"); if (f) fclose(f); }}\n'
    )
    subprocess.run(["g++", "-shared", "-fPIC", "-x", "c", str(source), "-o", str(target)], check=True, timeout=60)
    return target


@pytest.mark.engine("tvm")
@pytest.mark.parametrize("isolation", ["none", "process"])
def test_the_constructor_of_another_library_never_runs(tmp_path, monkeypatch, isolation):
    from aegisrt import TVMBackend

    library, marker = tmp_path / "digits.so", tmp_path / "it ran"
    TVMBackend().build(MODELS / "digits.onnx", library).unwrap()
    evil = compiled(tmp_path / "evil.so", marker)
    images = np.load(MODELS / "digits.images.npy")[:2]
    real = engine_files.private_copy

    def swapped(*arguments: Any) -> Any:
        copy = real(*arguments)
        shutil.copy(evil, library)  # after the digest was computed
        sidecar_path(library).unlink()
        return copy

    monkeypatch.setattr(engine_files, "private_copy", swapped)
    pin = file_sha256(library)
    manifest = {
        "models": {"m": {"path": str(library), "backend": "t", "sha256": pin}},
        "backends": {"t": {"kind": "tvm", "isolation": isolation}},
    }
    with deploy(manifest).unwrap() as context:
        answer = context.execute(ExecutionRequest(inputs={"image": images})).unwrap()
    assert answer.outputs["probabilities"].shape == (2, 10)
    assert not marker.exists()
    assert deploy(manifest).is_err()
    assert not marker.exists()
