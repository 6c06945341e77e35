"""`private_copy`: copies an engine file while its digest is computed, so that exactly these bytes are loaded.

A name that was hashed may have another file a moment later, and loading a library runs its code. The copy is in a
folder that no other user can write to.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import tempfile
import weakref
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import BinaryIO

from aegisrt.core.result import ErrorCode, fail
from aegisrt.core.sidecar import LARGEST_SIDECAR, sidecar_path
from aegisrt.core.stamp import open_regular
from aegisrt.core.system_error import system_error

_CHUNK = 2**20
_OTHERS = stat.S_IWGRP | stat.S_IWOTH


@dataclass(frozen=True, slots=True)
class PrivateCopy:
    """An engine file and its sidecar as they were read."""

    path: Path
    """The copy; it keeps the file's name, and the copy of the sidecar is beside it."""
    sha256: str
    sidecar_sha256: str | None
    """None if the file has no sidecar."""


def private_copy(file: Path, owner: object) -> PrivateCopy:
    """Return a copy of an engine file and its sidecar. It is deleted with `owner`, or when this process ends.

    PERMISSION_DENIED: if other users can write to one of the files or its folder.
    DATA_LOSS: if the sidecar is larger than one can be.
    INVALID_ARGUMENT: if one of them is not a regular file.
    Errors as of `system_error`: if a file cannot be read, or the copy not be written.
    """
    folder = Path(tempfile.mkdtemp(prefix="aegisrt-"))  # mode 0700
    weakref.finalize(owner, _delete, folder, os.getpid())
    for parent in dict.fromkeys((file.absolute().parent, file.resolve().parent)):
        _refuse_shared(parent.stat(), parent, sticky_is_safe=True)
    copied = folder / file.name
    try:
        digest = _copied(file, copied)
        sidecar = sidecar_path(file)
        described = _copied(sidecar, sidecar_path(copied), LARGEST_SIDECAR) if sidecar.exists() else None
        return PrivateCopy(copied, digest, described)
    except OSError as error:
        hint = "it is copied before it is loaded: name a folder with enough space in TMPDIR"
        raise system_error(error, f"{file} cannot be copied to {folder}", hint) from None


def _copied(file: Path, target: Path, most_bytes: int | None = None) -> str:
    with open_regular(file) as source, target.open("xb") as copy:
        status = os.fstat(source.fileno())
        _refuse_shared(status, file)
        if most_bytes is not None and status.st_size > most_bytes:
            message = f"{file} has {status.st_size} bytes, and a sidecar at most {most_bytes}: it is damaged"
            raise fail(ErrorCode.DATA_LOSS, message, "restore the sidecar, or build both again: `aegisrt build`")
        return _copy(source, copy)


def _copy(source: BinaryIO, copy: BinaryIO) -> str:
    """Copy a file; return the digest of the bytes that were written."""
    digest = hashlib.sha256()
    while chunk := source.read(_CHUNK):
        digest.update(chunk)
        copy.write(chunk)
    return digest.hexdigest()


def _refuse_shared(status: os.stat_result, path: Path, *, sticky_is_safe: bool = False) -> None:
    if not hasattr(os, "geteuid") or not status.st_mode & _OTHERS:
        return
    if not (sticky_is_safe and status.st_mode & stat.S_ISVTX):
        message = f"other users can write to {path}, and code is loaded from it"
        raise fail(ErrorCode.PERMISSION_DENIED, message, f"check the file, then run: chmod go-w {quote(str(path))}")


def _delete(folder: Path, process: int) -> None:
    if os.getpid() == process:  # a forked process ends too, and its parent still needs the copy
        shutil.rmtree(folder, ignore_errors=True)
