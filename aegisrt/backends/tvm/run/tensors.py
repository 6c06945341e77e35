"""`Stage` and `Handover`: arrays in and out of TVM, without a copy if that is safe, else through aligned buffers.

Generated code loads whole vectors: an address that is not a multiple of 64 bytes kills the process
(https://github.com/apache/tvm/blob/main/include/tvm/runtime/device_api.h, kAllocAlignment).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from aegisrt.core.tensor import Array, DataType, TensorSpec

_ALIGNMENT = 64


class Stage:
    """Converts one input of a slot to a TVM tensor; holds a buffer for arrays that must be copied."""

    __slots__ = ("_array", "_dtype", "_empty", "_from_dlpack", "_is_bf16", "_name", "_shape", "_tensor")

    def __init__(self, spec: TensorSpec) -> None:
        import tvm.runtime
        import tvm_ffi

        self._from_dlpack, self._empty = tvm_ffi.from_dlpack, tvm.runtime.empty
        self._dtype = spec.dtype.numpy
        self._name = self._dtype.name
        self._is_bf16 = spec.dtype is DataType.BF16
        self._shape: tuple[int, ...] | None = None
        self._array: Array
        self._tensor: Any

    def __call__(self, array: Array) -> Any:
        """Return a TVM tensor with the array's values: over the array's memory, or over the buffer after a copy.

        An array without elements may have strides that TVM refuses, so it is replaced by a tensor that TVM allocates.
        """
        if not array.size:
            return self._empty(array.shape, self._name)
        if not self._is_bf16 and array.flags.writeable:
            tensor = self._from_dlpack(array)
            if tensor.data_ptr() % _ALIGNMENT == 0:
                return tensor
        if array.shape != self._shape:
            self._allocate(array.shape)
        np.copyto(self._array, array)
        return self._tensor

    def _allocate(self, shape: tuple[int, ...]) -> None:
        if self._is_bf16:
            plain = self._empty(shape, "uint16")
            self._array = np.from_dlpack(plain).view(self._dtype)
            self._tensor = plain._create_view(shape, "bfloat16")
        else:
            self._array = aligned(shape, self._dtype)
            self._tensor = self._from_dlpack(self._array)
        self._shape = shape


def aligned(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """Return an uninitialized array at an address that TVM accepts."""
    size = dtype.itemsize
    for dim in shape:
        size *= dim
    buffer = np.empty(size + _ALIGNMENT, np.uint8)
    start = -buffer.ctypes.data % _ALIGNMENT
    return buffer[start : start + size].view(dtype).reshape(shape)


class Handover:
    """Turns the tensors that TVM returned into arrays that the caller owns; copies shared memory."""

    __slots__ = ("_specs",)

    def __init__(self, specs: Sequence[TensorSpec], computed: Sequence[bool]) -> None:
        self._specs = tuple(
            (spec.name, spec.dtype.numpy, spec.dtype is DataType.BF16, fresh)
            for spec, fresh in zip(specs, computed, strict=True)
        )

    def __call__(self, returned: Sequence[Any], arguments: Sequence[Any], wanted: Sequence[str]) -> list[Array]:
        """Return the wanted outputs in that order; `arguments` are the tensors of the call.

        An output may be a view of an input or of another output (a reshape copies nothing), or a constant.
        """
        borrowed = [(start := tensor.data_ptr(), start + _bytes(tensor)) for tensor in arguments]
        seen: set[int] = set()
        arrays = {}
        for (name, dtype, is_bf16, fresh), value in zip(self._specs, returned, strict=True):
            if name not in wanted:
                continue
            if not hasattr(value, "data_ptr"):
                arrays[name] = np.asarray(value, dtype)
                continue
            at = value.data_ptr()
            array = _bf16(value, dtype) if is_bf16 else np.from_dlpack(value)
            if array.dtype != dtype:
                array = array.astype(dtype)
            elif not fresh or at in seen or any(start <= at < end for start, end in borrowed):
                array = array.copy()
            seen.add(at)
            arrays[name] = array
        return [arrays[name] for name in wanted]


def _bf16(value: Any, dtype: np.dtype[Any]) -> Array:
    return np.from_dlpack(value._create_view(value.shape, "uint16")).view(dtype)


def _bytes(tensor: Any) -> int:
    size = (tensor.dtype.bits * tensor.dtype.lanes + 7) // 8
    for dim in tensor.shape:
        size *= dim
    return int(size)
