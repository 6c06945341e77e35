"""`DeviceArray`: an array on a GPU: a result, or a view of the array of another library. `JoinedArray`: several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import repeat
from math import prod
from typing import Any

import numpy as np

from aegisrt.core.result import ErrorCode, ResultError, fail
from aegisrt.core.tensor import Array, DataType, DeviceView, TensorSpec
from aegisrt.devices.cuda.context import cuda_context
from aegisrt.devices.cuda.dlpack import read_capsule
from aegisrt.devices.cuda.memory import ResultMemory

LEGACY_STREAM = 1
"""`CU_STREAM_LEGACY`: the default stream, which libraries use unless they choose another."""
PER_THREAD_STREAM = 2
"""`CU_STREAM_PER_THREAD`: a default stream for each thread."""
_CUDA = 2
"""`kDLCUDA`."""


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class DeviceArray:
    """A C-contiguous array in a GPU's memory; torch, cupy, numba and pycuda use it without a copy.

    https://numba.readthedocs.io/en/stable/cuda/cuda_array_interface.html
    """

    pointer: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    ordinal: int = 0
    """The number of the GPU."""
    owner: Any = None
    """Keeps the memory alive."""
    stream: int | None = None
    """The stream that still writes it, to be waited for; None: the data is complete."""

    @property
    def size(self) -> int:
        """Number of elements."""
        return prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of the data."""
        return prod(self.shape) * self.dtype.itemsize

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        """Version 3; the data is complete, so a reader need not wait for a stream.

        The reader's own work on the memory must have ended, or be on the default stream, when the array is released: a
        later result may be in the same memory.
        """
        if isinstance(self.owner, ResultMemory):
            self.owner.shown = True
        return {
            "shape": self.shape,
            "typestr": _typestr(self.dtype),
            "data": (self.pointer if prod(self.shape) else 0, False),
            "strides": None,
            "stream": None,
            "version": 3,
        }

    def numpy(self) -> Array:
        """Return a copy on the host; waits for the stream that writes it."""
        host: Array = np.empty(self.shape, self.dtype)
        if host.nbytes:
            context = cuda_context(self.ordinal)
            with context:
                if self.stream is not None:
                    context.check("cuStreamSynchronize", context.driver.cuStreamSynchronize(self.stream))
                try:
                    context.pycuda.memcpy_dtoh(host.view(np.uint8).reshape(-1), self.pointer)
                except context.pycuda.Error as error:
                    raise context.translate(error) from error
        return host

    def rows(self, start: int, end: int) -> DeviceArray:
        """Return some of the rows, in the same memory."""
        pointer = self.pointer + start * prod(self.shape[1:]) * self.dtype.itemsize
        owner = self if self.owner is None else self.owner
        return replace(self, pointer=pointer, shape=(end - start, *self.shape[1:]), owner=owner)

    @staticmethod
    def joined(parts: Sequence[DeviceArray]) -> JoinedArray:
        """Return arrays whose rows follow each other; nothing is copied."""
        return JoinedArray(tuple(parts))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        if copy is False:
            raise ValueError("an array on a GPU reaches the host only as a copy")
        host = self.numpy()
        return host if dtype is None else host.astype(dtype)


@dataclass(frozen=True, slots=True, eq=False)
class JoinedArray:
    """The rows of several arrays on one GPU, as one input; an instance copies them to its own memory on the GPU."""

    parts: tuple[DeviceArray, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """The rows of all parts, and the other dimensions, which are equal."""
        return (sum(part.shape[0] for part in self.parts), *self.parts[0].shape[1:])

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of each part."""
        return self.parts[0].dtype

    @property
    def size(self) -> int:
        """Number of elements."""
        return sum(part.size for part in self.parts)

    @property
    def nbytes(self) -> int:
        """Bytes of the data."""
        return sum(part.nbytes for part in self.parts)

    def numpy(self) -> Array:
        """Return a copy on the host."""
        return np.concatenate([part.numpy() for part in self.parts])


def _typestr(dtype: np.dtype[Any]) -> str:
    """Return the interface's name of a dtype; it has none for BF16, so BF16 is passed as UINT16 bits."""
    return "<u2" if dtype.name == "bfloat16" else dtype.str


def device_array(value: Any, spec: TensorSpec) -> DeviceArray | None:
    """Return a view of an array on a GPU, by `__cuda_array_interface__` or DLPack; None for anything else.

    INVALID_ARGUMENT: if its dtype is not the model's, or if it is not C-contiguous.
    """
    if isinstance(value, np.ndarray | np.generic):
        return None
    array = value if isinstance(value, DeviceArray) else _view(value, spec.name)
    if array is not None and array.dtype != spec.dtype.numpy:
        dtype = DataType.of(array.dtype) or array.dtype
        raise fail(ErrorCode.INVALID_ARGUMENT, f"input `{spec.name}` is {dtype}, the model takes {spec.dtype}")
    return array


def arrays_on(ordinal: int) -> DeviceView:
    """Return a `device_array` for a model on one GPU: a function that raises INVALID_ARGUMENT for another GPU's memory.

    Otherwise a kernel would read an illegal address, and the process would lose the device. The view names the model's
    GPU, because `__cuda_array_interface__` names none. The view waits for this thread's own default stream, because
    another thread may run the model.
    """
    context = cuda_context(ordinal)

    def view(value: Any, spec: TensorSpec) -> DeviceArray | JoinedArray | None:
        if isinstance(value, JoinedArray):
            return JoinedArray(tuple([part for part in map(of_one, value.parts, repeat(spec)) if part is not None]))
        return of_one(value, spec)

    def of_one(value: Any, spec: TensorSpec) -> DeviceArray | None:
        array = device_array(value, spec)
        if array is None or not array.size:
            return array
        with context.current():
            other = context.driver.other_gpu(array.pointer, ordinal)
        if other is not None:
            message = f"input `{spec.name}` is on GPU {other}, and the model runs on GPU {ordinal}"
            raise fail(ErrorCode.INVALID_ARGUMENT, message, f"copy it there first: `{spec.name}.to('cuda:{ordinal}')`")
        if array.stream == PER_THREAD_STREAM:
            with context.current():
                context.check("cuStreamSynchronize", context.driver.cuStreamSynchronize(array.stream))
            return replace(array, ordinal=ordinal, stream=None)
        return array if array.ordinal == ordinal else replace(array, ordinal=ordinal)

    return view


def _view(value: Any, name: str) -> DeviceArray | None:
    try:
        interface = getattr(value, "__cuda_array_interface__", None)
    except (TypeError, RuntimeError):  # torch raises for dtypes that the interface lacks, and for tensors on the CPU
        interface = None
    if interface is None:
        return by_dlpack(value, name)
    if "stream" in interface:
        return _by_interface(interface, value, name)
    return by_dlpack(value, name) or _by_interface(interface, value, name)  # torch passes its stream by DLPack only


def _by_interface(interface: Mapping[str, Any], value: Any, name: str) -> DeviceArray:
    shape, dtype = tuple(interface["shape"]), np.dtype(interface["typestr"])
    strides = interface.get("strides")
    if not dtype.isnative:
        message = f"input `{name}` is not in this machine's byte order"
        raise fail(ErrorCode.INVALID_ARGUMENT, message, "convert it on the GPU first")
    if strides is not None and not _is_contiguous(shape, strides, dtype.itemsize):
        raise not_contiguous(name)
    stream = interface.get("stream", LEGACY_STREAM)
    return DeviceArray(int(interface["data"][0] or 0), shape, dtype, owner=value, stream=stream)


def _is_contiguous(shape: tuple[int, ...], strides: Sequence[int], step: int) -> bool:
    """Return whether strides are those of C order; a dimension of size 1 may have any, and torch gives it 1."""
    if not prod(shape):
        return True
    for size, stride in zip(reversed(shape), reversed(strides), strict=True):
        if size > 1 and stride != step:
            return False
        step *= size
    return True


def by_dlpack(value: Any, name: str) -> DeviceArray | None:
    """Return a view by DLPack of an array on a GPU; its library makes the default stream wait for pending writes."""
    if not (hasattr(value, "__dlpack__") and hasattr(value, "__dlpack_device__")):
        return None
    kind, ordinal = value.__dlpack_device__()
    if int(kind) != _CUDA:
        return None
    context = cuda_context(int(ordinal))
    with context.current():  # torch exports from the current device only, and uses that device's streams
        try:
            capsule = value.__dlpack__(stream=LEGACY_STREAM)
        except BufferError as error:  # a tensor of torch that requires a gradient
            message = f"the library of input `{name}` refuses to export it: {error}"
            raise fail(ErrorCode.INVALID_ARGUMENT, message, cause=repr(error)) from error
    tensor = read_capsule(capsule)
    if tensor is None:
        raise fail(ErrorCode.INVALID_ARGUMENT, f"input `{name}` has a dtype that AegisRT does not support")
    if tensor.strides is not None and not _is_contiguous(tensor.shape, tensor.strides, 1):
        raise not_contiguous(name)
    return DeviceArray(tensor.pointer, tensor.shape, tensor.dtype, int(ordinal), owner=capsule, stream=LEGACY_STREAM)


def not_contiguous(name: str) -> ResultError:
    """Return the error for an array with gaps, or with its dimensions in another order."""
    message = f"input `{name}` is on the GPU, but has gaps or its dimensions in another order"
    return fail(ErrorCode.INVALID_ARGUMENT, message, f"pass a contiguous copy: `{name}.contiguous()`")
