"""`DataType`, `TensorSpec` and `Signature`: the inputs and outputs of a model."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cache
from typing import Any, TypeAlias, TypeGuard

import numpy as np
import numpy.typing as npt

from aegisrt.core.result import ErrorCode, fail
from aegisrt.core.suggest import escaped

Array: TypeAlias = npt.NDArray[Any]
Dim: TypeAlias = int | str | None
"""A dimension: its size, the name of a dynamic one, or None for a dynamic one without a name."""
_PLACEHOLDERS = frozenset({"none", "null", "unk", "unknown", "dynamic", "any"})
_MOST_DIMS_SHOWN = 64
"""As many as numpy's arrays have."""
_LETTER = re.compile(r"[^\W\d_]")


class DataType(StrEnum):
    """Element types by their Open Inference Protocol names, and BF16 as Triton names it."""

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
        try:
            return _BY_NUMPY[dtype]
        except KeyError:
            return DataType.BYTES if dtype.kind in "OSU" else _BY_NUMPY_NAME.get(dtype.name)


_NUMPY_NAMES = {
    DataType.BOOL: "bool", DataType.FP16: "float16", DataType.FP32: "float32", DataType.FP64: "float64",
    DataType.BF16: "bfloat16", DataType.BYTES: "object",
}  # fmt: skip
_BY_NUMPY_NAME = {_NUMPY_NAMES.get(dtype, dtype.value.lower()): dtype for dtype in DataType}
_BY_NUMPY = {np.dtype(name): dtype for name, dtype in _BY_NUMPY_NAME.items() if dtype is not DataType.BF16}
"""For those that numpy has itself, since `dtype.name` takes a microsecond."""


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


@dataclass(frozen=True, slots=True, repr=False)
class TensorSpec:
    """Name, dtype and shape of one input or output."""

    name: str
    """The name in the model's file."""
    dtype: DataType
    """The element type."""
    shape: tuple[Dim, ...] | None
    """One entry for each dimension, () for a scalar, None if the rank is unknown."""
    optional: bool = False
    """Of an input: the model has a default value for it, so that a request may leave it out."""

    def __repr__(self) -> str:
        return f"<TensorSpec: {escaped(str(self))}>"

    def __str__(self) -> str:
        return f"{self.name} {self.dtype}{shape_text(self.shape)}{' (optional)' if self.optional else ''}"


@dataclass(frozen=True, slots=True, repr=False)
class Signature:
    """The inputs and outputs of a model, in the model's own order; optional inputs come last."""

    inputs: tuple[TensorSpec, ...]
    """What a request may contain."""
    outputs: tuple[TensorSpec, ...]
    """What a result may contain."""
    omitted: tuple[tuple[str, str], ...] = ()
    """Outputs that are not served, since they are not tensors of a known element type: the name, and the type."""
    defaults_fixed: tuple[str, ...] = ()
    """Optional inputs of the model that the engine computes as constants: requests cannot give them."""

    def __repr__(self) -> str:
        inputs, outputs = (", ".join(map(str, specs)) or "none" for specs in (self.inputs, self.outputs))
        return f"<Signature: {escaped(f'{inputs} -> {outputs}')}>"

    @property
    def required(self) -> tuple[TensorSpec, ...]:
        """The inputs that each request must have."""
        return tuple(spec for spec in self.inputs if not spec.optional)

    def with_defaults_fixed(self) -> Signature:
        """Return the signature for an engine that computes optional inputs as constants."""
        fixed = tuple(spec.name for spec in self.inputs if spec.optional)
        return replace(self, inputs=self.required, defaults_fixed=fixed)


DeviceView: TypeAlias = Callable[[Any, TensorSpec], Any | None]
"""Returns an array on the engine's device as the engine reads it, with `shape` and `size`; None for any other value."""


def shape_text(shape: Sequence[Dim] | None) -> str:
    """Return a shape as messages show it: `[?,3,height,224]`; a model may declare a million dimensions."""
    if shape is None:
        return "[...]"
    if len(shape) > _MOST_DIMS_SHOWN:
        return f"{shape_text(shape[:_MOST_DIMS_SHOWN])[:-1]},... {len(shape)} dimensions]"
    return "[" + ",".join("?" if dim is None else str(dim) for dim in shape) + "]"


def is_name(dim: Dim) -> TypeGuard[str]:
    """Return whether a dimension has a name; exporters write `?`, `None` or `-1` for each one without a name."""
    return isinstance(dim, str) and _LETTER.search(dim) is not None and dim.lower() not in _PLACEHOLDERS


def shared_names(shape: Sequence[Dim]) -> list[str | None]:
    """Return each dimension's name, and None for a fixed size or a name that does not mean one size.

    Some exporters write one name for the height and the width: ONNX Runtime accepts other sizes for each. To TensorRT
    all dimensions of one name are equal, in the profiles and at each call (`ITensor::setDimensionName`).
    """
    names = [dim if is_name(dim) else None for dim in shape]
    return [name if names.count(name) == 1 else None for name in names]
