"""Inputs from files (.npy, .npz, .json, .png, .jpg), and outputs to files."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from aegisrt.core.optional import Requirement, require
from aegisrt.core.result import ErrorCode, fail
from aegisrt.core.tensor import Array, DataType, Signature, TensorSpec, did_you_mean, shape_text
from aegisrt.runtime.sample import read_arrays

PILLOW = Requirement("PIL.Image", ("pillow",), "images")
_READABLE = ".npy, .npz, .json, .png, .jpg"


def read_inputs(words: Sequence[str], signature: Signature) -> dict[str, Array]:
    """Return arrays by input name from words NAME=FILE, or FILE alone for a .npz, or where there is one input.

    Raises INVALID_ARGUMENT or NOT_FOUND that names the word, the file and the remedy.
    """
    specs = {spec.name: spec for spec in signature.inputs}
    inputs: dict[str, Array] = {}
    for word in words:
        name, path = _split(word, specs)
        if name is None and path.suffix == ".npz":
            found = read_arrays(path)
            new = found if isinstance(found, dict) else {}
        else:
            spec = _spec(name, word, specs)
            new = {spec.name: _read(path, spec)}
        for key, value in new.items():
            if key in inputs:
                raise fail(ErrorCode.INVALID_ARGUMENT, f"--input gives `{key}` twice")
            inputs[key] = value
    return inputs


def _split(word: str, specs: Mapping[str, TensorSpec]) -> tuple[str | None, Path]:
    for name in sorted(specs, key=len, reverse=True):
        if word.startswith(f"{name}="):
            return name, Path(word[len(name) + 1 :])
    name, equals, path = word.partition("=")
    return (name, Path(path)) if equals else (None, Path(word))


def _spec(name: str | None, word: str, specs: Mapping[str, TensorSpec]) -> TensorSpec:
    if name is None:
        if len(specs) == 1:
            return next(iter(specs.values()))
        message = f"--input {word}: the model takes several inputs: {', '.join(specs)}"
        raise fail(ErrorCode.INVALID_ARGUMENT, message, "say which: --input NAME=FILE")
    if name not in specs:
        hint = did_you_mean(name, list(specs), "inputs")
        raise fail(ErrorCode.INVALID_ARGUMENT, f"--input {word}: `{name}` is not an input of the model", hint)
    return specs[name]


def _read(path: Path, spec: TensorSpec) -> Array:
    suffix = path.suffix.lower()
    if suffix not in (".npy", ".npz", ".json", ".png", ".jpg", ".jpeg"):
        message = f"--input {spec.name}={path}: this kind of file is not known"
        raise fail(ErrorCode.INVALID_ARGUMENT, message, f"kinds are {_READABLE}")
    if not path.is_file():
        raise fail(ErrorCode.NOT_FOUND, f"--input {spec.name}={path}: there is no such file")
    if suffix == ".json":
        return _json(path, spec)
    if suffix in (".png", ".jpg", ".jpeg"):
        return picture(path, spec)
    found = read_arrays(path)
    if isinstance(found, dict):
        if spec.name not in found:
            hint = did_you_mean(spec.name, list(found), "its arrays")
            raise fail(ErrorCode.INVALID_ARGUMENT, f"{path} holds no array `{spec.name}`", hint)
        return found[spec.name]
    return found


def _json(path: Path, spec: TensorSpec) -> Array:
    """Return nested JSON lists as an array of the input's dtype: JSON numbers have none of their own."""
    try:
        value = json.loads(path.read_bytes())
        untyped = np.asarray(value)
    except ValueError as error:
        message = f"{path} is not a JSON array of numbers of one shape"
        raise fail(ErrorCode.INVALID_ARGUMENT, message, cause=str(error)) from None
    kinds = {"b": "b", "i": "iu", "u": "iu", "f": "iuf", "O": "U", "V": "iuf"}[spec.dtype.numpy.kind]
    if untyped.dtype.kind not in kinds and untyped.size:
        message = f"{path} holds {untyped.dtype.name}, the input `{spec.name}` is {spec.dtype}"
        raise fail(ErrorCode.INVALID_ARGUMENT, message, "write numbers of that kind: nothing is cast")
    try:
        return np.asarray(value, spec.dtype.numpy)
    except (OverflowError, ValueError) as error:
        message = f"{path} holds a number that is no {spec.dtype}"
        raise fail(ErrorCode.INVALID_ARGUMENT, message, cause=str(error)) from None


def picture(path: Path, spec: TensorSpec) -> Array:
    """Return a picture as a batch of one in the input's layout, `(1, channels, height, width)` or channels last.

    It is converted to the input's number of channels (1 grey, 3 RGB, 4 RGBA) and resized to its height and width.
    Integer inputs get 0 to 255, floating-point ones 0.0 to 1.0.
    """
    layout = _layout(spec)
    if layout is None:
        message = f"the input `{spec.name}` {shape_text(spec.shape)} is not the shape of a picture"
        raise fail(ErrorCode.INVALID_ARGUMENT, message, "give an array: .npy, .npz or .json")
    channels, height, width, last = layout
    image_module = require(PILLOW)
    try:
        with image_module.open(path) as opened:
            image = opened.convert({1: "L", 3: "RGB", 4: "RGBA"}[channels])
    except OSError as error:
        raise fail(ErrorCode.INVALID_ARGUMENT, f"{path} is not a readable picture", cause=str(error)) from None
    size = (width or image.width, height or image.height)
    pixels = np.asarray(image if image.size == size else image.resize(size), np.uint8).reshape(
        size[1], size[0], channels
    )
    batch = pixels[np.newaxis] if last else np.ascontiguousarray(pixels.transpose(2, 0, 1))[np.newaxis]
    batch = batch[..., 0] if spec.shape is not None and len(spec.shape) == 3 and last else batch
    return np.asarray(batch / 255 if spec.dtype.numpy.kind in "fV" else batch, spec.dtype.numpy)


def _layout(spec: TensorSpec) -> tuple[int, int | None, int | None, bool] | None:
    """Return channels, height, width (None where dynamic), and whether channels come last."""
    if spec.shape is None or spec.dtype in (DataType.BYTES, DataType.BOOL):
        return None
    dims = [dim if isinstance(dim, int) else None for dim in spec.shape]
    if len(dims) == 3:
        return 1, dims[1], dims[2], True
    if len(dims) != 4:
        return None
    if dims[1] in (1, 3, 4):
        return dims[1] or 1, dims[2], dims[3], False
    return (dims[3] or 1, dims[1], dims[2], True) if dims[3] in (1, 3, 4) else None


def write_outputs(path: Path, outputs: Mapping[str, Array]) -> None:
    """Write outputs to a .npz, .json, or (of one output) .npy; the file appears whole or not at all."""
    partial = path.with_name(path.name + ".partial")
    try:
        with partial.open("wb") as stream:
            if path.suffix == ".npz":
                np.savez(stream, allow_pickle=False, **dict(outputs))
            elif path.suffix == ".npy":
                np.save(stream, next(iter(outputs.values())), allow_pickle=False)
            else:
                stream.write(json.dumps({name: value.tolist() for name, value in outputs.items()}).encode())
        partial.replace(path)
    except OSError as error:
        message = f"--output {path} cannot be written: {error.strerror}"
        raise fail(ErrorCode.PERMISSION_DENIED, message) from None
    finally:
        partial.unlink(missing_ok=True)


def check_output(path: Path, count: int) -> None:
    """Raise INVALID_ARGUMENT where `--output` names a file that `count` outputs cannot be written to."""
    if path.suffix not in (".npz", ".npy", ".json"):
        message = f"--output {path}: this kind of file is not known"
        raise fail(ErrorCode.INVALID_ARGUMENT, message, "kinds are .npz, .json, .npy")
    if path.suffix == ".npy" and count != 1:
        message = f"--output {path}: a .npy holds one array, the model gives {count}"
        raise fail(ErrorCode.INVALID_ARGUMENT, message, "name a .npz")
    if not path.parent.is_dir():
        raise fail(ErrorCode.NOT_FOUND, f"--output {path}: the folder {path.parent} does not exist")


def plain(value: Any) -> Any:
    """Return an output's data as nested lists of what JSON has."""
    array = np.asarray(value)
    if array.dtype.kind == "V":
        array = array.astype(np.float32)
    listed = array.tolist()
    return [item.decode("utf-8", "replace") for item in listed] if array.dtype.kind == "S" else listed
