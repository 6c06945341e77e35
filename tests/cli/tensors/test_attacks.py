"""Small inputs that ask for much memory, and files that are not what their names promise: each as a whole process.

The process may use 3 GiB of addresses, of which engines and numpy take one; each attack asks for more than the rest.
"""

from __future__ import annotations

import io
import json
import os
import resource
import struct
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest

from aegisrt.core.result import ErrorCode, ResultError
from aegisrt.runtime.building.array_file import open_arrays
from aegisrt.runtime.building.input_budget import InputBudget

ADDRESSES = 3 * 2**30


def limited() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESSES, ADDRESSES))


def aegisrt(folder: Path, *words: str, **environment: str) -> tuple[int, dict]:
    """Return the exit code and the document of `aegisrt WORDS --json` with limited memory; it prints no traceback."""
    done = subprocess.run(
        [sys.executable, "-m", "aegisrt", *words, "--json"],
        cwd=folder,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        timeout=120,
        preexec_fn=limited,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, json.loads(done.stdout)


def refused(folder: Path, *words: str, code: ErrorCode = ErrorCode.RESOURCE_EXHAUSTED, **environment: str) -> dict:
    status, document = aegisrt(folder, *words, **environment)
    assert (status != 0, document["error"]["code"]) == (True, code), document
    return document["error"]


def deploy(folder: Path, dtype: str, shape: list, backend: str = "mock", **model: object) -> Path:
    """Write a manifest of one model `m` that takes `x`, for the mock or for ONNX Runtime."""
    if backend == "mock":
        path = folder / "m.mock.json"
        outputs = [{"name": "y", "dtype": "FP32", "shape": [1], "operation": {"kind": "digest"}}]
        inputs = [{"name": "x", "dtype": dtype, "shape": shape}]
        path.write_text(json.dumps({"format": "aegisrt-mock/v1", "inputs": inputs, "outputs": outputs}))
    else:
        path = folder / "m.onnx"
        path.write_bytes(onnx_shape_of(shape))
    manifest = folder / "deploy.yaml"
    manifest.write_text(json.dumps({"models": {"m": {"path": path.name, "backend": backend, **model}}}))
    return manifest


def onnx_shape_of(shape: list) -> bytes:
    """Return a tiny ONNX file: y = Shape(x), x FP32; its bytes are written by hand, so that no engine is needed."""

    def field(number: int, content: bytes) -> bytes:
        return bytes([number << 3 | 2]) + varint(len(content)) + content

    def varint(value: int) -> bytes:
        out = b""
        while value > 127:
            out, value = out + bytes([value & 127 | 128]), value >> 7
        return out + bytes([value])

    def value(name: bytes, element: int, dims: list) -> bytes:
        sizes = b"".join(
            field(1, b"\x08" + varint(dim) if isinstance(dim, int) else field(2, dim.encode())) for dim in dims
        )
        return field(1, name) + field(2, field(1, b"\x08" + bytes([element]) + field(2, sizes)))

    node = field(1, b"x") + field(2, b"y") + field(4, b"Shape")
    inputs, outputs = field(11, value(b"x", 1, shape)), field(12, value(b"y", 7, [len(shape)]))
    graph = field(1, node) + field(2, b"g") + inputs + outputs
    return b"\x08\x08" + field(7, graph) + field(8, b"\x10\x0d")


ENGINES = ("mock", pytest.param("onnx", marks=pytest.mark.engine("onnx")))


@pytest.mark.parametrize("backend", ENGINES)
def test_a_tiny_model_that_asks_for_a_large_warm_up(tmp_path, backend):
    manifest = deploy(tmp_path, "FP32", [100_000, 100_000], backend, warmup=1)
    assert (tmp_path / "m.onnx").stat().st_size < 100 if backend == "onnx" else True
    error = refused(tmp_path, "run", manifest.name, "--input", "x=none.npy")
    assert "made-up input `x` FP32 [100000,100000]" in error["message"]
    assert "limits.input_bytes" in error["hint"]
    assert error["location"].startswith("deploy.yaml:1:")
    error = refused(tmp_path, "run", manifest.name, f"limits.input_bytes={2**40}", "--input", "x=none.npy")
    assert error["hint"] == "free memory, or allow this process more"


@pytest.mark.parametrize("backend", ENGINES)
def test_a_model_whose_dynamic_dimensions_multiply_is_not_measured_for_batching(tmp_path, backend):
    shape = ["n", *(f"d{axis}" for axis in range(8)), 2**20]
    if backend == "mock":
        shape = ["n", *[None] * 8, 2**20]
    manifest = deploy(tmp_path, "FP32", shape, backend, batching={"max_batch_size": 4})
    status, document = aegisrt(tmp_path, "graph", manifest.name, "--load")
    assert status == 0 or document["error"]["code"] in (ErrorCode.FAILED_PRECONDITION, ErrorCode.RESOURCE_EXHAUSTED)


def test_an_archive_is_read_no_further_than_names_that_the_model_lacks(tmp_path):
    manifest = deploy(tmp_path, "FP32", ["n", 4])
    archive(tmp_path / "x.npz", {"other": (10**9,), "x": (1, 4)})
    error = refused(tmp_path, "run", manifest.name, "--input", "x.npz", code=ErrorCode.INVALID_ARGUMENT)
    assert "`other` is not an input of the model" in error["message"]
    assert aegisrt(tmp_path, "run", manifest.name, "--input", "x=x.npz")[0] == 0  # `other` is not read
    manifest = deploy(tmp_path, "FP32", ["n", 4], sample={"inputs": "x.npz"})
    error = refused(tmp_path, "run", manifest.name, code=ErrorCode.INVALID_ARGUMENT)
    assert "holds `other`, which is not an input of the model" in error["message"]


def archive(path: Path, arrays: dict, method: int = zipfile.ZIP_DEFLATED, dtype: str = "<f4") -> None:
    """Write zeros of any shape; without memory, since 3 GiB of zeros are 3 MiB in a zip."""
    with zipfile.ZipFile(path, "w", method, compresslevel=1) as file:
        for name, shape in arrays.items():
            with file.open(f"{name}.npy", "w", force_zip64=True) as member:
                header = {"descr": dtype, "fortran_order": False, "shape": tuple(shape)}
                np.lib.format.write_array_header_1_0(member, header)
                left = min(int(np.prod(shape, dtype=object)) * np.dtype(dtype).itemsize, 2**26)
                member.write(bytes(left))
    if any(np.prod(shape, dtype=object) * np.dtype(dtype).itemsize > 2**26 for shape in arrays.values()):
        forge_sizes(path)


def forge_sizes(path: Path) -> None:
    """Let the directory promise 4 GB for each large array; a real one takes a minute to write."""
    raw = bytearray(path.read_bytes())
    at = raw.find(b"PK\1\2")
    while at >= 0:
        (size,) = struct.unpack_from("<L", raw, at + 24)
        if size >= 2**26:
            struct.pack_into("<L", raw, at + 24, 2**32 - 2)
        at = raw.find(b"PK\1\2", at + 4)
    path.write_bytes(raw)


@pytest.mark.parametrize("backend", ENGINES)
def test_an_array_is_as_large_as_its_header_before_it_is_read(tmp_path, backend):
    manifest = deploy(tmp_path, "FP32", ["n", 4], backend)
    archive(tmp_path / "x.npz", {"x": (250_000_000, 4)})
    error = refused(tmp_path, "run", manifest.name, "--input", "x.npz")
    assert "x.npz: the array `x` needs 3.73 GiB" in error["message"]
    archive(tmp_path / "x.npz", {"x": (60_000_000, 4)})
    error = refused(tmp_path, "run", manifest.name, "limits.input_bytes=900000000", "--input", "x.npz")
    assert "x.npz: the array `x` needs 0.894 GiB" in error["message"]
    (tmp_path / "x.npz").unlink()
    archive(tmp_path / "x.npz", {"x": (250_000_000, 8)})
    error = refused(tmp_path, "run", manifest.name, "--input", "x.npz", code=ErrorCode.INVALID_ARGUMENT)
    assert "has shape [250000000,8]" in error["message"]


def long_header(path: Path) -> None:
    """A header that promises 4 GB of spaces, which a zip would hold in 4 MB."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("x.npy", b"\x93NUMPY\x02\x00" + struct.pack("<L", 2**32 - 2) + b" " * 2**20)


def long_directory(path: Path) -> None:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as file:
        for index in range(30_000):
            file.writestr(f"{index}.npy", b"")
    path.write_bytes(content.getvalue())


def twice(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("x.npy", b"")
        file.writestr("x", b"")


def lzma(path: Path) -> None:
    archive(path, {"x": (1, 4)}, zipfile.ZIP_LZMA)


def no_array(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("x", b"hello")


def negative(path: Path) -> None:
    with path.open("wb") as stream:
        np.lib.format.write_array_header_1_0(stream, {"descr": "<f4", "fortran_order": False, "shape": (-1, 4)})


@pytest.mark.parametrize(
    "attack", [long_header, long_directory, twice, lzma, no_array, negative], ids=lambda one: one.__name__
)
def test_a_forged_archive_is_damaged(tmp_path, attack):
    manifest = deploy(tmp_path, "FP32", ["n", 4])
    attack(tmp_path / "x.npz")
    error = refused(tmp_path, "run", manifest.name, "--input", "x=x.npz", code=ErrorCode.INVALID_ARGUMENT)
    assert error["message"] == "x.npz is not a readable .npy or .npz file"


def test_empty_texts_count_as_objects(tmp_path):
    manifest = deploy(tmp_path, "BYTES", ["n"])
    archive(tmp_path / "x.npz", {"x": (60_000_000,)}, dtype="|S1")
    assert "3.63 GiB" in refused(tmp_path, "run", manifest.name, "--input", "x.npz")["message"]


def test_json_of_one_long_text_and_many_empty_ones(tmp_path):
    manifest = deploy(tmp_path, "BYTES", ["n"])
    (tmp_path / "x.json").write_text(json.dumps(["a" * 500_000, *[""] * 40_000]))
    assert aegisrt(tmp_path, "run", manifest.name, "--input", "x.json")[0] == 0
    manifest = deploy(tmp_path, "FP32", ["n"])
    error = refused(tmp_path, "run", manifest.name, "--input", "x.json", code=ErrorCode.INVALID_ARGUMENT)
    assert "holds strings" in error["message"]


@pytest.mark.parametrize("item", ["[]", "{}", '""'])
def test_json_of_many_small_values_is_counted_before_it_is_parsed(tmp_path, item):
    manifest = deploy(tmp_path, "FP32", ["n"])
    (tmp_path / "x.json").write_text("[" + ",".join([item] * 8_000_000) + "]")
    error = refused(tmp_path, "run", manifest.name, "--input", "x.json")
    assert "x.json: what it holds needs" in error["message"]


def png(width: int, height: int) -> bytes:
    """Return a gray PNG of one color, which is a thousandth of its pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">L", len(content)) + kind + content + struct.pack(">L", zlib.crc32(kind + content))

    pack = zlib.compressobj(1)
    rows = b"".join(pack.compress(bytes(1 + width)) for _ in range(min(height, 2000))) + pack.flush()
    header = struct.pack(">LLBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [9_000, 60_000])
@pytest.mark.parametrize("shape", [["n", 3, "h", "w"], ["n", 3, 8, 8]])
def test_a_picture_is_as_large_as_its_header_before_it_is_decoded(tmp_path, side, shape):
    pytest.importorskip("PIL.Image", reason="pillow is not installed; run: pip install 'aegisrt-runtime[images]'")
    manifest = deploy(tmp_path, "FP32", [None if isinstance(dim, str) else dim for dim in shape])
    (tmp_path / "x.png").write_bytes(png(side, side))
    error = refused(tmp_path, "run", manifest.name, "--input", "x.png")
    assert "x.png: a picture of this size needs" in error["message"]
    if side == 60_000:
        error = refused(tmp_path, "run", manifest.name, f"limits.input_bytes={2**40}", "--input", "x.png")
        assert error["hint"] == "free memory, or allow this process more"


@pytest.mark.parametrize(("suffix", "kind"), [("png", "postscript"), ("jpg", "postscript"), ("png", "tiff")])
def test_a_picture_is_a_png_or_a_jpeg_whatever_its_name_is(tmp_path, suffix, kind):
    image = pytest.importorskip(
        "PIL.Image", reason="pillow is not installed; run: pip install 'aegisrt-runtime[images]'"
    )
    manifest = deploy(tmp_path, "FP32", [None, 3, 8, 8])
    path, ran = tmp_path / f"x.{suffix}", tmp_path / "ran"
    if kind == "postscript":
        path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n%%EOF\n")
    else:
        image.new("RGB", (8, 8)).save(path, format=kind)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "gs").write_text(f"#!/bin/sh\n: > '{ran}'\n")
    (tmp_path / "bin" / "gs").chmod(0o755)
    words = ("run", manifest.name, "--input", path.name)
    error = refused(tmp_path, *words, code=ErrorCode.INVALID_ARGUMENT, PATH=f"{tmp_path}/bin:/usr/bin:/bin")
    assert "is not a readable picture" in error["message"]
    assert not ran.exists()


@pytest.mark.parametrize("code", [0x110000, 0xFFFFFFFF])
@pytest.mark.parametrize("order", ["<", ">"])
def test_texts_of_characters_that_do_not_exist(tmp_path, code, order):
    header = f"{{'descr': '{order}U2', 'fortran_order': False, 'shape': (1,), }}\n".encode()
    data = struct.pack(f"{order}2I", 0x41, code)
    for name, ending in (("good", struct.pack(f"{order}2I", 0x41, 0x10FFFF)), ("bad", data)):
        file = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + ending
        (tmp_path / f"{name}.npy").write_bytes(file)
    with open_arrays(tmp_path / "good.npy") as file:
        assert file.read({None: None}, InputBudget(2**20))[None].tolist() == ["A\U0010ffff"]
    with pytest.raises(ResultError) as raised, open_arrays(tmp_path / "bad.npy") as file:
        file.read({None: None}, InputBudget(2**20))
    assert raised.value.error.code is ErrorCode.INVALID_ARGUMENT
