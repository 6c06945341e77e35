"""Pictures as inputs: layouts, channels, depths, and files that are none."""

import struct
import subprocess
import zlib

import numpy as np
import pytest

from aegisrt.cli.tensors import picture as pictures
from aegisrt.core.result import ErrorCode, ResultError
from aegisrt.core.tensor import DataType, TensorSpec
from aegisrt.runtime.building.input_budget import InputBudget

image = pytest.importorskip("PIL.Image", reason="pillow is not installed; run: pip install 'aegisrt-runtime[images]'")
GREY = np.arange(0, 256, 4, dtype=np.uint8).reshape(8, 8)


def picture(path, taken, limit_bytes=2**30):
    return pictures.picture(path, taken, InputBudget(limit_bytes))


def spec(dtype, *shape):
    return TensorSpec("x", dtype, shape)


@pytest.fixture
def grey(tmp_path):
    path = tmp_path / "grey.png"
    image.fromarray(GREY).save(path)
    return path


@pytest.mark.parametrize(
    ("shape", "got"),
    [
        (("n", 1, 8, 8), (1, 1, 8, 8)),
        (("n", 3, "h", "w"), (1, 3, 8, 8)),
        ((1, 8, 8, 3), (1, 8, 8, 3)),
        (("n", "h", "w", 4), (1, 8, 8, 4)),
        (("n", 8, 8), (1, 8, 8)),
        (("n", 1, 4, 16), (1, 1, 4, 16)),
    ],
)
def test_layouts(grey, shape, got):
    x = picture(grey, spec(DataType.UINT8, *shape))
    assert (x.shape, x.dtype) == (got, np.uint8)
    if got == (1, 1, 8, 8):
        np.testing.assert_array_equal(x[0, 0], GREY)


def test_floats_are_between_zero_and_one(grey):
    np.testing.assert_allclose(picture(grey, spec(DataType.FP32, "n", 1, 8, 8))[0, 0], GREY / 255, rtol=1e-6)


def test_sixteen_bits_keep_their_scale(tmp_path):
    path = tmp_path / "deep.png"
    image.fromarray(GREY.astype(np.uint16) * 257).save(path)
    np.testing.assert_array_equal(picture(path, spec(DataType.UINT8, "n", 1, 8, 8))[0, 0], GREY)


QUARTERS = np.kron([[0, 80], [160, 240]], np.ones((16, 32))).astype(np.uint8)
"""A scene of 32 x 64 whose four corners differ."""
STORED = {
    1: QUARTERS,
    2: QUARTERS[:, ::-1],
    3: QUARTERS[::-1, ::-1],
    4: QUARTERS[::-1],
    5: QUARTERS.T,
    6: np.rot90(QUARTERS),
    7: QUARTERS[::-1, ::-1].T,
    8: np.rot90(QUARTERS, -1),
}
"""What a camera stores of the scene for each EXIF orientation."""


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_a_photograph_is_fed_upright(tmp_path, orientation, suffix):
    path = tmp_path / f"photo.{suffix}"
    exif = image.Exif()
    exif[0x0112] = orientation
    image.fromarray(np.ascontiguousarray(STORED[orientation])).save(
        path, exif=exif, **{"jpg": {"quality": 95}}.get(suffix, {})
    )
    x = picture(path, spec(DataType.UINT8, "n", "h", "w", 3))
    assert x.shape == (1, 32, 64, 3)
    assert abs(x[0, ..., 0].astype(int) - QUARTERS).max() < 8


def test_sixteen_bits_are_fed_upright(tmp_path):
    exif = image.Exif()
    exif[0x0112] = 6
    image.fromarray(np.rot90(QUARTERS).astype(np.uint16) * 257).save(tmp_path / "deep.png", exif=exif)
    x = picture(tmp_path / "deep.png", spec(DataType.UINT8, "n", 1, 32, 64))
    np.testing.assert_array_equal(x[0, 0], QUARTERS)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize("exif", [b"Exif\0\0rubbish", b"Exif\0\0II*\0\x08\0\0\0\x05\0", {0x0112: 9}])
def test_a_photograph_without_a_valid_orientation_is_fed_as_stored(tmp_path, exif):
    if isinstance(exif, dict):
        tags, exif = exif, image.Exif()
        exif.update(tags)
    image.fromarray(QUARTERS).save(tmp_path / "photo.jpg", exif=exif, quality=95)
    x = picture(tmp_path / "photo.jpg", spec(DataType.UINT8, "n", 1, "h", "w"))
    assert abs(x[0, 0].astype(int) - QUARTERS).max() < 8


@pytest.mark.parametrize(
    "taken",
    [
        spec(DataType.FP32, "n", 4),
        spec(DataType.FP32, 8, 3, 8, 8),
        spec(DataType.FP32, "n", 7, 8, 9),
        spec(DataType.INT8, "n", 1, 8, 8),
        spec(DataType.BYTES, "n", 1, 8, 8),
        TensorSpec("x", DataType.FP32, None),
    ],
    ids=str,
)
def test_inputs_that_take_no_picture(grey, taken):
    with pytest.raises(ResultError, match="does not take a picture") as caught:
        picture(grey, taken)
    assert caught.value.error.code is ErrorCode.INVALID_ARGUMENT


@pytest.mark.parametrize("damage", [lambda raw: raw[:45], lambda raw: b"hello", lambda raw: raw[:40] + b"x" + raw[41:]])
def test_a_damaged_picture_is_an_answer(grey, damage):
    grey.write_bytes(damage(grey.read_bytes()))
    with pytest.raises(ResultError, match="is not a readable picture"):
        picture(grey, spec(DataType.FP32, "n", 1, 8, 8))


@pytest.mark.parametrize("form", ["EPS", "PDF", "BMP", "TIFF", "GIF", "PPM", "WEBP"])
@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_only_png_and_jpeg_are_opened_whatever_the_name_says(tmp_path, form, suffix, monkeypatch):
    path = tmp_path / f"x.{suffix}"
    image.fromarray(GREY).save(path, form)
    monkeypatch.setattr(subprocess, "Popen", None)  # Ghostscript
    with pytest.raises(ResultError, match="is not a readable picture"):
        picture(path, spec(DataType.UINT8, "n", 1, 8, 8))


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [8193, 10_000, 20_000])
@pytest.mark.parametrize("shape", [("n", 1, 8, 8), ("n", "h", "w", 3)])
def test_a_small_file_of_many_pixels_is_not_decoded(tmp_path, side, shape, monkeypatch):
    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0))
    path = tmp_path / "x.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b""))
    with pytest.raises(ResultError, match="a picture of this size needs") as caught:
        picture(path, spec(DataType.FP32, *shape))
    assert caught.value.error.code is ErrorCode.RESOURCE_EXHAUSTED


@pytest.mark.parametrize("dtype", [DataType.FP16, DataType.FP32, DataType.FP64])
def test_each_float_is_the_nearest_of_its_dtype(grey, dtype):
    x = picture(grey, spec(dtype, "n", 1, 8, 8))
    assert x.dtype == dtype.numpy
    np.testing.assert_array_equal(x[0, 0], (GREY / np.float64(255)).astype(dtype.numpy))


def test_a_jpeg_of_many_scans_is_not_decoded(tmp_path):
    for name, more in (("few.jpg", 0), ("many.jpg", 200)):
        image.new("L", (64, 64), 128).save(tmp_path / name, "JPEG", progressive=True)
        content = (tmp_path / name).read_bytes()
        last = content.rindex(b"\xff\xda")
        (tmp_path / name).write_bytes(content[:-2] + content[last:-2] * more + content[-2:])
    assert picture(tmp_path / "few.jpg", spec(DataType.UINT8, 1, 1, 64, 64)).shape == (1, 1, 64, 64)
    with pytest.raises(ResultError) as raised:
        picture(tmp_path / "many.jpg", spec(DataType.UINT8, 1, 1, 64, 64))
    assert raised.value.error.code is ErrorCode.INVALID_ARGUMENT
    assert "scans" in (raised.value.error.cause or "")
