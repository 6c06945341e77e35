"""`fresh_file`: writes a file beside its final place, and renames it there when it is complete."""

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
