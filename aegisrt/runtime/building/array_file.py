"""`open_arrays`: a .npy or .npz file whose names, dtypes and sizes are checked before an array is read.

numpy's own reader allocates what a header asks for, reads headers and zip directories of any length, and reads each
array of an archive, also one that the model does not have.
"""

from __future__ import annotations

import io
import math
import os
import sys
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import IO, Any

import numpy as np

from aegisrt.core.inputs import check_header
from aegisrt.core.result import ErrorCode, ResultError, fail
from aegisrt.core.system_error import system_error
from aegisrt.core.tensor import Array, DataType, TensorSpec
from aegisrt.runtime.building.input_budget import TEXT_BYTES, InputBudget

_MAGIC = b"\x93NUMPY"
_ARCHIVE_MAGIC = (b"PK\x03\x04", b"PK\x05\x06")
_LENGTH_BYTES = {1: 2, 2: 4}
"""Bytes of the header's length by the format's version; version 3 is for names of structured dtypes alone."""
_MOST_HEADER_BYTES = 10_000
"""As in numpy: the header is a Python literal, and parsing a long one takes much time and memory."""
_MOST_READ_BYTES = 2**20
"""More than a zip directory of ten thousand arrays has."""
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""The methods that numpy writes. LZMA allocates what its header asks for."""


class ArrayFile:
    """The arrays of an open file."""

    def __init__(self, path: Path, stream: IO[bytes]) -> None:
        self._path, self._stream = path, stream
        self._members: dict[str, zipfile.ZipInfo] = {}
        self.names: tuple[str, ...] | None = None
        """The arrays' names; None for a .npy, whose array has no name."""
        magic = stream.read(4)
        if magic in _ARCHIVE_MAGIC:
            self._archive = zipfile.ZipFile(stream)
            self._members = _members(self._archive)
            self.names = tuple(self._members)

    def read(self, wanted: Mapping[str | None, TensorSpec | None], budget: InputBudget) -> dict[str | None, Array]:
        """Return the wanted arrays by their name in the file, after all their headers are checked.

        An array with a spec has its dtype; BF16, which numpy's files cannot name, is read as its bits.
        INVALID_ARGUMENT: if a dtype or a shape is not the one of its spec, or an array consists of Python objects.
        RESOURCE_EXHAUSTED: if the budget is too small.
        """
        headers = {}
        for name, spec in wanted.items():
            with self._opened(name) as (stream, size):
                header = headers[name] = _header(stream)
            self._check(header, spec)
            if header.size_bytes > size - header.length:
                raise ValueError("the file is shorter than its header requires")
            budget.take(header.memory_bytes, f"{self._path}: the array{'' if name is None else f' `{name}`'}")
        return {name: self._array(name, header, wanted[name]) for name, header in headers.items()}

    def _check(self, header: _Header, spec: TensorSpec | None) -> None:
        if header.dtype.hasobject:
            message = f"{self._path} holds Python objects; those are not read, because they can run code"
            hint = "save an array of numbers, or texts with `array.astype(str)`"
            raise fail(ErrorCode.INVALID_ARGUMENT, message, hint)
        if spec is not None and not _is_bfloat16(header.dtype, spec):
            check_header(spec, header.dtype, header.shape)
        elif header.dtype.subdtype is not None:
            raise ValueError(f"dtype {header.dtype}")

    def _array(self, name: str | None, header: _Header, spec: TensorSpec | None) -> Array:
        if not header.size_bytes:
            return np.zeros(header.shape, header.dtype)
        data = np.empty(header.size_bytes, np.uint8)
        room, done = data.data, 0
        with self._opened(name) as (stream, _):
            _exactly(stream, header.length)
            while done < len(data):
                count = stream.readinto(room[done : done + _MOST_READ_BYTES])  # type: ignore[attr-defined]
                if not count:
                    raise ValueError("the file is shorter than its header requires")
                done += count
            stream.read(1)  # at the end of an archive's member, its checksum is compared
        if header.dtype.kind == "U":
            _check_characters(data, header.dtype)
        dtype = spec.dtype.numpy if spec is not None and _is_bfloat16(header.dtype, spec) else header.dtype
        return data.view(dtype).reshape(header.shape, order="F" if header.is_fortran else "C")

    @contextmanager
    def _opened(self, name: str | None) -> Iterator[tuple[IO[bytes], int]]:
        """Yield a stream of one array with its header, and its length in bytes."""
        if name is None:
            self._stream.seek(0)
            yield self._stream, os.fstat(self._stream.fileno()).st_size
            return
        member = self._members[name]
        if member.compress_type not in _METHODS:
            raise ValueError(f"compression method {member.compress_type}")
        with self._archive.open(member) as stream:
            yield stream, member.file_size


@contextmanager
def open_arrays(path: Path) -> Iterator[ArrayFile]:
    """Open a .npy or .npz file; errors of reading it, in the block too, are raised as ResultError.

    INVALID_ARGUMENT: if it is damaged, is another kind of file, or holds no array.
    NOT_FOUND: if it does not exist.
    RESOURCE_EXHAUSTED: if memory runs out.
    """
    try:
        with _BoundedReads(io.FileIO(path)) as stream:
            file = ArrayFile(path, stream)
            if file.names == ():
                hint = "save arrays by name: numpy.savez(FILE, NAME=array)"
                raise fail(ErrorCode.INVALID_ARGUMENT, f"{path} is an empty .npz: it holds no array", hint)
            yield file
    except ResultError:
        raise
    except FileNotFoundError:
        raise fail(ErrorCode.NOT_FOUND, f"{path} does not exist") from None
    except (OSError, MemoryError) as error:
        raise system_error(error, f"{path} cannot be read", f"chmod +r {quote(str(path))}") from None
    except Exception as error:  # noqa: BLE001  (zlib, zipfile and numpy each raise their own over a damaged file)
        message, hint = f"{path} is not a readable .npy or .npz file", "write it with numpy.save or numpy.savez"
        raise fail(ErrorCode.INVALID_ARGUMENT, message, hint, cause=f"{type(error).__name__}: {error}") from None


class _BoundedReads(io.BufferedReader):
    """Refuses one long read: `zipfile` reads a directory of any length at once."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > _MOST_READ_BYTES:
            raise zipfile.BadZipFile(f"its directory has more than {_MOST_READ_BYTES} bytes")
        return super().read(size)


@dataclass(frozen=True, slots=True)
class _Header:
    """The header of one array."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    is_fortran: bool
    length: int
    """Bytes before the data."""

    @property
    def size_bytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def memory_bytes(self) -> int:
        texts = math.prod(self.shape) * TEXT_BYTES if self.dtype.kind in "SU" else 0
        return self.size_bytes + texts


def _header(stream: IO[bytes]) -> _Header:
    magic = _exactly(stream, len(_MAGIC) + 2)
    length_bytes = _LENGTH_BYTES.get(magic[-2])
    if magic[:-2] != _MAGIC or length_bytes is None:
        raise ValueError("it does not begin as numpy's arrays do")
    length = _exactly(stream, length_bytes)
    size = int.from_bytes(length, "little")
    if size > _MOST_HEADER_BYTES:
        raise ValueError(f"its header has {size} bytes")
    content = io.BytesIO(length + _exactly(stream, size))
    read = np.lib.format.read_array_header_1_0 if length_bytes == 2 else np.lib.format.read_array_header_2_0
    shape, is_fortran, dtype = read(content)
    if any(dim < 0 for dim in shape):
        raise ValueError(f"shape {shape}")
    return _Header(dtype, shape, is_fortran, len(magic) + length_bytes + size)


def _check_characters(data: Array, dtype: np.dtype[Any]) -> None:
    """Raise ValueError for texts that Python cannot have: numpy makes them without a check."""
    codes = data.view(np.dtype(np.uint32).newbyteorder(dtype.byteorder))
    if codes.size and codes.max() > sys.maxunicode:
        raise ValueError(f"the character {int(codes.max()):#x}")


def _exactly(stream: IO[bytes], count: int) -> bytes:
    content = stream.read(count)
    if len(content) < count:
        raise ValueError("the file ends within a header")
    return content


def _members(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    names = [member.filename.removesuffix(".npy") for member in archive.infolist()]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ValueError(f"it has two arrays `{twice[0]}`")
    return dict(zip(names, archive.infolist(), strict=True))


def _is_bfloat16(dtype: np.dtype[Any], spec: TensorSpec) -> bool:
    return spec.dtype is DataType.BF16 and dtype == np.dtype("V2")
