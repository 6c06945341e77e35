"""`optimized_model`: where ONNX Runtime writes the optimized model, so that no other file is ever overwritten.

A manifest names the folder, and the model's name decides the file. ONNX Runtime writes into a new folder of this user
alone, and the file is renamed into place. What was written is recorded beside it, by digest: only a recorded file is
replaced.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from aegisrt.core.fresh_file import fresh_file
from aegisrt.core.result import ErrorCode, ResultError, fail
from aegisrt.core.stamp import file_sha256
from aegisrt.core.system_error import system_error

_TITLE = "aegisrt wrote: "
_RECORD = re.compile(rf"{_TITLE}([0-9a-f]{{64}})( [0-9a-f]{{64}})?\n")
_LARGEST_RECORD = 256
_HINT = "move it away, or name another folder in `optimized_folder`"


@contextmanager
def optimized_model(target: Path | None) -> Iterator[Path | None]:
    """Yield the path for ONNX Runtime to write to; afterwards the file becomes `target`, if it was written.

    ALREADY_EXISTS: if `target` or the record beside it is a link, or a file that was not written here.
    Errors as of `system_error`: if the folder cannot be written.
    """
    if target is None:
        yield None
        return
    _recorded(target)
    try:
        scratch = tempfile.TemporaryDirectory(prefix=".aegisrt-", dir=target.parent)
    except OSError as error:
        raise _unwritable(target, error) from None
    with scratch as folder:
        written = Path(folder, target.name)
        yield written
        if written.is_file():
            try:
                _publish(written, target)
            except OSError as error:
                raise _unwritable(target, error) from None


def _publish(written: Path, target: Path) -> None:
    """Rename the file into place. The record is written first, with both digests: a process may end in between."""
    digest = file_sha256(written)
    with _locked(target.parent):
        old = _recorded(target)
        if old == digest:
            return
        with fresh_file(_record_path(target)) as record:
            record.write_text(_TITLE + " ".join(filter(None, (digest, old))) + "\n")
        written.replace(target)


def _recorded(target: Path) -> str | None:
    """Return the digest of `target`, which was written here, or None if it does not exist."""
    record = _record_path(target)
    digests: tuple[str | None, ...] = ()
    if os.path.lexists(record):
        digests = _digests(record)
        if not digests:
            raise fail(ErrorCode.ALREADY_EXISTS, f"{record} exists, and AegisRT did not write it", _HINT)
    if not os.path.lexists(target):
        return None
    if not target.is_symlink() and target.is_file() and digests:
        found = file_sha256(target)
        if found in digests:
            return found
    message = f"{target} exists, and AegisRT did not write it"
    if target.is_symlink():
        message = f"{target} is a link, and AegisRT follows none to write"
    raise fail(ErrorCode.ALREADY_EXISTS, message, _HINT)


def _digests(record: Path) -> tuple[str | None, ...]:
    try:
        if record.is_symlink() or not record.is_file() or record.stat().st_size > _LARGEST_RECORD:
            return ()
        match = _RECORD.fullmatch(record.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return ()
    return () if match is None else tuple(digest and digest.strip() for digest in match.groups())


def _record_path(target: Path) -> Path:
    return target.with_name(f"{target.name}.record")


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Let one process at a time publish in the folder, where the system can lock folders."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _unwritable(target: Path, error: OSError) -> ResultError:
    return system_error(error, f"the optimized model {target} cannot be written", _HINT)
