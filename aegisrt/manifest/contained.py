"""`leaves_folder` and `read_at_most`: what may be read of the files that a composition names."""

from __future__ import annotations

import os
import stat
from pathlib import Path


class NotRegularError(OSError):
    """A pipe or a device, which may never end."""


def leaves_folder(path: Path, folder: Path) -> bool:
    """Return True if a file, with all links followed, is outside of a folder."""
    try:
        return not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))
    except (OSError, ValueError):
        return True


def is_link_away(file: str) -> bool:
    """Return True if the file is a link to a file outside of its own folder."""
    path = Path(file)
    try:
        return path.is_symlink() and leaves_folder(path, path.parent)
    except (OSError, ValueError):
        return False


def read_at_most(path: Path, limit: int) -> bytes | None:
    """Return the content of a regular file; None if it is longer than `limit`, whatever size the system reports.

    Raises OSError. IsADirectoryError: if it is a folder. NotRegularError: if it is a pipe or a device.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe would be waited for
    with open(descriptor, "rb") as file:  # noqa: PTH123  (a descriptor)
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(os.strerror(21))
        if not stat.S_ISREG(mode):
            raise NotRegularError
        content = file.read(limit + 1)
    return content if len(content) <= limit else None
