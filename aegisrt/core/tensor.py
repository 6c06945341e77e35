"""`DataType`, `TensorSpec` and `Signature`: what goes in and out of a model, and the check of a request against it."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from aegisrt.core.result import ErrorCode, fail

Array: TypeAlias = npt.NDArray[Any]
Dim: TypeAlias = int | str | None
"""A dimension: its size, the name of a dynamic one, or None for a dynamic one without a name."""


class DataType(StrEnum):
    """Element types by their Open Inference Protocol names, and BF16 as Triton has it."""

    BOOL = "BOOL"
    UINT8 = "UINT8"
    UINT16 = "UINT16"
    UINT32 = "UINT32"
    UINT64 = "UINT64"
    INT8 = "INT8"
    INT16 = "INT16"
    INT32 = "INT32"
    INT64 = "INT64"
    FP16 = "FP16"
    BF16 = "BF16"
    FP32 = "FP32"
    FP64 = "FP64"
    BYTES = "BYTES"

    @property
    def numpy(self) -> np.dtype[Any]:
        """Return the numpy dtype: `object` for BYTES, `ml_dtypes.bfloat16` for BF16 (UNAVAILABLE without ml_dtypes)."""
        return _numpy(self)

    @staticmethod
    def of(dtype: np.dtype[Any]) -> DataType | None:
        """Return the data type of a numpy dtype in either byte order, or None; strings and objects are BYTES."""
        if dtype.kind in "OSU":
            return DataType.BYTES
        return _BY_NUMPY_NAME.get(dtype.name)


_NUMPY_NAMES = {
    DataType.BOOL: "bool", DataType.FP16: "float16", DataType.FP32: "float32", DataType.FP64: "float64",
    DataType.BF16: "bfloat16", DataType.BYTES: "object",
}  # fmt: skip
_BY_NUMPY_NAME = {_NUMPY_NAMES.get(dtype, dtype.value.lower()): dtype for dtype in DataType}


@cache
def _numpy(dtype: DataType) -> np.dtype[Any]:
    name = _NUMPY_NAMES.get(dtype, dtype.value.lower())
    if dtype is not DataType.BF16:
        return np.dtype(name)
    try:
        import ml_dtypes
    except ImportError as error:
        raise fail(ErrorCode.UNAVAILABLE, "BF16 needs the package ml_dtypes", "run: pip install ml_dtypes") from error
    bfloat16: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)
    return bfloat16


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """Name, dtype and shape of one input or output."""

    name: str
    dtype: DataType
    shape: tuple[Dim, ...] | None
    """One entry a dimension, () for a scalar, None where the rank is not known."""

    def __str__(self) -> str:
        return f"{self.name} {self.dtype}{shape_text(self.shape)}"


@dataclass(frozen=True, slots=True)
class Signature:
    """The inputs and outputs of a model, in the model's own order."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    omitted: tuple[tuple[str, str], ...] = ()
    """Outputs that are no tensors, and so are not served: the name, and the engine's word for the type."""


def shape_text(shape: Sequence[Dim] | None) -> str:
    """Return a shape as users read it: `[?,3,height,224]`."""
    if shape is None:
        return "[...]"
    return "[" + ",".join("?" if dim is None else str(dim) for dim in shape) + "]"


def did_you_mean(word: str, known: Sequence[str], what: str) -> str:
    """Return a hint: the known word that is near, or all of them."""
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    if near:
        return f"did you mean `{near[0]}`?"
    return f"{what} are {', '.join(f'`{name}`' for name in known)}" if known else f"there are no {what}"


DeviceView: TypeAlias = Callable[[Any, TensorSpec], Any | None]
"""Returns an array on a device as the engine reads it, with `shape` and `size`; None for what lies elsewhere."""


class InputCheck:
    """Checks the inputs of requests against a signature, and hands the engine plain arrays.

    What comes out is native-endian, C-contiguous and aligned; it is the caller's own array where that was so
    already, and a copy where not. Nothing is cast. Thread-safe.
    """

    __slots__ = ("_by_name", "_device_view", "_specs")

    def __init__(self, specs: Sequence[TensorSpec], device_view: DeviceView | None = None) -> None:
        """`device_view` tells arrays on the engine's own device, which pass through without a copy."""
        self._device_view = device_view
        self._specs = tuple(
            (spec, spec.name, _exact(spec.dtype), None if spec.shape is None else len(spec.shape), _fixed(spec))
            for spec in specs
        )
        self._by_name = {spec.name for spec in specs}

    def __call__(self, inputs: Mapping[str, Any]) -> dict[str, Array]:
        """Return the arrays by name in the model's order; raise INVALID_ARGUMENT that names the input."""
        if (type(inputs) is not dict and not isinstance(inputs, Mapping)) or len(inputs) != len(self._specs):
            raise self._names(inputs)
        checked: dict[str, Array] = {}
        for spec, name, dtype, rank, fixed in self._specs:
            try:
                array = inputs[name]
            except KeyError:
                raise self._names(inputs) from None
            on_device = False
            if type(array) is not np.ndarray or array.dtype is not dtype:
                view = None if self._device_view is None else self._device_view(array, spec)
                on_device = view is not None
                array = view if on_device else _as_array(array, spec)
            if rank is not None:
                shape = array.shape
                if len(shape) != rank:
                    raise _mismatch(spec, array)
                for axis, size in fixed:
                    if shape[axis] != size:
                        raise _mismatch(spec, array)
            if not on_device:
                flags = array.flags
                if not (flags.c_contiguous and flags.aligned):
                    array = np.require(array, requirements=["C", "A"]).reshape(array.shape)
            checked[name] = array
        return checked

    def _names(self, inputs: object) -> Exception:
        if not isinstance(inputs, Mapping):
            return fail(ErrorCode.INVALID_ARGUMENT, f"inputs is a {type(inputs).__name__}, not a mapping of names")
        known = [name for _, name, *_ in self._specs]
        unknown = [name for name in inputs if name not in self._by_name]
        if unknown:
            hint = did_you_mean(str(unknown[0]), known, "inputs")
            return fail(ErrorCode.INVALID_ARGUMENT, f"`{unknown[0]}` is not an input of the model", hint)
        missing = ", ".join(f"`{name}`" for name in known if name not in inputs)
        return fail(ErrorCode.INVALID_ARGUMENT, f"input {missing} is missing", "the model takes " + self._described())

    def _described(self) -> str:
        return ", ".join(str(spec) for spec, *_ in self._specs)


def _exact(dtype: DataType) -> np.dtype[Any] | None:
    """Return the numpy dtype that needs no further look; None for strings, whose elements are looked at."""
    return None if dtype is DataType.BYTES else dtype.numpy


def _fixed(spec: TensorSpec) -> tuple[tuple[int, int], ...]:
    return tuple((axis, dim) for axis, dim in enumerate(spec.shape or ()) if isinstance(dim, int))


def _mismatch(spec: TensorSpec, array: Array) -> Exception:
    message = f"input `{spec.name}` has shape {shape_text(array.shape)}, the model takes {shape_text(spec.shape)}"
    return fail(ErrorCode.INVALID_ARGUMENT, message)


def _as_array(value: Any, spec: TensorSpec) -> Array:
    """Return `value` as an array of the dtype in native byte order; the slow path of the check."""
    array = _host_array(value, spec)
    found = DataType.of(array.dtype)
    if found is not spec.dtype:
        message = f"input `{spec.name}` is {found or array.dtype}, the model takes {spec.dtype}"
        raise fail(ErrorCode.INVALID_ARGUMENT, message, f"convert it: `{spec.name}.astype('{spec.dtype.numpy.name}')`")
    if spec.dtype is DataType.BYTES:
        return _strings(array, spec)
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def _host_array(value: Any, spec: TensorSpec) -> Array:
    if isinstance(value, np.ndarray):
        return value if type(value) is np.ndarray else _plain(value, spec)
    if isinstance(value, np.generic):
        return np.asarray(value)
    if hasattr(value, "__dlpack__") and hasattr(value, "__dlpack_device__"):
        kind = value.__dlpack_device__()[0]
        if kind == 1:
            return _from_dlpack(value, spec)
        raise fail(
            ErrorCode.INVALID_ARGUMENT,
            f"input `{spec.name}` lies on another device (DLPack device type {kind}), the model runs on the CPU",
            f"bring it to the host: `{spec.name}.cpu()`",
        )
    raise fail(
        ErrorCode.INVALID_ARGUMENT,
        f"input `{spec.name}` is a {type(value).__name__}, not an array",
        f"wrap it: `numpy.asarray({spec.name}, dtype='{spec.dtype.numpy.name}')`",
    )


def _from_dlpack(value: Any, spec: TensorSpec) -> Array:
    try:
        return np.asarray(np.from_dlpack(value))
    except Exception as error:
        message = f"input `{spec.name}` is a {type(value).__name__} that does not give its data: {error}"
        raise fail(ErrorCode.INVALID_ARGUMENT, message, "pass it as a numpy array", cause=repr(error)) from error


def _plain(value: Array, spec: TensorSpec) -> Array:
    if isinstance(value, np.ma.MaskedArray):
        message = f"input `{spec.name}` is a masked array, and no engine knows masks"
        raise fail(ErrorCode.INVALID_ARGUMENT, message, f"fill it: `{spec.name}.filled(...)`")
    return np.asarray(value)


def _strings(array: Array, spec: TensorSpec) -> Array:
    for value in array.flat:
        if not isinstance(value, str | bytes):
            message = f"input `{spec.name}` holds a {type(value).__name__}, the model takes strings (BYTES)"
            raise fail(ErrorCode.INVALID_ARGUMENT, message)
    return array if array.dtype.kind == "O" else array.astype(object)
