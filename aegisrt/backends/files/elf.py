"""Reads shared libraries: `check_elf` before the linker gets one, and `missing_libraries` without loading one.

`dlopen` maps a library that is cut short, and the process dies of SIGBUS at the first access past its end. The layout
is that of elf(5) (https://man7.org/linux/man-pages/man5/elf.5.html), 64 bits, little-endian.
"""

from __future__ import annotations

import ctypes
import platform
import struct
import sysconfig
from pathlib import Path
from typing import BinaryIO, NamedTuple

from aegisrt.backends.files.readable import known_format
from aegisrt.core.result import ErrorCode, ResultError, fail

_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SEGMENT = struct.Struct("<IIQQQQQQ")
_SECTION = struct.Struct("<IIQQQQIIQQ")
_ENTRY = struct.Struct("<qQ")
_SHARED_OBJECT = 3
_NOTHING_IN_FILE = 8
_LOAD, _DYNAMIC = 1, 2
_NEEDED, _STRINGS = 1, 5
_LONGEST_NAME = 256
_MACHINES = {"x86_64": 62, "AMD64": 62, "aarch64": 183, "arm64": 183, "riscv64": 243}
_AGAIN = "copy or build it again"


class _Segment(NamedTuple):
    kind: int
    flags: int
    offset: int
    address: int
    physical_address: int
    size: int
    memory_size: int
    alignment: int


def check_elf(path: Path) -> None:
    """Check that the file is a complete shared library for this processor.

    INVALID_ARGUMENT: if it has another format, or is another kind of ELF file.
    DATA_LOSS: if it is cut short or its headers are damaged.
    FAILED_PRECONDITION: if it is for another processor.
    """
    with path.open("rb") as stream:
        _segments(stream, path)


def needed_libraries(path: Path) -> tuple[str, ...]:
    """Return the names that a library's DT_NEEDED entries have, in its order; none if `check_elf` refuses the file."""
    with path.open("rb") as stream:
        try:
            segments = _segments(stream, path)
        except ResultError:
            return ()
        dynamic = next((segment for segment in segments if segment.kind == _DYNAMIC), None)
        if dynamic is None:
            return ()
        content = _at(stream, dynamic.offset, dynamic.size - dynamic.size % _ENTRY.size)
        entries = list(_ENTRY.iter_unpack(content))
        address = next((value for tag, value in entries if tag == _STRINGS), -1)
        for segment in segments:  # the loader maps the names at an address
            if segment.kind == _LOAD and segment.address <= address < segment.address + segment.size:
                names = segment.offset + address - segment.address
                return tuple(_name(stream, names + value) for tag, value in entries if tag == _NEEDED)
    return ()


def missing_libraries(path: Path) -> tuple[str, ...]:
    """Return the names, in the library's own order; those inside packages of CUDA and TensorRT count as found."""
    return tuple(name for name in needed_libraries(path) if not _is_found(name, path.parent))


def _segments(stream: BinaryIO, path: Path) -> list[_Segment]:
    """Return the segments of a library, checked as `check_elf` says."""
    size = path.stat().st_size
    head = stream.read(_HEADER.size)
    if not head.startswith(b"\x7fELF"):
        what = known_format(path) or "something else"
        raise fail(ErrorCode.INVALID_ARGUMENT, f"{path} is {what}, not a compiled library (.so)")
    if len(head) < _HEADER.size:
        raise _damaged(path, "it ends inside its header")
    if head[4:7] != b"\x02\x01\x01":
        raise fail(ErrorCode.FAILED_PRECONDITION, f"{path} is not a 64-bit little-endian library")
    _, kind, machine, _, _, segments, sections, _, header, segment, segment_count, section, section_count, _ = (
        _HEADER.unpack(head)
    )
    if kind != _SHARED_OBJECT:
        raise fail(ErrorCode.INVALID_ARGUMENT, f"{path} is an ELF file, but not a shared library")
    here = _MACHINES.get(platform.machine())
    if here is not None and machine != here:
        message = f"{path} was compiled for another processor (ELF machine {machine}, this one is {here})"
        raise fail(ErrorCode.FAILED_PRECONDITION, message, "build it on this machine")
    if header != _HEADER.size or segment != _SEGMENT.size or not segment_count:
        raise _damaged(path, "its header is not valid")
    if section_count and section != _SECTION.size:
        raise _damaged(path, "its section headers have another size")
    if segments + segment_count * segment > size or sections + section_count * section > size:
        raise _damaged(path, f"its tables end past its {size} bytes")
    found = [_Segment(*entry) for entry in _SEGMENT.iter_unpack(_at(stream, segments, segment_count * segment))]
    ends = [entry.offset + entry.size for entry in found]
    for entry in _SECTION.iter_unpack(_at(stream, sections, section_count * section)):
        if entry[1] not in (0, _NOTHING_IN_FILE):
            ends.append(entry[4] + entry[5])
    if max(ends) > size:
        raise _damaged(path, f"it has {size} bytes, and its headers describe {max(ends)}")
    return found


def _at(stream: BinaryIO, offset: int, size: int) -> bytes:
    stream.seek(offset)
    return stream.read(size)


def _name(stream: BinaryIO, offset: int) -> str:
    """Return a text that ends with a zero byte; empty if a damaged file has it past its end."""
    if not 0 <= offset < 1 << 63:
        return ""
    return _at(stream, offset, _LONGEST_NAME).split(b"\0", 1)[0].decode(errors="replace")


def _is_found(name: str, beside: Path) -> bool:
    if (beside / name).is_file():
        return True
    packages = Path(sysconfig.get_paths()["purelib"])
    if any(packages.glob(f"nvidia/*/lib/{name}")) or any(packages.glob(f"*_libs/{name}")):
        return True
    try:
        ctypes.CDLL(name)
    except OSError:
        return False
    return True


def _damaged(path: Path, cause: str) -> ResultError:
    return fail(ErrorCode.DATA_LOSS, f"{path} is cut short or damaged: {cause}", _AGAIN)
