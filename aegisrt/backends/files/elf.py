"""`check_elf`: check that a shared library is complete and for this processor, before the linker gets it.

`dlopen` maps a library that is cut short, and the process dies of SIGBUS at the first access past its end. The layout
is that of elf(5) (https://man7.org/linux/man-pages/man5/elf.5.html), 64 bits, little-endian.
"""

from __future__ import annotations

import platform
import struct
from pathlib import Path

from aegisrt.backends.files.readable import known_format
from aegisrt.core.result import ErrorCode, ResultError, fail

_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SEGMENT = struct.Struct("<IIQQQQQQ")
_SECTION = struct.Struct("<IIQQQQIIQQ")
_SHARED_OBJECT = 3
_NOTHING_IN_FILE = 8
_MACHINES = {"x86_64": 62, "AMD64": 62, "aarch64": 183, "arm64": 183, "riscv64": 243}
_AGAIN = "copy or build it again"


def check_elf(path: Path) -> None:
    """Check that the file is a complete shared library for this processor.

    INVALID_ARGUMENT: if it has another format, or is another kind of ELF file.
    DATA_LOSS: if it is cut short or its headers are damaged.
    FAILED_PRECONDITION: if it is for another processor.
    """
    size = path.stat().st_size
    with path.open("rb") as stream:
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
        stream.seek(segments)
        for _, _, offset, _, _, length, _, _ in _SEGMENT.iter_unpack(stream.read(segment_count * segment)):
            _check_within(path, offset + length, size)
        stream.seek(sections)
        for entry in _SECTION.iter_unpack(stream.read(section_count * section)):
            if entry[1] not in (0, _NOTHING_IN_FILE):
                _check_within(path, entry[4] + entry[5], size)


def _check_within(path: Path, end: int, size: int) -> None:
    if end > size:
        raise _damaged(path, f"it has {size} bytes, and its headers describe {end}")


def _damaged(path: Path, cause: str) -> ResultError:
    return fail(ErrorCode.DATA_LOSS, f"{path} is cut short or damaged: {cause}", _AGAIN)
