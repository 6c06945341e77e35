"""`fresh_file`, `write_file`: a file is written beside its final place, and renamed there when it is complete."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)


@contextmanager
def fresh_file(target: Path) -> Iterator[Path]:
    """Yield the path of a new, empty file to write; on success it replaces `target`, on an exception it is deleted.

    Its name is random and it is created exclusively: a link that another user planted under a name that could be
    guessed is never followed. Its mode follows the umask, as that of any new file does.
    """
    fresh = target.with_name(f".{target.name}.{secrets.token_hex(8)}")
    os.close(os.open(fresh, _NEW, 0o666))
    try:
        yield fresh
        fresh.replace(target)
    except BaseException:
        with suppress(OSError):
            fresh.unlink()
        raise


def write_file(target: Path, content: bytes) -> None:
    """Write a file completely or not at all; a link to a file is replaced, and a pipe or a device is written to.

    Raise OSError if it cannot be written.
    """
    if target.exists() and not target.is_file():
        target.write_bytes(content)
        return
    with fresh_file(target) as fresh:
        fresh.write_bytes(content)
