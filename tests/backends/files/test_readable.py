from __future__ import annotations

import os
import socket

import pytest

from aegisrt.backends.files.readable import known_format, readable_file
from aegisrt.core.result import ErrorCode, ResultError


def code_of(path) -> ErrorCode:
    with pytest.raises(ResultError) as caught:
        readable_file(path)
    return caught.value.error.code


def test_a_good_file_comes_back_as_a_path(tmp_path):
    (tmp_path / "m").write_bytes(b"x")
    assert readable_file(str(tmp_path / "m")) == tmp_path / "m"


def test_a_part_of_the_path_is_a_file(tmp_path):
    (tmp_path / "m").write_bytes(b"x")
    assert code_of(tmp_path / "m" / "n") is ErrorCode.NOT_FOUND


def test_a_link_to_nothing(tmp_path):
    (tmp_path / "m").symlink_to(tmp_path / "gone")
    assert code_of(tmp_path / "m") is ErrorCode.NOT_FOUND


def test_a_folder_that_does_not_exist_is_said(tmp_path):
    with pytest.raises(ResultError) as caught:
        readable_file(tmp_path / "no" / "m.onnx")
    assert caught.value.error.hint == f"the folder {tmp_path / 'no'} does not exist either"


def test_a_socket_is_no_regular_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("s")
        assert code_of("s") is ErrorCode.INVALID_ARGUMENT


def test_a_name_that_is_too_long(tmp_path):
    assert code_of(tmp_path / ("x" * 300)) is ErrorCode.INVALID_ARGUMENT


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every file")
def test_an_unreadable_file(tmp_path):
    (tmp_path / "m").write_bytes(b"x")
    (tmp_path / "m").chmod(0)
    assert code_of(tmp_path / "m") is ErrorCode.PERMISSION_DENIED


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\x7fELF\x02", "a native library (ELF)"),
        (b"PK\x03\x04", "a ZIP archive"),
        (b"\x89PNG\r\n", "a PNG picture"),
        (b"\x80\x04\x95", "a Python pickle"),
        (b"GGUF\x03", "a GGUF model"),
        (b"ftrt", "a TensorRT engine"),
        (b"\x93NUMPY\x01", "a numpy array (.npy)"),
        (b"version https://git-lfs.github.com/spec/v1", "a Git LFS pointer, not the file itself (run: git lfs pull)"),
        (b'{"format": 1}', "a text file (JSON, XML or YAML)"),
        (b"  <xml/>", "a text file (JSON, XML or YAML)"),
        (b"hello", "a text file"),
        (b"\x08\x08\x12\x05", None),
        (b"\x14\x00\x00\x00ORTM", None),
    ],
)
def test_known_formats(tmp_path, content, words):
    (tmp_path / "m").write_bytes(content)
    assert known_format(tmp_path / "m") == words
