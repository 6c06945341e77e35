from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from aegisrt.core.result import ErrorCode
from aegisrt.core.sidecar import file_sha256
from aegisrt.manifest.check.files import check_files
from aegisrt.manifest.check.locate import Locator
from aegisrt.manifest.errors import manifest_error
from tests.manifest.yaml_composition import composed


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits.onnx").write_bytes(b"weights")
    (tmp_path / "inputs.npz").write_bytes(b"inputs")
    (tmp_path / ".hidden").write_bytes(b"")
    return tmp_path


def found_in(text):
    composition = composed(text)
    locator = Locator(composition.origins, composition.name)
    check_files(composition.values, locator)
    return locator.diagnostics


def only(path, more=""):
    found = found_in(f"models:\n  m:\n    path: {path}\n{more}")
    assert len(found) == 1, found
    return found[0]


def test_files_that_are_there_are_fine(folder):
    digest = hashlib.sha256(b"weights").hexdigest()
    for spelt in (digest, digest.upper()):
        text = f"models:\n  m:\n    path: digits.onnx\n    sha256: '{spelt}'\n    sample: {{inputs: inputs.npz}}\n"
        assert found_in(text) == []


def test_the_pin_of_an_engine_file_with_a_sidecar_is_that_of_the_sidecar(folder):
    (folder / "digits.so").write_bytes(b"code")
    (folder / "digits.so.json").write_bytes(b"described")
    digest = hashlib.sha256(b"described").hexdigest()
    assert found_in(f"models:\n  m:\n    path: digits.so\n    sha256: {digest}\n") == []
    found = only("digits.so", f"    sha256: {'ab' * 32}\n")
    assert (found.id, found.hint) == ("wrong-sha256", f"if this is the right file, write `sha256: {digest}`")
    (folder / "digits.onnx.json").write_bytes(b"described")
    assert only("digits.onnx", f"    sha256: {digest}\n").id == "wrong-sha256"


def test_a_missing_file_suggests_one_beside_it(folder):
    found = only("digts.onnx")
    assert (found.id, str(found.location), found.path) == ("missing-file", "deploy.yaml:3:11", "models.m.path")
    assert found.message == "`digts.onnx` does not exist"
    assert found.label == "did you mean `digits.onnx`?"
    assert found.hint == "its folder contains `digits.onnx`, `inputs.npz`"


def test_a_missing_folder_is_named(folder):
    assert only("models/digits.onnx").hint == "the folder `models` does not exist"


def test_a_file_for_a_folder_is_missing(folder):
    assert only("digits.onnx/digits.onnx").id == "missing-file"


def test_an_address_is_not_downloaded(folder):
    assert "nothing is downloaded" in only("https://example.org/digits.onnx").hint


def test_a_directory_is_not_a_file(folder):
    found = only(".")
    assert (found.id, found.label) == ("not-a-file", "a directory")
    assert found.hint == "it contains `digits.onnx`, `inputs.npz`"


def test_a_device_is_not_read_to_its_end(folder):
    digest = "0" * 64
    assert only("/dev/zero", f"    sha256: '{digest}'\n").id == "not-a-file"


def test_a_pipe_is_not_waited_for(folder):
    os.mkfifo("pipe")
    assert only("pipe").id == "not-a-file"


def test_a_file_that_may_not_be_read(folder, monkeypatch):
    def refuse(self, *_):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "open", refuse)
    assert only("digits.onnx").id == "unreadable-file"


@pytest.mark.parametrize("path", ['"a\\0b"', "x" * 5000])
def test_paths_that_no_system_takes_are_told(folder, path):
    assert only(path).id == "unreadable-file"


def test_a_loop_of_links_is_told(folder):
    (folder / "loop").symlink_to("loop")
    assert only("loop").id == "unreadable-file"


def test_a_wrong_digest_gives_the_right_one(folder):
    actual = hashlib.sha256(b"weights").hexdigest()
    found = only("digits.onnx", f"    sha256: {'ab' * 32}\n")
    assert (found.id, str(found.location), found.path) == ("wrong-sha256", "deploy.yaml:4:13", "models.m.sha256")
    assert found.hint == f"if this is the right file, write `sha256: {actual}`"
    assert "ab" * 32 in found.message


def test_an_ill_formed_digest_is_left_to_the_schema(folder):
    assert found_in("models:\n  m:\n    path: digits.onnx\n    sha256: abc\n") == []


def test_a_digest_of_a_missing_file_is_not_told_twice(folder):
    assert only("gone.onnx", f"    sha256: {'ab' * 32}\n").id == "missing-file"


def test_samples_are_checked_as_well(folder):
    found = found_in("models:\n  m:\n    path: digits.onnx\n    sample: {inputs: input.npz, labels: l.npy}\n")
    assert [(d.path, d.label) for d in found] == [
        ("models.m.sample.inputs", "did you mean `inputs.npz`?"),
        ("models.m.sample.labels", "no such file"),
    ]


def test_what_has_a_wrong_type_is_passed_over(folder):
    assert found_in("models:\n  a: 5\n  b: {path: [x], sample: y}\n  c: {sample: {inputs: 3}}\n") == []
    assert found_in("models: []\n") == []


def test_a_digest_reads_in_chunks(folder):
    data = os.urandom((1 << 20) + 17)
    (folder / "big").write_bytes(data)
    assert file_sha256(folder / "big") == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize(
    ("path", "code"),
    [("gone", ErrorCode.NOT_FOUND), ("loop", ErrorCode.PERMISSION_DENIED), (".", ErrorCode.INVALID_ARGUMENT)],
)
def test_errors_of_files_alone_have_their_own_code(folder, path, code):
    (folder / "loop").symlink_to("loop")
    assert manifest_error([only(path)], "deploy.yaml").code is code
