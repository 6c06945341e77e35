"""Where the cache is, and whether only this user can write to it: native code is loaded from it."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import platformdirs

from aegisrt.core.result import ErrorCode, fail

VARIABLE = "AEGISRT_CACHE_DIR"


def cache_root() -> Path:
    """Return the cache's folder: `AEGISRT_CACHE_DIR`, else by the platform's convention. It may not exist yet."""
    named = os.environ.get(VARIABLE)
    return Path(named).absolute() if named else platformdirs.user_cache_path("aegisrt")


def make_private(folder: Path) -> None:
    """Create the folder for this user alone.

    PERMISSION_DENIED: if it cannot be created, or another user can write to it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        status = folder.stat()
    except OSError as error:
        message = f"the cache {folder} cannot be created: {error.strerror}"
        raise fail(ErrorCode.PERMISSION_DENIED, message, f"name another folder with {VARIABLE}") from None
    if not hasattr(os, "geteuid"):
        return
    if status.st_uid not in (os.geteuid(), 0) or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        message = f"the cache {folder} belongs to another user, or others can write to it"
        hint = f"run: chmod go-w {folder}; or name a folder of your own with {VARIABLE}"
        raise fail(ErrorCode.PERMISSION_DENIED, message, hint)
