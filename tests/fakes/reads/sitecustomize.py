"""Records what Python code opens and reads, in each process that has this folder on PYTHONPATH.

AEGISRT_READS_FOLDER names the watched folder, AEGISRT_READS_LOG the file to write to: a line `PROCESS ACTION BYTES
INODE` for each open and read. What an engine reads in native code is not recorded.
"""

import builtins
import io
import os
import sys

WATCHED = os.environ.get("AEGISRT_READS_FOLDER", "")
PROCESS = "compiler" if "aegisrt.backends.tvm.build.main" in sys.orig_argv else "aegisrt"
_open, _pread, _sendfile = io.open, os.pread, os.sendfile
_log = os.open(os.environ["AEGISRT_READS_LOG"], os.O_WRONLY | os.O_APPEND) if WATCHED else -1
os.set_inheritable(_log, False) if WATCHED else None


def record(action, file, size=0):
    try:
        name = os.readlink(f"/proc/self/fd/{file}") if isinstance(file, int) else os.path.realpath(os.fsdecode(file))  # noqa: PTH115
        inode = os.stat(file).st_ino if name.startswith(WATCHED) else None  # noqa: PTH116
    except OSError:
        return
    if inode is not None:
        os.write(_log, f"{PROCESS} {action} {size} {inode}\n".encode())


class CountedFile(io.FileIO):
    def readinto(self, buffer):
        size = super().readinto(buffer)
        record("read", self.fileno(), size or 0)
        return size

    def read(self, size=-1):
        data = super().read(size)
        record("read", self.fileno(), len(data or b""))
        return data

    def readall(self):
        data = super().readall()
        record("read", self.fileno(), len(data or b""))
        return data


def counted_open(file, mode="r", buffering=-1, encoding=None, errors=None, newline=None, *rest, **named):
    if isinstance(file, int) or mode not in ("r", "rb", "rt"):
        return _open(file, mode, buffering, encoding, errors, newline, *rest, **named)
    raw = CountedFile(file)
    if buffering == 0:
        return raw
    buffered = io.BufferedReader(raw)
    return buffered if mode == "rb" else io.TextIOWrapper(buffered, encoding or "utf-8", errors, newline)


def counted_pread(descriptor, size, at):
    data = _pread(descriptor, size, at)
    record("read", descriptor, len(data))
    return data


def counted_sendfile(target, source, *rest):
    size = _sendfile(target, source, *rest)
    record("read", source, size)
    return size


def audit(event, arguments):
    if event == "open" and not isinstance(arguments[0], int) and not (arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR):
        record("open", arguments[0])
    elif event == "mmap.__new__" and arguments[0] >= 0:
        record("read", arguments[0], arguments[1])


if WATCHED:
    builtins.open = io.open = counted_open
    os.pread, os.sendfile = counted_pread, counted_sendfile
    sys.addaudithook(audit)
