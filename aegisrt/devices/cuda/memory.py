"""Memory on a GPU, and page-locked memory on the host that the GPU reads and writes directly."""

from __future__ import annotations

import atexit
import contextlib
import threading
from collections.abc import Callable
from ctypes import memmove
from math import prod
from typing import Any, Generic, TypeVar

import numpy as np

from aegisrt.core.result import ErrorCode, ResultError
from aegisrt.core.tensor import Array
from aegisrt.devices.cuda.context import CudaContext
from aegisrt.devices.immortal import immortalize

_SMALLEST = 512
"""Bytes; also the largest alignment that an engine may need (TensorRT needs 256)."""


class DeviceBuffer:
    """Memory of a GPU. `pointer` is a device address. Free it, in any thread."""

    def __init__(self, context: CudaContext, size_bytes: int) -> None:
        """Allocate it. It is never empty, because engines refuse address 0.

        RESOURCE_EXHAUSTED: if the GPU has not enough memory left.
        """
        self._context = context
        self.size_bytes = max(size_bytes, _SMALLEST)
        self.was_shown = False
        """Whether the address of a former result in it was passed to another library."""
        self._allocation: Any = None
        with context:
            try:
                self._allocation = context.pycuda.mem_alloc(self.size_bytes)
            except context.pycuda.Error as error:
                raise context.translate(error) from error
        self.pointer = int(self._allocation)

    def free(self) -> None:
        """Free it; may be called again."""
        allocation, self._allocation = self._allocation, None
        self.pointer = 0
        if allocation is not None:
            self._context.free(allocation)

    def __del__(self) -> None:
        with contextlib.suppress(Exception):  # no caller to report to: the garbage collector runs this
            self.free()


class PinnedBuffer:
    """Page-locked host memory, as bytes in a numpy array."""

    def __init__(self, context: CudaContext, size_bytes: int) -> None:
        """Allocate it, for all contexts.

        RESOURCE_EXHAUSTED: if the host refuses.
        """
        self._context = context
        self.size_bytes = size_bytes
        self._allocation: Any = None
        with context:
            try:
                flags = context.pycuda.host_alloc_flags.PORTABLE
                self._array: Array = context.pycuda.pagelocked_empty(size_bytes, np.uint8, mem_flags=flags)
            except context.pycuda.Error as error:
                raise context.translate(error) from error
        self._allocation = self._array.base
        self.address = int(self._array.ctypes.data)

    def write(self, value: Array) -> None:
        """Copy a C-contiguous array to its beginning."""
        memmove(self.address, value.ctypes.data, value.nbytes)

    def read(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        """Return a copy of its beginning as an array."""
        copy = np.empty(shape, dtype)
        memmove(copy.ctypes.data, self.address, copy.nbytes)
        return copy

    def view(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        """Return its beginning as an array, without a copy; invalid once it is freed or released to a pool."""
        size = prod(shape) * dtype.itemsize
        return self._array[:size].view(dtype).reshape(shape)

    def free(self) -> None:
        """Free it."""
        allocation, self._allocation = self._allocation, None
        if allocation is not None:
            self._context.free(allocation)

    def __del__(self) -> None:
        """Leave the memory to pycuda, which frees it once no view of it is left; unless the device is lost."""
        with contextlib.suppress(Exception):  # no caller to report to: the garbage collector runs this
            if self._context.lost is not None:
                self.free()


B = TypeVar("B", DeviceBuffer, PinnedBuffer)


class BufferPool(Generic[B]):
    """Buffers by size, kept for the next use: to allocate or free one takes the driver long, and may wait for the GPU.

    Thread-safe. Released buffers are kept up to `keep_bytes`.
    """

    def __init__(self, context: CudaContext, kind: type[B], *, keep_bytes: int = 256 * 2**20) -> None:
        self._context = context
        self._kind: Callable[[CudaContext, int], B] = kind
        self._keep_bytes = keep_bytes
        self._kept_bytes = 0
        self._free: dict[int, list[B]] = {}
        self._lock = threading.RLock()
        """Reentrant, because the garbage collector may release a buffer at any time, also in a thread that holds it."""

    def take(self, size_bytes: int) -> B:
        """Return a buffer of at least this size.

        RESOURCE_EXHAUSTED: if there is no memory, also after all kept buffers were freed.
        """
        size = 1 << (max(size_bytes, _SMALLEST) - 1).bit_length()
        with self._lock:
            kept = self._free.get(size)
            if kept:
                self._kept_bytes -= size
                return kept.pop()
        try:
            return self._kind(self._context, size)
        except ResultError as refused:
            if refused.error.code is not ErrorCode.RESOURCE_EXHAUSTED or not self._kept_bytes:
                raise
        self.clear()
        return self._kind(self._context, size)

    def release(self, buffer: B) -> None:
        """Keep a buffer for the next use, or free it if enough are kept."""
        with self._lock:
            if self._kept_bytes + buffer.size_bytes <= self._keep_bytes:
                self._free.setdefault(buffer.size_bytes, []).append(buffer)
                self._kept_bytes += buffer.size_bytes
                return
        buffer.free()

    def clear(self) -> None:
        """Free all kept buffers."""
        with self._lock:
            kept = [buffer for buffers in self._free.values() for buffer in buffers]
            self._free.clear()
            self._kept_bytes = 0
        for buffer in kept:
            buffer.free()

    def close(self) -> None:
        """Free all kept buffers, and from now on each that is released."""
        self._keep_bytes = -1
        self.clear()


class ResultPool:
    """Memory for the results of one instance on the GPU, used again without an allocation. Thread-safe."""

    def __init__(self, context: CudaContext) -> None:
        self._pool = BufferPool(context, DeviceBuffer)
        self._used: dict[int, DeviceBuffer] = {}
        """Memory of results, by address: the garbage collector must not find a buffer together with its result, because
        it would call `__del__` of both."""

    def take(self, size_bytes: int) -> tuple[ResultMemory, bool]:
        """Return memory, and whether another library may still read a former result in it."""
        buffer = self._pool.take(size_bytes)
        self._used[buffer.pointer] = buffer
        return ResultMemory(self, buffer.pointer), buffer.was_shown

    def release(self, pointer: int, *, shown: bool) -> None:
        """Keep the memory of a result for the next one; `shown` as in `ResultMemory`."""
        buffer = self._used.pop(pointer)
        buffer.was_shown = shown
        self._pool.release(buffer)

    def close(self) -> None:
        """Free what is kept; memory of results that are held is freed with them."""
        self._pool.close()


class ResultMemory:
    """Memory of one result on the GPU; returns to its pool once nothing refers to it."""

    __slots__ = ("_pool", "pointer", "shown")

    def __init__(self, pool: ResultPool, pointer: int) -> None:
        self._pool = pool
        self.pointer = pointer
        self.shown = False
        """Whether the address was passed to another library: its work may still read the memory later."""

    def __del__(self) -> None:
        with contextlib.suppress(Exception):  # no caller to report to: the garbage collector runs this
            self._pool.release(self.pointer, shown=self.shown)


def copy_to_device(context: CudaContext, target: int, source: int, size_bytes: int, stream: int) -> None:
    """Enqueue a copy from page-locked memory to the GPU; the context must be current."""
    if size_bytes and (code := context.driver.cuMemcpyHtoDAsync_v2(target, source, size_bytes, stream)):
        context.check("cuMemcpyHtoDAsync", code)


def copy_to_host(context: CudaContext, target: int, source: int, size_bytes: int, stream: int) -> None:
    """Enqueue a copy from the GPU to page-locked memory; the context must be current."""
    if size_bytes and (code := context.driver.cuMemcpyDtoHAsync_v2(target, source, size_bytes, stream)):
        context.check("cuMemcpyDtoHAsync", code)


def copy_on_device(context: CudaContext, target: int, source: int, size_bytes: int, stream: int) -> None:
    """Enqueue a copy inside the GPU; the context must be current."""
    if size_bytes and (code := context.driver.cuMemcpyDtoDAsync_v2(target, source, size_bytes, stream)):
        context.check("cuMemcpyDtoDAsync", code)


_pools: dict[int, BufferPool[PinnedBuffer]] = {}
_pools_lock = threading.Lock()


@atexit.register
def _clear_pools() -> None:
    """Free all kept buffers while the driver is still there; pycuda warns of each that it has to free later.

    Keep those of a device that is lost, and in a forked child: there another thread may have held the pool's lock.
    """
    with contextlib.suppress(ResultError):
        for pool in _pools.values():
            if pool._context.lost is not None:
                immortalize(pool)
            else:
                pool.clear()


def staging_pool(context: CudaContext) -> BufferPool[PinnedBuffer]:
    """Return the pool of a device, shared by all tensors that are staged to it."""
    with _pools_lock:
        pool = _pools.get(context.ordinal)
        if pool is None or pool._context is not context:
            pool = _pools[context.ordinal] = BufferPool(context, PinnedBuffer)
        return pool
