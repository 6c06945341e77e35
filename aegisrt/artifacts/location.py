"""Where the cache is, and whether only this user can write to it: native code is loaded from it."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

from aegisrt.artifacts.privacy import FOLDER_MODE, check_private
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


def check_root(folder: Path) -> None:
    """Check the cache's folder, which exists.

    PERMISSION_DENIED: if it is a link, or if another user can write to it or replace it.
    """
    check_private(folder, _ANOTHER)


def make_root(folder: Path) -> None:
    """Create the cache's folder for this user alone, if it does not exist.

    PERMISSION_DENIED: if it may not be created, if it is a link, or if another user can write to it or replace it.
    INVALID_ARGUMENT: if it is a file, or a part of its path is.
    """
    refuse_file(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=FOLDER_MODE)
    except OSError as error:
        raise system_error(error, f"the cache {folder} cannot be created", _ANOTHER) from None
    check_root(folder)
