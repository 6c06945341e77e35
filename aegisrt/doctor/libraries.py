"""`missing_libraries`: the libraries that a shared library needs and the loader does not find; does not load it.

The names are the DT_NEEDED entries of its dynamic section (https://man7.org/linux/man-pages/man5/elf.5.html).
"""

from __future__ import annotations

import ctypes
import struct
import sysconfig
from collections.abc import Iterator
from pathlib import Path

_DYNAMIC_SEGMENT, _NEEDED, _STRINGS, _LOAD = 2, 1, 5, 1


def missing_libraries(path: Path) -> tuple[str, ...]:
    """Return the names, in the library's own order; libraries inside `nvidia-*` packages count as found."""
    return tuple(name for name in needed_libraries(path) if not _is_found(name, path.parent))


def needed_libraries(path: Path) -> tuple[str, ...]:
    """Return the DT_NEEDED names of a 64-bit little-endian library; none for anything else."""
    content = memoryview(path.read_bytes())
    if bytes(content[:6]) != b"\x7fELF\x02\x01":
        return ()
    segments = list(_segments(content))
    dynamic = next(((offset, size) for kind, offset, _, size in segments if kind == _DYNAMIC_SEGMENT), None)
    if dynamic is None:
        return ()
    entries = list(struct.iter_unpack("<qQ", content[dynamic[0] : sum(dynamic)]))
    address = next((value for tag, value in entries if tag == _STRINGS), None)
    strings = None if address is None else _offset(segments, address)
    if strings is None:
        return ()
    return tuple(_text(content, strings + value) for tag, value in entries if tag == _NEEDED)


def _offset(segments: list[tuple[int, int, int, int]], address: int) -> int | None:
    """Return the offset in the file of the content that the loader maps at an address."""
    for kind, offset, start, size in segments:
        if kind == _LOAD and start <= address < start + size:
            return offset + address - start
    return None


def _segments(content: memoryview) -> Iterator[tuple[int, int, int, int]]:
    """Yield kind, offset in the file, address and size of each segment."""
    table, count = struct.unpack_from("<Q", content, 32)[0], struct.unpack_from("<H", content, 56)[0]
    for index in range(count):
        kind, _, offset, address, _, size, _, _ = struct.unpack_from("<IIQQQQQQ", content, table + 56 * index)
        yield kind, offset, address, size


def _text(content: memoryview, at: int) -> str:
    return bytes(content[at : at + 256]).split(b"\0", 1)[0].decode(errors="replace")


def _is_found(name: str, beside: Path) -> bool:
    if (beside / name).is_file():
        return True
    packages = Path(sysconfig.get_paths()["purelib"])
    if any(packages.glob(f"nvidia/*/lib/{name}")) or any(packages.glob(f"tensorrt*_libs/{name}")):
        return True
    try:
        ctypes.CDLL(name)
    except OSError:
        return False
    return True
