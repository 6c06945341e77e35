"""`Arena`: memory that two processes share, through which tensors pass without being pickled."""

from __future__ import annotations

import errno
import mmap
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from aegisrt.backends.isolation.strings import packed, unpacked
from aegisrt.core.tensor import Array, DataType

_ALIGNMENT = 64
"""In bytes; the alignment that engines require of a tensor that they read in place."""
_SMALLEST = 1 << 16


@dataclass(frozen=True, slots=True)
class Laid:
    """A tensor in an arena. The first one is at offset 0, each other one at the next aligned offset."""

    dtype: DataType
    shape: tuple[int, ...]
    size: int
    """In bytes that it takes there; strings.py has the form of BYTES."""


class Arena:
    """One side's view of the memory. One side writes, then sends a message; the other reads before the next write.

    The memory is a file without a name: it is freed when both processes have ended, however they end. On Linux it never
    gets shorter: reading a mapped file beyond its end would end the process that reads (SIGBUS). One of a fixed size
    never gets longer either. Its pages are allocated when they are written.
    """

    def __init__(self, descriptor: int | None = None, *, fixed_bytes: int | None = None) -> None:
        """Open the memory of another process's descriptor, or make memory; `fixed_bytes` is its size for good."""
        self.descriptor = _nameless_file(fixed_bytes) if descriptor is None else descriptor
        self._fixed_bytes = fixed_bytes
        self._size = 0
        self._map: mmap.mmap | None = None

    def write(self, tensors: Mapping[str, Array]) -> tuple[Laid, ...]:
        """Copy the tensors into the memory, which grows to hold them; return where they are.

        OSError with EFBIG: if its size is fixed, and too small.
        """
        laid, arrays = [], []
        for name, array in tensors.items():
            dtype = DataType.of(array.dtype)
            if dtype is None:
                raise TypeError(f"`{name}` is {array.dtype}, not a dtype of tensors")
            content = packed(array) if dtype is DataType.BYTES else array
            laid.append(Laid(dtype, array.shape, content.nbytes))
            arrays.append(content)
        end = sum(_aligned(place.size) for place in laid)
        if end > self._size:
            if self._fixed_bytes is None:
                os.ftruncate(self.descriptor, _rounded(end))
            elif end > self._fixed_bytes:
                raise OSError(errno.EFBIG, f"{end} bytes, and {self._fixed_bytes} are allowed")
            self._remap(self._mapped(end))
        offset = 0
        for place, array in zip(laid, arrays, strict=True):
            dtype = DataType.UINT8 if place.dtype is DataType.BYTES else place.dtype
            self._view(dtype, array.shape, offset)[...] = array
            offset += _aligned(place.size)
        return tuple(laid)

    def read(self, laid: Sequence[Laid], *, copy: bool) -> list[Array]:
        """Return the tensors; without `copy`, views that are valid until the other side writes again.

        ValueError: if they are not in the memory.
        """
        end = sum(_aligned(place.size) for place in laid)
        if end > self._size:
            size = self._mapped(end)
            if end > size or os.fstat(self.descriptor).st_size < size:
                raise ValueError("its tensors end beyond the memory that the processes share")
            self._remap(size)
        found, offset = [], 0
        for place in laid:
            found.append(self._tensor(place, offset, copy))
            offset += _aligned(place.size)
        return found

    def close(self) -> None:
        """Release this process's view of the memory; may be called again."""
        self._map = None
        descriptor, self.descriptor = self.descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def _tensor(self, place: Laid, offset: int, copy: bool) -> Array:
        if place.dtype is DataType.BYTES:
            return unpacked(self._view(DataType.UINT8, (place.size,), offset).tobytes(), place.shape)
        if copy and place.dtype is DataType.BOOL:  # numpy reads beyond an array for a bool that is neither 0 nor 1
            return np.asarray(self._view(DataType.UINT8, place.shape, offset) != 0)
        view = self._view(place.dtype, place.shape, offset)
        return view.copy() if copy else view

    def _view(self, dtype: DataType, shape: tuple[int, ...], offset: int) -> Array:
        if self._map is None or 0 in shape:
            return np.zeros(shape, dtype.numpy)
        return np.ndarray(shape, dtype.numpy, self._map, offset)

    def _mapped(self, end: int) -> int:
        """Return how much to map for tensors up to `end`."""
        return _rounded(end) if self._fixed_bytes is None else min(_rounded(end), self._fixed_bytes)

    def _remap(self, size: int) -> None:
        """Map the file again if it has grown; the old map is freed with the last array that views it."""
        self._map = mmap.mmap(self.descriptor, size)
        self._size = size


def _aligned(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT


def _rounded(size: int) -> int:
    return max(_SMALLEST, 1 << (size - 1).bit_length())


def _nameless_file(fixed_bytes: int | None) -> int:
    if sys.platform == "linux" and hasattr(os, "memfd_create"):
        import fcntl

        descriptor = os.memfd_create("aegisrt", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        # the other process cannot shorten it, nor seal it against the growth and the writes of this one
        seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL
        try:
            if fixed_bytes is not None:
                os.ftruncate(descriptor, fixed_bytes)
                seals |= fcntl.F_SEAL_GROW
            fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor
    with tempfile.TemporaryFile() as file:
        if fixed_bytes is not None:
            os.ftruncate(file.fileno(), fixed_bytes)
        return os.dup(file.fileno())
