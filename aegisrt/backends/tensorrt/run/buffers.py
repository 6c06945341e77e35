"""`TensorBuffers`: one tensor's memory in an instance: on the GPU, or on the host for a shape tensor."""

from __future__ import annotations

from math import prod

import numpy as np

from aegisrt.backends.base.narrowing import check_fits
from aegisrt.backends.tensorrt.engine import EngineTensor
from aegisrt.core.tensor import Array, DataType
from aegisrt.devices.cuda.context import CudaContext
from aegisrt.devices.cuda.staged import StagedTensor

_INT64 = "update to TensorRT 10, which has INT64"
_ALIGNMENT = 256
"""Bytes; TensorRT requires it of every address."""


class TensorBuffers:
    """Memory of one tensor, and the conversion between the caller's dtype and the engine's."""

    def __init__(self, context: CudaContext, tensor: EngineTensor, public: DataType) -> None:
        self.tensor = tensor
        self.dtype = tensor.dtype.numpy
        self._public = public.numpy
        """The caller's dtype, which may be wider than the engine's."""
        self.converts = self._public != self.dtype
        self._context = context
        self.staged = StagedTensor(context)
        self._host: Array | None = None

    @property
    def pointer(self) -> int:
        """The address for the engine: on the GPU, or on the host for a shape tensor."""
        return self.staged.pointer if self._host is None else int(self._host.ctypes.data)

    @property
    def passes_through_host(self) -> bool:
        """Whether the caller's result exists only on the host, because it is computed or converted there."""
        return self.converts or self.tensor.on_host

    @property
    def device_bytes(self) -> int:
        """Bytes held on the GPU."""
        return self.staged.device_bytes

    def reserve(self, size_bytes: int, *, device: bool = True) -> bool:
        """Make room; return whether an address changed. After RESOURCE_EXHAUSTED nothing has changed."""
        if not self.tensor.on_host:
            return self.staged.reserve(size_bytes, device=device)
        if self._host is not None and self._host.nbytes >= size_bytes:
            return False
        size = max(size_bytes, _ALIGNMENT)
        room = np.zeros(size + _ALIGNMENT, np.uint8)
        start = -room.ctypes.data % _ALIGNMENT
        self._host = room[start : start + size]
        return True

    def view(self, shape: tuple[int, ...]) -> Array:
        """Return the staging memory as an array, without a copy; invalid once `reserve` returns True."""
        if self._host is None:
            return self.staged.view(shape, self.dtype)
        size = prod(shape) * self.dtype.itemsize
        return self._host[:size].view(self.dtype).reshape(shape)

    def fill(self, view: Array, value: Array) -> None:
        """Copy a call's input into its view, in the engine's dtype."""
        if value.dtype is not self.dtype and value.dtype != self.dtype:
            check_fits(value, self.dtype, self.tensor.public, "this version of TensorRT", _INT64)
            value = np.ascontiguousarray(value, self.dtype)
        np.copyto(view, value)

    def result(self, view: Array) -> Array:
        """Return a copy of a result in the caller's dtype; the stream must be done with it."""
        return view.astype(self._public) if self.converts else view.copy()

    def to_device(self, size_bytes: int, stream: int) -> None:
        """Enqueue the copy of the staged value."""
        if self._host is None:
            self.staged.to_device(size_bytes, stream)

    def to_host(self, size_bytes: int, stream: int) -> None:
        """Enqueue the copy of a result."""
        if self._host is None:
            self.staged.to_host(size_bytes, stream)

    def free(self) -> None:
        """Free all of it."""
        self.staged.free()
        self._host = None
