"""Arrays in and out of TVM: handed over without a copy where that is safe, else through aligned buffers.

Generated code loads whole vectors: an address that is no multiple of 64 bytes kills the process
(https://github.com/apache/tvm/blob/main/include/tvm/runtime/device_api.h, kAllocAlignment).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from aegisrt.core.tensor import Array, DataType, TensorSpec

_ALIGNMENT = 64


class Stage:
    """Brings one input of a slot to TVM; holds a buffer for arrays that cannot be handed over."""

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
        """Return a TVM tensor of the array's values: over its memory, or over the buffer, where they were copied to.

        An array without elements may have any strides, of which TVM takes one sort alone: it gets a tensor of TVM's.
        """
        if not array.size:
            return self._empty(array.shape, self._name)
        if not self._is_bf16 and array.flags.writeable:
            tensor = self._from_dlpack(array)
            if tensor.data_ptr() % _ALIGNMENT == 0:
                return tensor
        if array.shape != self._shape:
            self._make_room(array.shape)
        np.copyto(self._array, array)
        return self._tensor

    def _make_room(self, shape: tuple[int, ...]) -> None:
        if self._is_bf16:
            plain = self._empty(shape, "uint16")
            self._array = np.from_dlpack(plain).view(self._dtype)
            self._tensor = plain._create_view(shape, "bfloat16")
        else:
            self._array = aligned(shape, self._dtype)
            self._tensor = self._from_dlpack(self._array)
        self._shape = shape


def aligned(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """Return an uninitialized array at an address that TVM takes."""
    size = dtype.itemsize
    for dim in shape:
        size *= dim
    room = np.empty(size + _ALIGNMENT, np.uint8)
    start = -room.ctypes.data % _ALIGNMENT
    return room[start : start + size].view(dtype).reshape(shape)


class Handover:
    """Turns what TVM answered into arrays that the caller owns, and copies where something else owns the memory."""

    __slots__ = ("_specs",)

    def __init__(self, specs: Sequence[TensorSpec], computed: Sequence[bool]) -> None:
        self._specs = tuple(
            (spec.name, spec.dtype.numpy, spec.dtype is DataType.BF16, fresh)
            for spec, fresh in zip(specs, computed, strict=True)
        )

    def __call__(self, answered: Sequence[Any], taken: Sequence[Any], wanted: Sequence[str]) -> list[Array]:
        """Return the wanted outputs in the order asked; `taken` are the tensors that TVM was given.

        An output may be a view of an input or of another output (a reshape copies nothing), or a constant.
        """
        lent = [(start := tensor.data_ptr(), start + _bytes(tensor)) for tensor in taken]
        seen: set[int] = set()
        arrays = {}
        for (name, dtype, is_bf16, fresh), value in zip(self._specs, answered, strict=True):
            if name not in wanted:
                continue
            if not hasattr(value, "data_ptr"):
                arrays[name] = np.asarray(value, dtype)
                continue
            at = value.data_ptr()
            array = _bf16(value, dtype) if is_bf16 else np.from_dlpack(value)
            if array.dtype != dtype:
                array = array.astype(dtype)
            elif not fresh or at in seen or any(start <= at < end for start, end in lent):
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
