"""Where the cache is, and whether only this user can write to it: native code is loaded from it."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import platformdirs

from aegisrt.core.result import ErrorCode, fail
from aegisrt.core.system_error import system_error

VARIABLE = "AEGISRT_CACHE_DIR"
_ANOTHER = f"name another folder with {VARIABLE}"


def cache_root() -> Path:
    """Return the cache's folder: `AEGISRT_CACHE_DIR`, else by the platform's convention. It may not exist yet."""
    named = os.environ.get(VARIABLE)
    return Path(named).absolute() if named else platformdirs.user_cache_path("aegisrt")


def refuse_file(folder: Path) -> None:
    """Check that the cache can be a folder; it need not exist yet.

    INVALID_ARGUMENT: if it is a file, or a part of its path is.
    """
    existing = next((part for part in (folder, *folder.parents) if part.exists()), None)
    if existing is not None and not existing.is_dir():
        raise fail(ErrorCode.INVALID_ARGUMENT, f"the cache {folder} cannot be a folder: {existing} is a file", _ANOTHER)


def make_private(folder: Path) -> None:
    """Create the folder for this user alone.

    PERMISSION_DENIED: if it may not be created, or another user can write to it.
    INVALID_ARGUMENT: if it is a file, or a part of its path is.
    """
    refuse_file(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        status = folder.stat()
    except OSError as error:
        raise system_error(error, f"the cache {folder} cannot be created", _ANOTHER) from None
    if not hasattr(os, "geteuid"):
        return
    if status.st_uid not in (os.geteuid(), 0) or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        message = f"the cache {folder} belongs to another user, or others can write to it"
        hint = f"run: chmod go-w {folder}; or name a folder of your own with {VARIABLE}"
        raise fail(ErrorCode.PERMISSION_DENIED, message, hint)
