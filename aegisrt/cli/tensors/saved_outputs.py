"""A model's outputs as files (.npz, .npy, .json), and as JSON values."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from aegisrt.cli.output import finite
from aegisrt.core.fresh_file import fresh_file
from aegisrt.core.result import ErrorCode, fail
from aegisrt.core.system_error import system_error
from aegisrt.core.tensor import Array

_MOST_TEXT_BYTES = 2**30


def write_outputs(path: Path, outputs: Mapping[str, Array]) -> None:
    """Write outputs to a .npz, .json, or (one output) .npy; the file is written completely or not at all.

    numpy's files have neither BF16 nor strings of variable length: BF16 is written as FP32, which holds each of its
    values, and BYTES as text.
    PERMISSION_DENIED: if the file cannot be written.
    RESOURCE_EXHAUSTED: if the disk is full, or memory is too small.
    """
    try:
        with fresh_file(path) as fresh, fresh.open("wb") as stream:
            _write(stream, path.suffix.lower(), outputs)
    except (OSError, MemoryError) as error:
        raise system_error(error, f"--output {path} cannot be written") from None


def check_output(path: Path, count: int) -> None:
    """Check that `count` outputs can be written to the file of `--output`.

    INVALID_ARGUMENT: if they cannot be written to such a file.
    NOT_FOUND: if its folder does not exist.
    """
    suffix = path.suffix.lower()
    if suffix not in (".npz", ".npy", ".json"):
        message = f"--output {path}: unknown kind of file"
        raise fail(ErrorCode.INVALID_ARGUMENT, message, "kinds are .npz, .json, .npy")
    if suffix == ".npy" and count != 1:
        message = f"--output {path}: a .npy holds one array, but the model has {count} outputs"
        raise fail(ErrorCode.INVALID_ARGUMENT, message, "name a .npz")
    if not path.parent.is_dir():
        raise fail(ErrorCode.NOT_FOUND, f"--output {path}: the folder {path.parent} does not exist")


def plain(value: Any) -> Any:
    """Return an output's data as nested lists of JSON values; bytes are decoded as UTF-8."""
    array = np.asarray(value)
    if array.dtype.kind == "V":
        array = array.astype(np.float32)
    return _texts(array).tolist() if array.dtype.kind in "OS" else array.tolist()


def _write(stream: BinaryIO, suffix: str, outputs: Mapping[str, Array]) -> None:
    if suffix == ".json":
        values = {name: finite(plain(value)) for name, value in outputs.items()}
        stream.write((json.dumps(values, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace"))
    elif suffix == ".npy":
        np.save(stream, _storable(next(iter(outputs.values()))), allow_pickle=False)
    else:  # numpy.savez has an argument `file`, so it cannot take an output of that name
        with zipfile.ZipFile(stream, "w") as archive:
            for name, value in outputs.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, _storable(value), allow_pickle=False)


def _storable(value: Array) -> Array:
    if value.dtype.kind == "V":
        return value.astype(np.float32)
    return _fixed_width(_texts(value)) if value.dtype.kind == "O" else value


def _fixed_width(texts: Array) -> Array:
    """Return texts as numpy stores them, with room for the longest of them in each place."""
    size = texts.size * 4 * max(map(len, texts.flat), default=0)
    if size > _MOST_TEXT_BYTES:
        message = f"numpy's files need {size / 2**30:.3g} GiB for these texts: each takes the room of the longest"
        raise fail(ErrorCode.RESOURCE_EXHAUSTED, message, "name a .json")
    return texts.astype(str)


def _texts(array: Array) -> Array:
    """Return an array of str objects."""
    texts = np.empty(array.size, object)
    texts[:] = [item.decode("utf-8", "replace") if isinstance(item, bytes) else str(item) for item in array.flat]
    return texts.reshape(array.shape)
