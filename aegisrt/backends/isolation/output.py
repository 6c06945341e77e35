"""`Output`: what an isolated process prints, passed on to this process's stderr in a form that is safe to show.

A captured engine could move a terminal's cursor, or give commands to a CI system that reads the log.
"""

from __future__ import annotations

import codecs
import os
import select
import threading
import time
from collections import deque

from aegisrt.core.suggest import safe_lines

_CHUNK = 1 << 16
_PAUSE_S = 0.01
"""After each full chunk: a process that floods its output is slowed down, and not this one."""
_LONGEST_LINE = 1 << 13
"""In characters; a longer line is passed on in pieces."""
_KEPT_LINES = 5
_STDERR = 2


class Output:
    """Reads a pipe in a thread of its own, until the last writer has closed it or `end` is called."""

    def __init__(self) -> None:
        """Open the pipe; the caller starts the process with `writer`, then calls `start`."""
        self._reader, self.writer = os.pipe()
        self._watched, self._open = os.pipe()
        self._last: deque[str] = deque(maxlen=_KEPT_LINES)
        self._thread = threading.Thread(target=self._pass_on, name="aegisrt-output", daemon=True)
        self._is_started = False

    def start(self) -> None:
        """Close this process's end for writing, and pass on what comes.

        RuntimeError: if the system has no thread left.
        """
        os.close(self.writer)
        self.writer = -1
        self._thread.start()
        self._is_started = True

    def close(self) -> None:
        """Release a pipe that no thread reads."""
        if self._is_started:
            return
        for descriptor in (self._reader, self.writer, self._watched, self._open):
            if descriptor >= 0:
                os.close(descriptor)
        self._reader = self.writer = self._watched = self._open = -1

    def end(self, timeout_s: float) -> str:
        """Return the last lines, and read no further; may be called again.

        It waits up to `timeout_s` for what the process printed last: one that it started may keep the pipe open.
        """
        if self._open >= 0:
            self._thread.join(timeout_s)
            os.close(self._open)
            self._open = -1
            self._thread.join(timeout_s)
        return "\n".join(list(self._last))

    def _pass_on(self) -> None:
        decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        rest = ""
        waiting = select.poll()
        waiting.register(self._reader, select.POLLIN)
        waiting.register(self._watched, 0)  # POLLHUP is reported without asking for it
        try:
            while self._watched not in dict(waiting.poll()):
                chunk = os.read(self._reader, _CHUNK)
                if not chunk:
                    break
                *lines, rest = (rest + decode(chunk)).split("\n")
                self._show(lines)
                while len(rest) > _LONGEST_LINE:
                    self._show([rest[:_LONGEST_LINE]])
                    rest = rest[_LONGEST_LINE:]
                if len(chunk) == _CHUNK:
                    time.sleep(_PAUSE_S)
            rest += decode(b"", final=True)
            if rest:
                self._show([rest])
        finally:
            os.close(self._reader)
            os.close(self._watched)

    def _show(self, lines: list[str]) -> None:
        if not lines:
            return
        text = safe_lines("\n".join(lines)) + "\n"
        self._last.extend(text.splitlines())
        content = text.encode("utf-8", "backslashreplace")
        try:
            while content:
                content = content[os.write(_STDERR, content) :]
        except OSError:
            return  # stderr is closed
