"""A model's files are compared with what was loaded: cheaply, and by content where the cheap way cannot tell."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

import aegisrt
from aegisrt.backends.files.snapshot import DeployedFiles, Snapshot
from aegisrt.core.result import ErrorCode, ResultError
from aegisrt.core.sidecar import file_sha256

MODELS = Path(aegisrt.__file__).parent / "conformance" / "models"


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "m.bin"
    path.write_bytes(b"first")
    return path


def replace(file, content):
    """Replace by a rename, as a release does."""
    fresh = file.with_name("fresh")
    fresh.write_bytes(content)
    fresh.replace(file)


def code_of(call):
    with pytest.raises(ResultError) as caught:
        call()
    return caught.value.error.code


def test_a_file_that_stays_has_not_changed(model):
    snapshot = Snapshot.of(model)
    assert snapshot.changed() is snapshot.overwritten() is None
    DeployedFiles.of(snapshot).check()


def test_a_file_replaced_by_a_rename_has_changed_and_was_not_overwritten(model):
    snapshot = Snapshot.of(model)
    replace(model, b"other")
    assert snapshot.changed() == model
    assert snapshot.overwritten() is None


def test_a_file_written_in_place_was_overwritten(model):
    snapshot = Snapshot.of(model)
    model.write_bytes(b"other!")
    assert snapshot.changed() == snapshot.overwritten() == model


def test_other_content_is_refused_with_both_digests_and_the_same_content_is_not(model):
    deployed = DeployedFiles.of(Snapshot.of(model))
    before = file_sha256(model)
    replace(model, b"first")
    deployed.check()
    os.utime(model, (1, 1))
    deployed.check()
    replace(model, b"other")
    with pytest.raises(ResultError) as caught:
        deployed.check()
    assert caught.value.error.code is ErrorCode.DATA_LOSS
    assert before in caught.value.error.message
    assert file_sha256(model) in caught.value.error.message
    assert "by a rename" in caught.value.error.hint
    replace(model, b"first")
    deployed.check()


def test_a_file_that_is_gone_is_not_found(model):
    deployed = DeployedFiles.of(Snapshot.of(model))
    model.unlink()
    assert code_of(deployed.check) is ErrorCode.NOT_FOUND


def test_a_change_before_the_digests_are_taken_is_refused(model):
    snapshot = Snapshot.of(model)
    replace(model, b"other")
    assert code_of(lambda: DeployedFiles.of(snapshot)) is ErrorCode.DATA_LOSS


def test_a_sidecar_belongs_to_the_model(model):
    sidecar = model.with_name("m.bin.json")
    sidecar.write_text("{}")
    snapshot = Snapshot.of(model)
    sidecar.write_text("{ }")
    assert snapshot.changed() == sidecar
    without = model.with_name("n.bin")
    without.write_bytes(b"x")
    snapshot = Snapshot.of(without)
    without.with_name("n.bin.json").write_text("{}")
    assert snapshot.changed() == without.with_name("n.bin.json"), "one that appears changes how the file is loaded"


def test_external_weights_belong_to_the_model(tmp_path):
    source = MODELS / "external.onnx"
    for file in MODELS.glob("external*"):
        shutil.copy(file, tmp_path)
    snapshot = Snapshot.of(tmp_path / source.name)
    weights = [file for file in snapshot.stamps if file.suffix != ".json" and file.name != source.name]
    assert weights
    deployed = DeployedFiles.of(snapshot)
    replace(weights[0], bytes(weights[0].stat().st_size))
    assert snapshot.changed() == weights[0]
    assert code_of(deployed.check) is ErrorCode.DATA_LOSS


def test_a_damaged_model_has_a_snapshot_too(tmp_path):
    path = tmp_path / "m.onnx"
    path.write_bytes(b"\x08\x08\xff\xff")
    assert Snapshot.of(path).changed() is None
