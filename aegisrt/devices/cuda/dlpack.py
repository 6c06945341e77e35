"""`read_capsule`: reads a tensor from a DLPack capsule, by the layout of dlpack.h (https://dmlc.github.io/dlpack).

The capsule frees the tensor when it is collected; so the reader keeps the capsule as long as it uses the tensor.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

import numpy as np

from aegisrt.core.tensor import DataType

_KINDS = {0: "int", 1: "uint", 2: "float", 6: "bool"}
_BFLOAT = 4


class _Device(ctypes.Structure):
    _fields_ = (("kind", ctypes.c_int32), ("ordinal", ctypes.c_int32))


class _Dtype(ctypes.Structure):
    _fields_ = (("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16))


class _Tensor(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device", _Device),
        ("rank", ctypes.c_int32),
        ("dtype", _Dtype),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


@dataclass(frozen=True, slots=True)
class CapsuleTensor:
    """A tensor in the memory of another library."""

    pointer: int
    shape: tuple[int, ...]
    strides: tuple[int, ...] | None
    """In elements; None if the tensor is C-contiguous."""
    dtype: np.dtype[Any]


def read_capsule(capsule: Any) -> CapsuleTensor | None:
    """Return the tensor of an unversioned capsule; None for a dtype that numpy and ml_dtypes lack."""
    get = ctypes.pythonapi.PyCapsule_GetPointer
    get.restype, get.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)
    tensor = _Tensor.from_address(get(capsule, b"dltensor"))
    dtype = _dtype(tensor.dtype)
    if dtype is None:
        return None
    rank = tensor.rank
    shape = tuple(tensor.shape[:rank])
    strides = tuple(tensor.strides[:rank]) if tensor.strides else None
    return CapsuleTensor((tensor.data or 0) + tensor.byte_offset, shape, strides, dtype)


def _dtype(dtype: Any) -> np.dtype[Any] | None:
    if dtype.lanes != 1:
        return None
    if dtype.code == _BFLOAT:
        return DataType.BF16.numpy if dtype.bits == 16 else None
    kind = _KINDS.get(dtype.code)
    try:
        return np.dtype("bool" if kind == "bool" else f"{kind}{dtype.bits}") if kind else None
    except TypeError:
        return None
