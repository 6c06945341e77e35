"""`check_writable` and `write`: the files of a benchmark's results."""

from __future__ import annotations

import os
from pathlib import Path

from aegisrt.core.fresh_file import write_file
from aegisrt.core.system_error import system_error


def check_writable(path: Path) -> None:
    """Open the file for writing, change nothing, and raise the error that a later write would meet.

    A pipe or a device is not tried: its reader would see the end of it.
    """
    existed = os.path.lexists(path)
    if path.exists() and not (path.is_file() or path.is_dir()):
        return
    try:
        path.open("ab").close()
        if not existed:
            path.unlink()
    except OSError as error:
        raise system_error(error, f"{path} cannot be written") from None


def write(path: Path, content: bytes) -> None:
    """Write a file; raise a ResultError with the operating system's reason if that fails."""
    try:
        write_file(path, content)
    except OSError as error:
        raise system_error(error, f"{path} cannot be written") from None
