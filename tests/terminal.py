"""Programs on a terminal of their own."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Iterator, Mapping, Sequence

LIMIT_S = 60
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


@contextlib.contextmanager
def terminal(program: Sequence[str], environment: Mapping[str, str]) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Yield a program whose streams are a terminal 200 columns wide, and the other end of that; kill it at the end."""
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 200, 0, 0))
    process = subprocess.Popen(program, stdin=its, stdout=its, stderr=its, env=environment, start_new_session=True)
    os.close(its)
    try:
        yield process, ours
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def shown(program: Sequence[str], environment: Mapping[str, str]) -> str:
    """Return all that a program shows on a terminal until it ends."""
    with terminal(program, environment) as (_, ours):
        text = b""
        while True:
            try:
                read = _read(ours, time.monotonic() + LIMIT_S)
            except OSError:  # EIO: nobody has the other end any more
                return text.decode(errors="replace")
            text += read


def typed(program: Sequence[str], environment: Mapping[str, str], lines: Sequence[tuple[str, str]]) -> None:
    """Type each text when the pattern before it has been shown; TimeoutError where that does not happen."""
    end_s = time.monotonic() + LIMIT_S
    with terminal(program, environment) as (_, ours):
        for pattern, text in lines:
            seen = ""
            while not re.search(pattern, _CONTROL.sub("", seen)):
                try:
                    seen += _read(ours, end_s).decode(errors="replace")
                except TimeoutError:
                    raise TimeoutError(f"waited for {pattern!r}; shown: {seen!r}") from None
            os.write(ours, text.encode())


def _read(descriptor: int, end_s: float) -> bytes:
    if not select.select([descriptor], [], [], max(0.0, end_s - time.monotonic()))[0]:
        raise TimeoutError
    return os.read(descriptor, 4096)
