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
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from aegisrt.backends.process.child import PROGRESS, has_no_memory
from aegisrt.backends.process.ended import how_it_ended
from aegisrt.backends.process.environment import environment_of_child
from aegisrt.core.result import Error, ErrorCode, ResultError, fail

_LOG_TAIL_LINES = 5
_LONGEST_LINE = 1 << 16
"""In bytes; a longer line of the child's output is handled in pieces."""
_LARGEST_LOG = 1 << 26
"""In bytes; what comes later is left out."""
_LONGEST_ANSWER = 1 << 24
"""In bytes."""
_TRACEBACK = "Traceback (most recent call last):\n"
_CRASHES = tuple(-number for number in (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGILL, signal.SIGFPE))
_NO_DESCRIPTORS = "too many open files"
_NO_ROOM = ("no space left on device", "disk quota exceeded", "file too large")


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of a child."""

    timeout_s: float
    memory_bytes: int
    silence_s: float = math.inf
    """Seconds that it may run without a line of output."""
    memory_option: str = "build.memory_bytes"
    """The option that sets `memory_bytes`, for messages."""


def run_child(
    module: str,
    job: dict[str, Any],
    folder: Path,
    *,
    limits: Limits,
    log: Path,
    environment: Iterable[str] = (),
    progress: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Run a job in a child and return its answer. Its output goes to `log`, lines of `PROGRESS` go to `progress`.

    It gets the environment variables of `environment_of_child`; `environment` names further ones.
    Its temporary files are in a folder that is deleted afterwards: a child that is killed deletes none itself.
    An error that the child answers is raised unchanged. All errors have the `log`. And:
    DEADLINE_EXCEEDED: if it exceeds its limits on time or silence.
    RESOURCE_EXHAUSTED: if it runs out of memory, with the option that limits it, or out of disk space.
    INTERNAL: if it dies.
    """
    with tempfile.TemporaryDirectory(prefix="aegisrt-", ignore_cleanup_errors=True) as scratch:
        variables = {**environment_of_child(environment, _search_path()), "TMPDIR": scratch}
        try:
            return _run(module, job, folder, variables, limits=limits, log=log, progress=progress)
        except ResultError as failure:
            raise ResultError(replace(failure.error, log=str(log))) from None


def _run(
    module: str,
    job: dict[str, Any],
    folder: Path,
    variables: dict[str, str],
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
        env=variables,
        start_new_session=True,
    )
    watch = _Watch(process, limits)
    try:
        _copy_output(process, log, progress, watch)
        status, peak_bytes = _wait(process)
    finally:
        watch.stop()
        _kill(process)
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()
    if watch.expired:
        raise fail(ErrorCode.DEADLINE_EXCEEDED, f"stopped: {watch.expired}", "allow more time")
    return _read_answer(answer, status, peak_bytes, limits, log)


def _wait(process: subprocess.Popen[bytes]) -> tuple[int, int]:
    """Return the child's exit status, and the most memory that it had in use (0 if that is not known)."""
    try:
        _, status, usage = os.wait4(process.pid, 0)
    except (AttributeError, ChildProcessError):  # no such call here, or the watch has waited for it
        return process.wait(), 0
    process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


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


def _search_path() -> list[str]:
    """Return a PYTHONPATH with which the child imports this same package."""
    own = str(Path(__file__).resolve().parents[3])
    return [own, *filter(None, [os.environ.get("PYTHONPATH")])]


def _copy_output(
    process: subprocess.Popen[bytes], log: Path, progress: Callable[[str], None] | None, watch: _Watch
) -> None:
    assert process.stdout is not None
    written = 0
    with log.open("ab") as stream:
        while line := process.stdout.readline(_LONGEST_LINE):
            watch.note_output()
            if line.startswith(PROGRESS.encode()):
                if progress is not None:
                    progress(line[len(PROGRESS) :].decode(errors="replace").strip())
            elif written < _LARGEST_LOG:
                written += stream.write(line)


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill the child and what it started, unless it has ended; it leads a session of its own."""
    if process.poll() is not None:
        return
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return


def _read_answer(answer: Path, status: int, peak_bytes: int, limits: Limits, log: Path) -> dict[str, Any]:
    """Return the answer of a child, which is data: a compiler that was captured may have written anything."""
    try:
        with answer.open("rb") as stream:
            plain: dict[str, Any] = json.loads(stream.read(_LONGEST_ANSWER))
        if "out_of_memory" in plain:
            raise _out_of_memory(limits, str(plain["out_of_memory"]))
        error = plain.get("error")
        if error is not None:
            code, message = ErrorCode(error["code"]), str(error["message"])
            hint, cause = (None if error[key] is None else str(error[key]) for key in ("hint", "cause"))
            raise ResultError(Error(code, message, hint, cause=cause))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise _died(status, peak_bytes, limits, log) from None
    return plain


def is_disk_full(output: str) -> bool:
    """Return whether a tool's output means that it had no disk space for a file."""
    return any(text in output.lower() for text in _NO_ROOM)


def _died(status: int, peak_bytes: int, limits: Limits, log: Path) -> ResultError:
    with log.open("rb") as stream:
        stream.seek(max(0, stream.seek(0, os.SEEK_END) - _LONGEST_LINE))
        output = stream.read(_LONGEST_LINE).decode(errors="replace")
    cause = _cause(output)
    # C code that does not check an allocation crashes on the refused one; the largest that it asks for is about as
    # much as is in use already, when a buffer is doubled or a model copied. So half of the limit is near it.
    crashed_near_limit = status in _CRASHES and peak_bytes > limits.memory_bytes / 2
    tail = "\n".join(output.splitlines()[-_LOG_TAIL_LINES:])
    if status == -signal.SIGKILL or crashed_near_limit or has_no_memory(tail):
        return _out_of_memory(limits, cause)
    if is_disk_full(tail):
        hint = f"free space in {log.parent} and in {tempfile.gettempdir()}"
        return fail(ErrorCode.RESOURCE_EXHAUSTED, "there was no disk space for a file that it wrote", hint, cause=cause)
    if _NO_DESCRIPTORS in tail.lower():
        hint = "raise the limit of open files (`ulimit -n`)"
        return fail(ErrorCode.RESOURCE_EXHAUSTED, "it had no file descriptors left", hint, cause=cause)
    return fail(ErrorCode.INTERNAL, f"it {how_it_ended(status)}", "read the log", cause=cause)


def _cause(output: str) -> str | None:
    """Return the exception that ends a log, else its last lines; not the lines that only mark a place in a source."""
    lines = [line for line in output.splitlines() if line.strip(" \t^~")]
    _, traceback, rest = "\n".join(lines).rpartition(_TRACEBACK)
    raised = [line for line in rest.splitlines() if line]
    while traceback and raised and raised[0].startswith(" "):
        raised.pop(0)
    return "\n".join(raised[:_LOG_TAIL_LINES] if traceback and raised else lines[-_LOG_TAIL_LINES:]) or None


def _out_of_memory(limits: Limits, cause: str | None) -> ResultError:
    limit = f"{limits.memory_bytes / 2**30:.3g} GiB, which `{limits.memory_option}` sets"
    message = f"it ran out of memory: its limit is {limit}"
    return fail(ErrorCode.RESOURCE_EXHAUSTED, message, f"raise `{limits.memory_option}`", cause=cause)
