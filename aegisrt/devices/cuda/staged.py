"""`StagedTensor`: a tensor's memory on a GPU, and the page-locked memory on the host that it is copied through."""

from __future__ import annotations

import contextlib
from ctypes import memmove
from typing import Any

import numpy as np

from aegisrt.core.tensor import Array
from aegisrt.devices.cuda.context import CudaContext
from aegisrt.devices.cuda.memory import DeviceBuffer, PinnedBuffer, copy_to_device, copy_to_host, staging_pool


class StagedTensor:
    """Grows on demand, which changes its addresses. Not thread-safe: one thread at a time."""

    def __init__(self, context: CudaContext) -> None:
        self._context = context
        self._pool = staging_pool(context)
        self._pinned: PinnedBuffer | None = None
        self._device: DeviceBuffer | None = None
        self.pointer = 0
        """The address on the GPU; 0 before any memory was reserved there."""

    @property
    def device_bytes(self) -> int:
        """Bytes held on the GPU."""
        return self._device.size_bytes if self._device is not None else 0

    def reserve(self, size_bytes: int, *, device: bool = True) -> bool:
        """Make room; return whether an address changed. After RESOURCE_EXHAUSTED nothing has changed."""
        pinned, fresh = self._pinned, self._device
        if pinned is None or pinned.size_bytes < size_bytes:
            pinned = self._pool.take(size_bytes)
        if device and (fresh is None or fresh.size_bytes < size_bytes):
            try:
                fresh = DeviceBuffer(self._context, size_bytes)
            except BaseException:
                if pinned is not self._pinned:
                    self._pool.release(pinned)
                raise
        if pinned is self._pinned and fresh is self._device:
            return False
        old_pinned, old_device = self._pinned, self._device
        self._pinned, self._device, self.pointer = pinned, fresh, fresh.pointer if fresh is not None else 0
        if old_pinned is not None and old_pinned is not pinned:
            self._pool.release(old_pinned)
        if old_device is not None and old_device is not fresh:
            old_device.free()
        return True

    @property
    def address(self) -> int:
        """The address of the host's side."""
        assert self._pinned is not None, "reserve comes first"
        return self._pinned.address

    def write(self, value: Array) -> None:
        """Copy a C-contiguous array into the host's side."""
        memmove(self.address, value.ctypes.data, value.nbytes)

    def view(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        """Return the host's side as an array, without a copy; invalid once `reserve` changed an address."""
        assert self._pinned is not None, "reserve comes first"
        return self._pinned.view(shape, dtype)

    def read(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        """Return a copy of the host's side; the stream must be done with it."""
        return self.view(shape, dtype).copy()

    def to_device(self, size_bytes: int, stream: int) -> None:
        """Enqueue the copy to the GPU; the context must be current."""
        copy_to_device(self._context, self.pointer, self.address, size_bytes, stream)

    def to_host(self, size_bytes: int, stream: int, source: int | None = None) -> None:
        """Enqueue the copy to the host from `source`, an address on the GPU; default: its own memory there."""
        copy_to_host(self._context, self.address, source or self.pointer, size_bytes, stream)

    def free(self) -> None:
        """Free all of it; may be called again."""
        pinned, device = self._pinned, self._device
        self._pinned = self._device = None  # first: no buffer may be released to the pool twice
        self.pointer = 0
        if pinned is not None:
            self._pool.release(pinned)
        if device is not None:
            device.free()

    def __del__(self) -> None:
        with contextlib.suppress(Exception):  # no caller to report to: the garbage collector runs this
            self.free()
