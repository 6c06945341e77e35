"""`Arena`: memory that two processes share, through which tensors pass without being pickled."""

from __future__ import annotations

import mmap
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from aegisrt.core.tensor import Array, DataType

_ALIGNMENT = 64
"""In bytes; the alignment that engines require of a tensor that they read in place."""
_SMALLEST = 1 << 16


@dataclass(frozen=True, slots=True)
class Laid:
    """Where a tensor is in an arena. Strings cannot be there: they are sent in the message."""

    dtype: DataType
    shape: tuple[int, ...]
    offset: int
    strings: Array | None = None


@dataclass(frozen=True, slots=True)
class Layout:
    """Tensors by name, and the arena's size when they were written."""

    tensors: dict[str, Laid]
    size: int


class Arena:
    """One side's view of the memory. One side writes, then sends a message; the other reads before the next write.

    The memory is a file without a name: it is freed when both processes have ended, however they end.
    """

    def __init__(self, descriptor: int | None = None) -> None:
        self.descriptor = _nameless_file() if descriptor is None else descriptor
        self._size = 0
        self._map: mmap.mmap | None = None

    def write(self, tensors: Mapping[str, Array]) -> Layout:
        """Copy the tensors into the memory, which grows to hold them; return where they are."""
        laid, offset = {}, 0
        for name, array in tensors.items():
            dtype = DataType.of(array.dtype)
            if dtype is None:
                raise TypeError(f"`{name}` is {array.dtype}, not a dtype of tensors")
            strings = array if dtype is DataType.BYTES else None
            laid[name] = Laid(dtype, array.shape, offset, strings)
            if strings is None:
                offset += -(-array.nbytes // _ALIGNMENT) * _ALIGNMENT
        self._grow(offset)
        for name, array in tensors.items():
            if laid[name].strings is None:
                self._view(laid[name])[...] = array
        return Layout(laid, self._size)

    def read(self, layout: Layout, *, copy: bool) -> dict[str, Array]:
        """Return the tensors of a layout; without `copy`, views that are valid until the other side writes again."""
        self._remap(layout.size)
        found = {
            name: self._view(laid) if laid.strings is None else laid.strings for name, laid in layout.tensors.items()
        }
        return {name: array.copy() for name, array in found.items()} if copy else found

    def close(self) -> None:
        """Release this process's view of the memory; may be called again."""
        self._map = None
        descriptor, self.descriptor = self.descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def _view(self, laid: Laid) -> Array:
        if laid.strings is not None:
            return laid.strings
        count = int(np.prod(laid.shape, dtype=np.int64))
        if not count or self._map is None:
            return np.empty(laid.shape, laid.dtype.numpy)
        return np.frombuffer(self._map, laid.dtype.numpy, count, laid.offset).reshape(laid.shape)

    def _grow(self, size: int) -> None:
        if size > self._size:
            size = max(_SMALLEST, 1 << (size - 1).bit_length())
            os.ftruncate(self.descriptor, size)
            self._remap(size)

    def _remap(self, size: int) -> None:
        """Map the file again if it has grown; the old map is freed with the last array that views it."""
        if size != self._size:
            self._map = mmap.mmap(self.descriptor, size)
            self._size = size


def _nameless_file() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("aegisrt", os.MFD_CLOEXEC)
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
