"""Made-up inputs for a model, from its signature alone."""

from __future__ import annotations

import math
import re
import zipfile
from collections.abc import Mapping, Sequence
from typing import IO

import numpy as np

from aegisrt.core.result import ErrorCode, fail
from aegisrt.core.suggest import suggest
from aegisrt.core.tensor import Array, DataType, Dim, Signature, TensorSpec, is_name, shape_text

GENERATED = ".generated.npz"
"""The suffix of a file of made-up inputs."""
_PICTURE_PIXELS = 224
_OTHER_SIZE = 16
_LIMIT_BYTES = 2**28


Shapes = Mapping[str, tuple[int, ...]]


def sizes(signature: Signature, given: Shapes) -> dict[str, tuple[int, ...]]:
    """Return a shape for each input, the `given` ones unchanged; dimensions of one name have one size.

    A dynamic dimension is 1 if it is the first one or its name contains `batch`, 224 for the height and the width of
    a picture `(batch, channels, height, width)`, otherwise 16. A tensor of unknown rank has the shape `(1,)`.
    Placeholders such as `?` are no names (`is_name`).
    """
    named = {
        dim: size
        for spec in signature.required
        for dim, size in zip(spec.shape or (), given.get(spec.name, ()), strict=False)
        if is_name(dim)
    }
    shapes = {}
    for spec in signature.required:
        dims = (1,) if spec.shape is None else spec.shape
        guessed = tuple(_size(dim, axis, spec, named) for axis, dim in enumerate(dims))
        shapes[spec.name] = given.get(spec.name, guessed)
    return shapes


def read_shapes(arguments: Sequence[str], signature: Signature) -> dict[str, tuple[int, ...]]:
    """Return shapes by input from `NAME=1x3x224x224`; raise INVALID_ARGUMENT for an unknown input or a wrong shape."""
    specs = {spec.name: spec for spec in signature.required}
    optional = {spec.name for spec in signature.inputs if spec.optional}
    given: dict[str, tuple[int, ...]] = {}
    for argument in arguments:
        name, _, text = argument.rpartition("=")
        if name in optional:
            message = f"--shape {argument}: `{name}` is optional, and the model's own value is used"
            raise fail(
                ErrorCode.INVALID_ARGUMENT, message, "leave it out; `run` takes another value: --input NAME=FILE"
            )
        if name not in specs:
            hint = suggest(name, list(specs), "inputs") if name else "write --shape NAME=1x3x224x224"
            raise fail(ErrorCode.INVALID_ARGUMENT, f"--shape {argument}: `{name}` is not an input of the model", hint)
        if not re.fullmatch(r"(\d+([x,]\d+)*)?", text):
            hint = f"write --shape {name}=1x3x224x224"
            raise fail(ErrorCode.INVALID_ARGUMENT, f"--shape {argument}: `{text}` is not a shape", hint)
        shape = tuple(map(int, re.findall(r"\d+", text)))
        if not _fits(shape, specs[name].shape):
            message = f"--shape {argument}: the model takes {shape_text(specs[name].shape)}"
            raise fail(
                ErrorCode.INVALID_ARGUMENT, message, "give one size for each dimension, and declared sizes unchanged"
            )
        given[name] = shape
    return given


def _fits(shape: Sequence[int], declared: Sequence[Dim] | None) -> bool:
    if declared is None:
        return True
    same_rank = len(shape) == len(declared)
    return same_rank and all(not isinstance(dim, int) or dim == size for dim, size in zip(declared, shape, strict=True))


def generate_inputs(signature: Signature, shapes: Shapes) -> dict[str, Array] | None:
    """Return an array for each input, the same at every call; None if they would need more than 256 MiB.

    Floating-point values are random from 0 to 1, and UINT8 random, as in a picture; other integers are 0, which is a
    valid index of every table; masks are 1, booleans true, strings `text`.
    UNAVAILABLE: if an input is BF16 and ml_dtypes is not installed.
    """
    total_bytes = sum(math.prod(shapes[spec.name]) * max(spec.dtype.numpy.itemsize, 8) for spec in signature.required)
    if total_bytes > _LIMIT_BYTES:
        return None
    random = np.random.default_rng(0)
    return {spec.name: _array(spec, shapes[spec.name], random) for spec in signature.required}


def fill_name(spec: TensorSpec) -> str:
    """Return a description of the values that `generate_inputs` fills an input with."""
    return _FILLS[_fill(spec)]


def save(inputs: Mapping[str, Array], stream: IO[bytes]) -> None:
    """Write a .npz, as numpy's `savez` does, which cannot take an array named `file`."""
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in inputs.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)


_FILLS = {"random": "random, 0 to 1", "picture": "random, 0 to 255", "0": "0", "1": "1", "true": "true", "text": "text"}


def _fill(spec: TensorSpec) -> str:
    by_dtype: Mapping[DataType, str] = {
        DataType.BOOL: "true",
        DataType.BYTES: "text",
        DataType.UINT8: "picture",
        DataType.FP16: "random",
        DataType.BF16: "random",
        DataType.FP32: "random",
        DataType.FP64: "random",
    }
    return by_dtype.get(spec.dtype, "1" if "mask" in spec.name.lower() else "0")


def _array(spec: TensorSpec, shape: tuple[int, ...], random: np.random.Generator) -> Array:
    match _fill(spec):
        case "random":
            return random.random(shape, np.float32).astype(spec.dtype.numpy)
        case "picture":
            return random.integers(0, 256, shape, np.uint8)
        case "text":
            return np.full(shape, "text")  # a fixed width, since a .npz of objects would be a pickle
        case number:
            return np.full(shape, number != "0", spec.dtype.numpy)


def _size(dim: Dim, axis: int, spec: TensorSpec, named: dict[str, int]) -> int:
    if isinstance(dim, int):
        return dim
    size = _OTHER_SIZE
    if axis == 0 or "batch" in (dim or "").lower():
        size = 1
    elif len(spec.shape or ()) == 4 and axis >= 2 and _fill(spec) in ("random", "picture"):
        size = _PICTURE_PIXELS
    return named.setdefault(dim, size) if is_name(dim) else size
