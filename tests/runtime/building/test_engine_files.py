"""Machine code of a manifest is loaded only where this cache made it, or where the manifest pins it."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from aegisrt import ExecutionRequest, deploy
from aegisrt.core.result import ErrorCode
from aegisrt.core.sidecar import file_sha256, sidecar_path
from aegisrt.deployment import resolve, run
from aegisrt.manifest.schema import ModelOptions
from aegisrt.runtime.building.engine_files import loadable_file
from tests.fakes.builder import FakeBackend

MODELS = Path(__file__).resolve().parents[3] / "configs" / "model"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AEGISRT_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def native(tmp_path: Path) -> Path:
    path = tmp_path / "model.engine"
    path.write_bytes(b"code")
    return path


def options(path: Path, sha256: str | None = None) -> ModelOptions:
    return ModelOptions(path=path, backend="b", sha256=sha256)


def test_a_model_that_needs_a_build_is_built_and_cached(tmp_path, cache):
    source, told = tmp_path / "m.txt", []
    source.write_text("weights")
    path = loadable_file("m", options(source), FakeBackend(), told.append).unwrap()
    assert path.is_relative_to(cache)
    assert told == ["building"]
    assert loadable_file("m", options(source), FakeBackend(), told.append).unwrap() == path
    assert told == ["building"]


@pytest.mark.parametrize("policy", ["rebuild", "fail"])
def test_a_damaged_file_of_the_cache_is_built_again_or_refused_as_the_manifest_says(tmp_path, cache, policy):
    source = tmp_path / "m.txt"
    source.write_text("weights")
    path = loadable_file("m", options(source), FakeBackend()).unwrap()
    path.write_bytes(b"damaged")
    answer = loadable_file("m", ModelOptions(path=source, backend="b", on_damage=policy), FakeBackend())
    if policy == "fail":
        assert answer.unwrap_err().code is ErrorCode.DATA_LOSS
        assert path.read_bytes() == b"damaged"
    else:
        assert answer.unwrap() == path
        assert path.read_bytes() != b"damaged"


def test_native_code_that_is_not_pinned_is_refused_with_the_line_to_add(native):
    error = loadable_file("m", options(native), FakeBackend()).unwrap_err()
    assert error.code is ErrorCode.PERMISSION_DENIED
    assert f"`models.m`: `sha256: {file_sha256(native)}`" in error.hint


def test_pinned_native_code_is_loaded(native):
    backend = FakeBackend()
    path = loadable_file("m", options(native, file_sha256(native)), backend).unwrap()
    assert (path.name, path.read_bytes()) == (native.name, native.read_bytes())


def test_native_code_other_than_the_pinned_one_is_refused(native):
    error = loadable_file("m", options(native, "0" * 64), FakeBackend()).unwrap_err()
    assert error.code is ErrorCode.PERMISSION_DENIED
    assert file_sha256(native) in error.hint


def test_native_code_from_the_cache_needs_no_pin_until_it_is_damaged(tmp_path):
    source = tmp_path / "m.txt"
    source.write_text("weights")
    path = loadable_file("m", options(source), FakeBackend()).unwrap()
    assert loadable_file("m", options(path), FakeBackend()).unwrap() == path
    path.write_bytes(b"other code")
    assert loadable_file("m", options(path), FakeBackend()).unwrap_err().code is ErrorCode.PERMISSION_DENIED


def test_a_missing_file_is_not_found(tmp_path):
    error = loadable_file("m", options(tmp_path / "m.engine"), FakeBackend()).unwrap_err()
    assert error.code is ErrorCode.NOT_FOUND


@pytest.mark.engine("tvm")
def test_one_changed_word_moves_a_deployment_to_tvm(tmp_path, cache):
    images = np.load(MODELS / "digits.images.npy")[:16]
    shutil.copy(MODELS / "digits.onnx", tmp_path / "digits.onnx")
    manifest = tmp_path / "deploy.yaml"
    manifest.write_text("models:\n  digits: {path: digits.onnx, backend: onnx}\n")
    answers = []
    for overrides in ([], ["models.digits.backend=tvm"], ["models.digits.backend=tvm"]):
        with deploy(manifest, overrides).unwrap() as context:
            result = context.execute(ExecutionRequest(inputs={"image": images})).unwrap()
            answers.append(result.outputs["probabilities"])
    np.testing.assert_allclose(answers[1], answers[0], atol=1e-5)
    np.testing.assert_array_equal(answers[1], answers[2])
    library = next(cache.glob("artifacts/*/model.so"))
    elsewhere = tmp_path / "copy.so"
    shutil.copy(library, elsewhere)
    refused = deploy(manifest, ["models.digits.backend=tvm", f"models.digits.path={elsewhere}"]).unwrap_err()
    assert refused.code is ErrorCode.PERMISSION_DENIED
    assert "models.digits.path" in str(refused.location)
    shutil.copy(f"{library}.json", f"{elsewhere}.json")
    pin = f"models.digits.sha256={file_sha256(sidecar_path(elsewhere))}"
    deploy(manifest, ["models.digits.backend=tvm", f"models.digits.path={elsewhere}", pin]).unwrap().close()


@pytest.mark.parametrize("kind", ["mock", pytest.param("onnx", marks=pytest.mark.engine("onnx"))])
def test_a_pinned_file_that_is_replaced_between_the_check_and_the_load_is_refused(tmp_path, kind):
    path, fresh = tmp_path / "m.onnx", tmp_path / "fresh"
    shutil.copy(MODELS / "digits.onnx", path)
    pinned = file_sha256(path)
    manifest = {"models": {"m": {"path": str(path), "backend": kind, "sha256": pinned}}}
    resolved = resolve(manifest).unwrap()
    fresh.write_bytes(path.read_bytes() + b"\x72\x00")  # an empty metadata_props: as valid, and another digest
    fresh.replace(path)
    error = run(resolved).unwrap_err()
    assert error.code is ErrorCode.DATA_LOSS
    assert pinned in error.message
    assert file_sha256(path) in error.message


def test_an_engine_file_of_another_source_than_the_pinned_one_is_refused(tmp_path):
    source = tmp_path / "m.txt"
    source.write_text("weights")
    pinned = file_sha256(source)
    assert loadable_file("m", options(source, pinned), FakeBackend()).is_ok()
    source.write_text("other weights")
    error = loadable_file("m", options(source, pinned), FakeBackend()).unwrap_err()
    assert error.code is ErrorCode.DATA_LOSS
    assert pinned in error.message
    assert file_sha256(source) in error.message
