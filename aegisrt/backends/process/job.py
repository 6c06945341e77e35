"""`run_child`: run a job that may hang, crash or use up the memory in a process of its own, with limits.

The child is `python -m MODULE` (child.py has its side): it reads one JSON job from the file named by its argument, and
writes one JSON answer beside it. It ends when its parent does: it watches its standard input, which only the parent
holds open.
"""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aegisrt.backends.process.child import PROGRESS
from aegisrt.core.result import Error, ErrorCode, ResultError, fail

_LOG_TAIL_LINES = 5
_NO_MEMORY = ("bad_alloc", "alloc failed", "cannot allocate memory", "out of memory", "memoryerror")
_NO_ROOM = ("no space left on device", "disk quota exceeded", "file too large")


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of a child."""

    timeout_s: float
    memory_bytes: int
    silence_s: float = math.inf
    """Seconds that it may run without a line of output."""


def run_child(
    module: str,
    job: dict[str, Any],
    folder: Path,
    *,
    limits: Limits,
    log: Path,
    progress: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Run a job in a child and return its answer. Its output goes to `log`, lines of `PROGRESS` go to `progress`.

    Its temporary files are in a folder that is deleted afterwards: a child that is killed deletes none itself.
    An error that the child answers is raised unchanged. All errors name the log. And:
    DEADLINE_EXCEEDED: if it exceeds its limits on time or silence.
    RESOURCE_EXHAUSTED: if it runs out of memory or disk space.
    INTERNAL: if it dies.
    """
    with tempfile.TemporaryDirectory(prefix="aegisrt-", ignore_cleanup_errors=True) as scratch:
        return _run(module, job, folder, Path(scratch), limits=limits, log=log, progress=progress)


def _run(
    module: str,
    job: dict[str, Any],
    folder: Path,
    scratch: Path,
    *,
    limits: Limits,
    log: Path,
    progress: Callable[[str], None] | None,
) -> dict[str, Any]:
    question, answer = folder / "job.json", folder / "answer.json"
    question.write_text(json.dumps({**job, "memory_bytes": limits.memory_bytes}), encoding="utf-8")
    answer.unlink(missing_ok=True)
    process = subprocess.Popen(  # noqa: S603  (our own interpreter and module)
        [sys.executable, "-P", "-m", module, str(question), str(answer)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, "PYTHONPATH": _search_path(), "TMPDIR": str(scratch)},
        start_new_session=True,
    )
    watch = _Watch(process, limits)
    try:
        _copy_output(process, log, progress, watch)
        status = process.wait()
    finally:
        watch.stop()
        _kill(process)
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()
    if watch.expired:
        hint = f"allow more time, or read the log: {log}"
        raise fail(ErrorCode.DEADLINE_EXCEEDED, f"stopped: {watch.expired}", hint)
    return _read_answer(answer, status, limits, log)


class _Watch:
    """Kills a child that exceeds its limits, from a thread of its own."""

    def __init__(self, process: subprocess.Popen[bytes], limits: Limits) -> None:
        self.expired: str | None = None
        """Which limit was exceeded, as a message."""
        self._process, self._limits = process, limits
        self._started = self._last_output = time.monotonic()
        self._done = threading.Event()
        threading.Thread(target=self._run, daemon=True).start()

    def note_output(self) -> None:
        """Record that the child has written a line."""
        self._last_output = time.monotonic()

    def stop(self) -> None:
        """End the watch."""
        self._done.set()

    def _run(self) -> None:
        limits = self._limits
        while True:
            now = time.monotonic()
            left_s = min(self._started + limits.timeout_s - now, self._last_output + limits.silence_s - now)
            if left_s <= 0:
                break
            if self._done.wait(min(left_s, threading.TIMEOUT_MAX)):
                return
        took_too_long = now - self._started >= limits.timeout_s
        silent = f"no output for {limits.silence_s:g} s"
        self.expired = f"it took longer than {limits.timeout_s:g} s" if took_too_long else silent
        _kill(self._process)


def _search_path() -> str:
    """Return a PYTHONPATH with which the child imports this same package."""
    own = str(Path(__file__).resolve().parents[3])
    return os.pathsep.join(filter(None, (own, os.environ.get("PYTHONPATH"))))


def _copy_output(
    process: subprocess.Popen[bytes], log: Path, progress: Callable[[str], None] | None, watch: _Watch
) -> None:
    assert process.stdout is not None
    with log.open("ab") as stream:
        for line in process.stdout:
            watch.note_output()
            if line.startswith(PROGRESS.encode()):
                if progress is not None:
                    progress(line[len(PROGRESS) :].decode(errors="replace").strip())
            else:
                stream.write(line)


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill the child and what it started, unless it has ended; it leads a session of its own."""
    if process.poll() is not None:
        return
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return


def _read_answer(answer: Path, status: int, limits: Limits, log: Path) -> dict[str, Any]:
    try:
        plain: dict[str, Any] = json.loads(answer.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        raise _died(status, limits, log) from None
    error = plain.get("error")
    if error is not None:
        hint = f"{error['hint']}; the log is {log}" if error["hint"] else f"the log is {log}"
        raise ResultError(Error(ErrorCode(error["code"]), error["message"], hint, cause=error["cause"]))
    return plain


def is_disk_full(output: str) -> bool:
    """Return whether a tool's output means that it had no disk space for a file."""
    return any(text in output.lower() for text in _NO_ROOM)


def _died(status: int, limits: Limits, log: Path) -> ResultError:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-_LOG_TAIL_LINES:]
    cause = "\n".join(lines) or None
    if status == -signal.SIGKILL or any(text in (cause or "").lower() for text in _NO_MEMORY):
        message = f"it ran out of memory (its limit is {limits.memory_bytes / 2**30:.1f} GiB)"
        hint = f"allow more memory, or read the log: {log}"
        return fail(ErrorCode.RESOURCE_EXHAUSTED, message, hint, cause=cause)
    if is_disk_full(cause or ""):
        hint = f"free space in {log.parent} and in {tempfile.gettempdir()}, or read the log: {log}"
        return fail(ErrorCode.RESOURCE_EXHAUSTED, "there was no disk space for a file that it wrote", hint, cause=cause)
    how = f"of {signal.Signals(-status).name}" if status < 0 else f"with exit code {status}"
    return fail(ErrorCode.INTERNAL, f"it died {how}", f"read the log: {log}", cause=cause)
