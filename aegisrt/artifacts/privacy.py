"""Whether another user can replace a folder or file of the cache. Native code is loaded from it.

Everything is checked by descriptor, opened below the root's own and never through a link: a name that was checked may
point elsewhere a moment later, a descriptor cannot.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from aegisrt.core.result import ErrorCode, ResultError, fail
from aegisrt.core.system_error import system_error

FOLDER_MODE = 0o700
FILE_MODE = 0o600
HAS_OWNERS = hasattr(os, "geteuid")
"""Whether files have owners and modes here: False on Windows, where nothing is checked."""
_OTHERS = stat.S_IWGRP | stat.S_IWOTH
_FOLDER = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_NOFOLLOW", 0)
_FILE = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
"""Without O_NONBLOCK, opening a FIFO that another user left here would hang."""


def check_private(root: Path, hint: str) -> None:
    """Check that no other user can write to the cache's folder, or put another one in its place.

    PERMISSION_DENIED: if the folder is a link, belongs to another user, or other users can write to it or to a folder
    above it. A folder above it may be writable if it is sticky, as `/tmp` is.
    """
    if not HAS_OWNERS:
        return
    with _opened(root, _FOLDER) as descriptor:
        _check(os.fstat(descriptor), root, hint)
    for folder in root.resolve().parents:
        mode = folder.stat().st_mode
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            message = f"other users can replace {root}, because they can write to {folder}"
            raise fail(ErrorCode.PERMISSION_DENIED, message, f"run: chmod o-w {folder}; or {hint}")


def check_entry(root: Path, folder: Path) -> None:
    """Check an entry's folder, which is below `root`, the folders between them, and each file in it.

    PERMISSION_DENIED: if one of them is a link, belongs to another user, or other users can write to it.
    FileNotFoundError: if the folder does not exist.
    """
    if not HAS_OWNERS:
        return
    hint = "delete it: `aegisrt artifacts prune`"
    with _opened(root, _FOLDER) as top:
        descriptor = os.dup(top)
        try:
            path = root
            for name in folder.relative_to(root).parts:
                path = path / name
                with _opened(path, _FOLDER, descriptor) as below:
                    _check(os.fstat(below), path, hint)
                    descriptor = _replaced(descriptor, below)
            with os.scandir(descriptor) as found:
                names = [one.name for one in found]
            for name in names:
                with _opened(path / name, _FILE, descriptor) as file:
                    _check(os.fstat(file), path / name, hint)
        finally:
            os.close(descriptor)


def make_private(folder: Path) -> None:
    """Remove the permissions of other users from a folder and from everything in it."""
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            path.chmod(FOLDER_MODE if path.is_dir() else FILE_MODE)


def _replaced(descriptor: int, by: int) -> int:
    os.close(descriptor)
    return os.dup(by)


@contextmanager
def _opened(path: Path, flags: int, below: int | None = None) -> Iterator[int]:
    """Open `path`, or its last part below the folder `below`, without following a link."""
    try:
        descriptor = os.open(path if below is None else path.name, flags, dir_fd=below)
    except FileNotFoundError:
        raise
    except OSError as error:
        if path.is_symlink():
            raise fail(
                ErrorCode.PERMISSION_DENIED, f"{path} is a link, and links are not allowed in the cache"
            ) from None
        raise system_error(error, f"{path} cannot be opened") from None
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _check(status: os.stat_result, path: Path, hint: str) -> None:
    if status.st_uid not in (os.geteuid(), 0):
        raise _refused(path, "belongs to another user", hint)
    if status.st_mode & _OTHERS:
        raise _refused(path, "can be written by other users", f"run: chmod go-w {path}; or {hint}")


def _refused(path: Path, reason: str, hint: str) -> ResultError:
    return fail(ErrorCode.PERMISSION_DENIED, f"{path} {reason}, and native code is loaded from it", hint)
