"""The one reader of protobuf: what it skips, and what a hostile file may cost."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from aegisrt.backends.files import protobuf
from aegisrt.backends.files.onnx import read_onnx
from aegisrt.backends.files.onnx_nodes import read_nodes
from aegisrt.backends.files.protobuf import DamagedError, Protobuf, TooLargeError
from aegisrt.core.result import ErrorCode, ResultError


def varint(number: int) -> bytes:
    groups = [number >> shift & 127 for shift in range(0, max(1, number.bit_length()), 7)]
    return bytes([*(group | 128 for group in groups[:-1]), groups[-1]])


def field(number: int, content: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(content)) + content


def saved(folder: Path, graph: bytes) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(b"\x08\x08" + field(7, graph))
    return path


def weights(size: int) -> bytes:
    return field(5, b"\x10\x01" + field(8, b"w") + field(9, bytes(size)))


def test_weights_are_skipped(tmp_path, monkeypatch):
    path = saved(tmp_path, b"".join(weights(2**20) for _ in range(8)) + field(12, field(1, b"y")))
    read = []
    pread = os.pread
    monkeypatch.setattr(os, "pread", lambda *arguments: read.append(data := pread(*arguments)) or data)
    assert read_onnx(path).signature.omitted == (("y", "of no type"),)
    assert sum(map(len, read)) < 2**17 < path.stat().st_size // 64


@pytest.mark.parametrize("piece", [1, 3, 4096])
def test_a_field_may_lie_across_pieces(tmp_path, monkeypatch, piece):
    monkeypatch.setattr(protobuf, "_LEAST_PIECE", piece)
    monkeypatch.setattr(protobuf, "_LARGEST_PIECE", piece)
    entries = [
        (number, bytes([number % 256]) * size) for number, size in ((1, 0), (2, 5), (2000, 130), (15, 127), (16, 128))
    ]
    path = tmp_path / "m"
    path.write_bytes(b"".join(field(*entry) for entry in entries) + varint(3 << 3) + varint(2**63) + b"\x25abcd")
    with Protobuf.opened(path) as file:
        found = [(number, value if isinstance(value, int) else file.content(value)) for number, value in
                 file.fields(file.whole)]  # fmt: skip
    assert found == [*entries, (3, 2**63), (4, b"abcd")]


@pytest.mark.parametrize(
    "graph",
    [
        field(12, b"") * 2000,
        field(1, field(5, field(8, b"\x01" * 2000))),
        field(12, field(1, b"y" * 100)) * 300,
        field(12, field(1, b"y" * 30_000)),
    ],
    ids=["fields", "packed numbers", "many texts", "one text"],
)
def test_what_a_hostile_file_costs_is_bounded(tmp_path, monkeypatch, graph):
    path = saved(tmp_path, graph)
    read_nodes(path)
    monkeypatch.setattr(protobuf, "_MOST_FIELDS", 1000)
    monkeypatch.setattr(protobuf, "_MOST_TEXT", 20_000)
    with pytest.raises(TooLargeError, match="more than"):
        read_nodes(path)
    if b"\x62" in graph[:1]:
        with pytest.raises(ResultError, match="more than") as refused:
            read_onnx(path)
        assert refused.value.error.code is ErrorCode.RESOURCE_EXHAUSTED


def test_the_bounds_are_seconds_and_not_gigabytes(tmp_path):
    path = saved(tmp_path, field(12, b"") * 2_100_000)
    started = time.process_time()
    with pytest.raises(ResultError, match="more than 2000000 fields"):
        read_onnx(path)
    assert time.process_time() - started < 30


@pytest.mark.parametrize("content", [b"\x80" * 11, b"\x0a\x05ab", b"\x0b", b"\x02\x00", b"\x80\x80\x80\x80\x10\x00"])
def test_what_is_not_protobuf(content):
    message = Protobuf.of(content)
    with pytest.raises(DamagedError):
        list(message.fields(message.whole))
