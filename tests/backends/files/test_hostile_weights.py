"""Model files that name weights so that a reader would hang, read another file, or see other fields than the engine."""

import os
import time
from pathlib import Path

import pytest

from aegisrt.backends.files.onnx import read_onnx
from aegisrt.backends.files.onnx_nodes import read_nodes
from aegisrt.backends.files.onnx_rows import rows_of
from aegisrt.backends.files.protobuf import DamagedError
from aegisrt.backends.files.snapshot import DeployedFiles, Snapshot
from aegisrt.backends.files.source import source_of, weights_file
from aegisrt.core.result import ErrorCode, ResultError
from aegisrt.core.sidecar import sidecar_path
from aegisrt.core.tensor import shape_text
from tests.backends.files.test_onnx import field, model

CUT_BY_ENGINES = 1 << 32
"""protobuf's C++ reader keeps the lower 32 bits of a tag."""


def varint(number: int) -> bytes:
    rest, byte = number >> 7, number & 0x7F
    return bytes([byte | 0x80]) + varint(rest) if rest else bytes([byte])


def long_field(number: int, content: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(content)) + content


def weights(name: bytes, above: int = 0) -> bytes:
    entry = field(1, b"location") + field(2, name)
    tag = varint(13 << 3 | 2 | above)
    return field(5, field(8, b"w") + tag + varint(len(entry)) + entry + field(14, 1))


@pytest.fixture
def written(tmp_path):
    def write(graph: bytes) -> Path:
        path = tmp_path / "m.onnx"
        path.write_bytes(model(graph))
        return path

    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    return write


@pytest.mark.parametrize("name", [b"", b".", b"folder", b"pipe", b"a\0b", b"w" * 5000, b"\x1b[2J" * 100])
def test_names_that_are_not_those_of_files(name, written):
    path = written(weights(name))
    with pytest.raises(ResultError) as raised:
        source_of(path)
    assert raised.value.error.code in (ErrorCode.INVALID_ARGUMENT, ErrorCode.NOT_FOUND)
    assert len(raised.value.error.message) < 1000 + len(str(path))
    DeployedFiles.of(Snapshot.of(path))  # neither waits for a pipe nor raises


@pytest.mark.parametrize("name", ["/dev/zero", "../outside.bin", "link"])
def test_files_elsewhere_are_no_part_of_a_deployment(name, written, tmp_path):
    (tmp_path / "link").symlink_to("/dev/zero")
    path = written(weights(name.encode()))
    with pytest.raises(ResultError) as raised:
        weights_file(path, name)
    assert raised.value.error.code is ErrorCode.PERMISSION_DENIED
    assert set(DeployedFiles.of(Snapshot.of(path)).digests) == {path}


def test_a_tag_that_engines_cut_to_another_one_is_refused(written, tmp_path):
    (tmp_path / "w.bin").write_bytes(b"1234")
    assert read_onnx(written(weights(b"w.bin"))).external_files == ("w.bin",)
    path = written(weights(b"w.bin", CUT_BY_ENGINES))
    with pytest.raises(ResultError) as raised:
        read_onnx(path)
    assert raised.value.error.code is ErrorCode.DATA_LOSS


def test_nodes_behind_such_a_tag_are_refused(written):
    node = field(4, b"Relu")
    path = written(varint(1 << 3 | 2 | CUT_BY_ENGINES) + varint(len(node)) + node)
    with pytest.raises(DamagedError):
        read_nodes(path)


@pytest.mark.engine("tvm")
@pytest.mark.parametrize(
    ("key", "value"),
    [(b"offset", b"abc"), (b"offset", b"-5"), (b"offset", b"9" * 5000), (b"length", b"-7"), (b"length", b"9" * 30)],
)
def test_a_place_that_is_not_a_number_of_bytes_is_damage(key, value, written, tmp_path):
    from aegisrt.backends.files.onnx_weights import load_onnx

    (tmp_path / "w.bin").write_bytes(b"12345678")
    place = field(13, field(1, b"location") + field(2, b"w.bin")) + field(13, field(1, key) + field(2, value))
    path = written(field(5, field(1, 2) + field(2, 1) + field(8, b"w") + place + field(14, 1)))
    with pytest.raises(ResultError) as raised:
        load_onnx(path)
    assert raised.value.error.code is ErrorCode.DATA_LOSS


def test_many_calls_of_a_function_with_many_operators_take_linear_time(tmp_path):
    count = 20_000
    body = b"".join(field(7, field(4, f"K{index}")) for index in range(count))
    calls = field(1, field(1, "x") + field(2, "y") + field(4, "F")) * count
    path = tmp_path / "m.onnx"
    path.write_bytes(model(b"") + long_field(7, calls) + long_field(25, field(1, "F") + body))
    began = time.process_time()
    assert rows_of(path) is not None
    assert time.process_time() - began < 8, "copying the function's operators for each call takes a minute"


def test_a_shape_of_a_million_dimensions_is_one_short_text():
    assert shape_text((2,) * 10**6) == f"[{'2,' * 64}... 1000000 dimensions]"
    assert shape_text((None,) * 64).count("?") == 64


def test_a_pipe_in_place_of_the_sidecar_is_not_waited_for(written):
    path = written(b"")
    os.mkfifo(sidecar_path(path))
    with pytest.raises(ResultError) as raised:
        DeployedFiles.of(Snapshot.of(path))
    assert raised.value.error.code is ErrorCode.INVALID_ARGUMENT
