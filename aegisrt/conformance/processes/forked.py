"""`end_of_fork`: forks this process and reports how the child ends, as a prefork server's children do."""

from __future__ import annotations

import ctypes
import faulthandler
import gc
import os
import signal
import time
import warnings
from collections.abc import Callable
from typing import NoReturn, TextIO

from aegisrt.backends.process.ended import how_it_ended

CODE = 7
"""The exit code of the child, if nothing prevents it."""
_FAILED = 70


def end_of_fork(work: Callable[[], object], limit_s: float) -> str | None:
    """Return how a forked child that runs `work` and then ends as Python does went wrong, or None.

    The child runs every exit handler, frees every module, and leaves through `exit`, which runs the destructors of
    native libraries: all the places in which an engine may wait for threads that a fork has not copied.
    """
    # The watchdog of this check is a thread: a child without it would wait for it when it ends.
    faulthandler.cancel_dump_traceback_later()
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of a fork with threads, the case here
        pid = os.fork()
    if not pid:
        _child(work, writing)
    os.close(writing)
    status = _wait(pid, limit_s)
    with os.fdopen(reading, encoding="utf-8", errors="replace") as pipe:
        return _problem(status, limit_s, pipe)


def _child(work: Callable[[], object], writing: int) -> NoReturn:
    try:
        work()
        gc.collect()
        # What `sys.exit` comes to at last. An exception would unwind into the check, whose clean-up is the parent's.
        ctypes.pythonapi.Py_Exit(CODE)
    except BaseException as error:  # noqa: BLE001  (the parent reports it)
        os.write(writing, f"{error or type(error).__name__}".encode()[:2000])
    os._exit(_FAILED)


def _wait(pid: int, limit_s: float) -> int | None:
    """Return the wait status; None if the child still runs after the limit, which kills it."""
    until = time.monotonic() + limit_s
    while time.monotonic() < until:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return status
        time.sleep(0.005)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return None


def _problem(status: int | None, limit_s: float, pipe: TextIO) -> str | None:
    if status is None:
        return f"did not end within {limit_s:g} s"
    code = os.waitstatus_to_exitcode(status)
    if code == _FAILED and (text := pipe.read()):
        return f"failed: {text}"
    if code == CODE:
        return None
    return how_it_ended(code) if code < 0 else f"{how_it_ended(code)}, wanted {CODE}"
