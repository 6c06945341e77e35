"""`missing_libraries`: the libraries that a shared library needs and the loader does not find; does not load it."""

from __future__ import annotations

import ctypes
import sysconfig
from pathlib import Path

from aegisrt.backends.files.elf import needed_libraries


def missing_libraries(path: Path) -> tuple[str, ...]:
    """Return the names, in the library's own order; those inside packages of CUDA and TensorRT count as found."""
    return tuple(name for name in needed_libraries(path) if not _is_found(name, path.parent))


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
