"""`picture`: an image file as an input of a model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from aegisrt.core.optional import Requirement, require
from aegisrt.core.result import ErrorCode, ResultError, fail
from aegisrt.core.tensor import Array, DataType, TensorSpec, shape_text
from aegisrt.runtime.building.input_budget import InputBudget

PILLOW = Requirement("PIL.Image", ("pillow",), "images")
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}
_FORMATS = ("PNG", "JPEG")
"""Pillow chooses by content, whatever a file's name says: other formats start programs, PostScript Ghostscript."""
_CHANNELS = 4
"""Bytes of a pixel in Pillow's memory."""
_PIXEL_BYTES = 4 * _CHANNELS
"""For the decoder's coefficients, and for the picture as stored, turned, and converted."""
_DEEP_PIXEL_BYTES = 6 * _CHANNELS
_JPEG, _SCAN = b"\xff\xd8", b"\xff\xda"
"""How a JPEG starts, and how each scan starts: in a scan's data a zero follows each 0xFF (ITU-T T.81, B.1.1.5)."""
_MOST_SCANS = 100
_ORIENTATION = 0x0112
"""The tag of the orientation in EXIF."""
_TURNS = {
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}
"""How to turn a picture of each orientation upright: EXIF 2.32, 4.6.4; Pillow turns counterclockwise."""
_NO_PICTURE = (DataType.BOOL, DataType.BYTES, DataType.INT8)
"""Dtypes that cannot hold 0 to 255."""


def picture(path: Path, spec: TensorSpec, budget: InputBudget) -> Array:
    """Return a picture as a batch of one in the input's layout, `(1, channels, height, width)` or channels last.

    The picture is turned upright by its EXIF orientation, converted to the input's number of channels (1 gray, 3 RGB,
    4 RGBA) and resized to its height and width. Integer inputs get 0 to 255, floating-point ones 0.0 to 1.0.
    INVALID_ARGUMENT: if the input does not take a picture, or the file is not a readable PNG or JPEG.
    RESOURCE_EXHAUSTED: if the budget is too small for the picture's size, which is checked before it is decoded.
    UNAVAILABLE: if Pillow is not installed.
    """
    layout = None if spec.dtype in _NO_PICTURE else _layout(spec)
    if layout is None:
        message = f"the input `{spec.name}` {spec.dtype} {shape_text(spec.shape)} does not take a picture"
        raise fail(ErrorCode.INVALID_ARGUMENT, message, "give an array: .npy, .npz or .json")
    channels, height, width, last = layout
    image_module = require(PILLOW)
    try:
        with _opened(path, image_module) as opened:
            size = (width or opened.width, height or opened.height)
            budget.take(_memory_bytes(path, opened, size, channels, spec), f"{path}: a picture of this size")
            _check_scans(path)
            image = _upright(_eight_bits(opened, image_module), opened, image_module).convert(_MODES[channels])
    except (ResultError, MemoryError):
        raise
    except Exception as error:  # noqa: BLE001  (Pillow's decoders raise any exception on a damaged file)
        message, cause = f"{path} is not a readable picture", f"{type(error).__name__}: {error}"
        raise fail(ErrorCode.INVALID_ARGUMENT, message, "save it again as a PNG", cause=cause) from None
    size = (width or image.width, height or image.height)
    resized = image if image.size == size else image.resize(size)
    pixels = np.asarray(resized, np.uint8).reshape(size[1], size[0], channels)
    batch = pixels[np.newaxis] if last else np.ascontiguousarray(pixels.transpose(2, 0, 1))[np.newaxis]
    batch = batch[..., 0] if spec.shape is not None and len(spec.shape) == 3 else batch
    if spec.dtype.numpy.kind not in "fV":
        return np.asarray(batch, spec.dtype.numpy)
    room = np.empty(batch.shape, spec.dtype.numpy)  # divided in FP64, but without an FP64 copy of the whole
    return np.divide(batch, 255, out=room, dtype=np.float64, casting="unsafe")


@contextmanager
def _opened(path: Path, image_module: Any) -> Iterator[Any]:
    """Open a PNG or a JPEG, without its pixels, whatever its size: the budget is Pillow's limit here."""
    before, image_module.MAX_IMAGE_PIXELS = image_module.MAX_IMAGE_PIXELS, None
    try:
        opened = image_module.open(path, formats=_FORMATS)
    finally:
        image_module.MAX_IMAGE_PIXELS = before
    with opened:
        yield opened


def _memory_bytes(path: Path, opened: Any, size: tuple[int, int], channels: int, spec: TensorSpec) -> int:
    """Return the memory for decoding, turning, converting and resizing a picture, and for the array."""
    decoded: int = opened.width * opened.height * (_DEEP_PIXEL_BYTES if opened.mode.startswith("I") else _PIXEL_BYTES)
    array = size[0] * size[1] * (_CHANNELS + channels * (2 + spec.dtype.numpy.itemsize))
    return path.stat().st_size + decoded + array


def _check_scans(path: Path) -> None:
    """Raise ValueError if a JPEG has more scans than pictures have.

    A progressive one has about ten. Each may be some bytes, and is decoded over all pixels: 400 KB take minutes.
    """
    content = path.read_bytes()
    scans = content.count(_SCAN) if content.startswith(_JPEG) else 0
    if scans > _MOST_SCANS:
        raise ValueError(f"{scans} scans, and at most {_MOST_SCANS} are decoded")


def _eight_bits(image: Any, image_module: Any) -> Any:
    """Return a 16-bit gray picture as one of 8 bits; Pillow's own `convert` clips values at 255."""
    if not image.mode.startswith("I"):
        return image
    return image_module.fromarray((np.asarray(image).clip(0, 65535) // 257).astype(np.uint8))


def _upright(image: Any, opened: Any, image_module: Any) -> Any:
    """Return the picture as viewers show it: a camera stores the sensor's rows, and how it was held in EXIF."""
    orientation = None
    with suppress(Exception):  # viewers show a picture with damaged EXIF, too
        orientation = opened.getexif().get(_ORIENTATION)
    turn = _TURNS.get(orientation or 1)
    return image if turn is None else image.transpose(getattr(image_module.Transpose, turn))


def _layout(spec: TensorSpec) -> tuple[int, int | None, int | None, bool] | None:
    """Return channels, height and width (None if dynamic), and whether channels come last; None if not a picture."""
    if spec.shape is None or len(spec.shape) not in (3, 4):
        return None
    batch, *dims = (dim if isinstance(dim, int) else None for dim in spec.shape)
    if batch not in (None, 1):
        return None
    if len(dims) == 2:
        return 1, dims[0], dims[1], True
    if dims[0] in _MODES:
        return dims[0] or 1, dims[1], dims[2], False
    return (dims[2] or 1, dims[0], dims[1], True) if dims[2] in _MODES else None
