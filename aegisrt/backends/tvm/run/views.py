"""`view`: a TVM tensor over memory that is not TVM's, by DLPack (https://dmlc.github.io/dlpack)."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

_CODES = {"i": 0, "u": 1, "f": 2, "b": 6}
_BFLOAT = 4
_NAME = b"dltensor"


class _Managed(ctypes.Structure):
    """`DLManagedTensor`: a `DLTensor`, then the function that frees it."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device_kind", ctypes.c_int32),
        ("ordinal", ctypes.c_int32),
        ("rank", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.c_void_p),
        ("byte_offset", ctypes.c_uint64),
        ("manager", ctypes.c_void_p),
        ("deleter", ctypes.c_void_p),
    )


_alive: dict[int, _Managed] = {}
"""The descriptors that TVM still reads, by address."""


def _forget(address: int) -> None:
    _alive.pop(address, None)


_deleter = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(_forget)


class _Producer:
    """The object that `tvm_ffi.from_dlpack` takes a capsule from."""

    def __init__(self, managed: _Managed) -> None:
        self._managed = managed

    def __dlpack__(self, **_: Any) -> Any:
        make = ctypes.pythonapi.PyCapsule_New
        make.restype, make.argtypes = ctypes.py_object, (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)
        return make(ctypes.addressof(self._managed), _NAME, None)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._managed.device_kind, self._managed.ordinal


def view(pointer: int, shape: tuple[int, ...], dtype: np.dtype[Any], device: tuple[int, int]) -> Any:
    """Return a C-contiguous TVM tensor at an address of a device (DLPack's kind, and the number among that kind).

    The memory belongs to the caller, and must outlive the tensor.
    """
    import tvm_ffi

    code = _BFLOAT if dtype.name == "bfloat16" else _CODES[dtype.kind]
    sizes = (ctypes.c_int64 * len(shape))(*shape)
    managed = _Managed(pointer, *device, len(shape), code, dtype.itemsize * 8, 1, sizes, None, 0, None)
    managed.deleter = ctypes.cast(_deleter, ctypes.c_void_p)
    _alive[ctypes.addressof(managed)] = managed
    return tvm_ffi.from_dlpack(_Producer(managed))
