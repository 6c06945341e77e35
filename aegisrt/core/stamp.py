"""`Stamp`: the identity of a file's content without reading it; and `PerFile`, which reads a file once for each stamp.

A stamp that stays means that the bytes stay: each write sets the time of the last change, and no program can set it
back except by the system's clock. Two writes within one tick of the file system's clock have the same stamp, so nothing
is kept of a file that was written a moment ago.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from io import BufferedReader
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")

_TICK_NS = 20_000_000
"""More than a tick of the kernel's clock for file times: at most 10 ms (CONFIG_HZ=100)."""
_COARSE_TICK_NS = 2_000_000_000
"""The same where times are whole seconds: on FAT a tick takes 2 s, on NFS and HFS+ it can take 1 s."""


class Stamp(NamedTuple):
    """What `stat` reports of a file's content."""

    inode: tuple[int, int]
    """Device and inode."""
    size: int
    """In bytes."""
    mtime_ns: int
    ctime_ns: int
    """When its content, name or permissions last changed; a program cannot set it."""

    @classmethod
    def of(cls, file: Path) -> Stamp | None:
        """Return the stamp of a file, or None if it cannot be reached."""
        try:
            return cls.read(file)
        except OSError:
            return None

    @classmethod
    def read(cls, file: Path) -> Stamp:
        """Return the stamp of a file; raise OSError if it cannot be reached."""
        status = file.stat()
        return cls((status.st_dev, status.st_ino), status.st_size, status.st_mtime_ns, status.st_ctime_ns)

    def unsettled_ns(self) -> int:
        """Return for how long a write might still leave the stamp as it is; 0 if each write changes it."""
        last = max(self.mtime_ns, self.ctime_ns)
        tick = _TICK_NS if last % 10**9 else _COARSE_TICK_NS
        return min(max(0, last + tick - time.time_ns()), tick)


class PerFile(Generic[T]):
    """Results of `read(path)`, each kept for as long as the stamp of its file stays. Thread-safe.

    `read` runs outside the lock: two threads that need one file at once may both read it. Its exceptions are not kept.
    """

    def __init__(self, read: Callable[[Path], T], entries: int = 256) -> None:
        """Keep the results of the `entries` files that were used last."""
        self._read = read
        self._entries = entries
        self._kept: OrderedDict[Stamp, T] = OrderedDict()
        self._new_lock()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._new_lock)  # a thread that is not in the child may hold the old one

    def _new_lock(self) -> None:
        self._lock = threading.Lock()

    def __call__(self, path: Path) -> T:
        """Return the result for a file, after reading it if it has changed or was not read before."""
        stamp = Stamp.of(path)
        if stamp is None:
            return self._read(path)
        known = self.known(stamp)
        if known is not None:
            return known
        may_keep = not stamp.unsettled_ns()
        result = self._read(path)
        if may_keep and Stamp.of(path) == stamp:
            self.keep(stamp, result)
        return result

    def known(self, stamp: Stamp) -> T | None:
        """Return the result that is kept for the file with this stamp, or None."""
        with self._lock:
            if stamp not in self._kept:
                return None
            self._kept.move_to_end(stamp)
            return self._kept[stamp]

    def keep(self, stamp: Stamp, result: T) -> None:
        """Keep the result of a file that the caller has read, or written, itself; its stamp must be settled."""
        with self._lock:
            self._kept[stamp] = result
            self._kept.move_to_end(stamp)
            if len(self._kept) > self._entries:
                self._kept.popitem(last=False)


def open_regular(path: Path) -> BufferedReader:
    """Open a file to read it; raise OSError with EINVAL if it is not a regular one.

    A pipe is not waited for, whoever put it in the place of a file after its name was checked.
    """
    stream = open(path, "rb", opener=_open_now)  # noqa: SIM115  (Path.open takes no opener)
    if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
        stream.close()
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))
    return stream


def _open_now(name: str, flags: int) -> int:
    return os.open(name, flags | getattr(os, "O_NONBLOCK", 0))


def _sha256(path: Path) -> str:
    with open_regular(path) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


DIGESTS = PerFile(_sha256, entries=4096)


def file_sha256(path: Path) -> str:
    """Return the digest of a file's content, in hexadecimal; a file that does not change is read once."""
    return DIGESTS(path)
