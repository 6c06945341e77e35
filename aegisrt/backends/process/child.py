"""`child_main`: what runs in the child process that `run_child` (job.py) starts.

A job's memory is limited, and an allocation that the limit refuses shows in many ways: as a MemoryError, as
`std::bad_alloc` in another exception's text, or as the death of a compiler. `is_out_of_memory` recognizes them.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from aegisrt.core.result import Error, ResultError

_NO_MEMORY = (
    "bad_alloc", "bad allocation", "alloc failed", "allocation failed", "failed to allocate", "cannot allocate memory",
    "can't allocate memory", "out of memory", "memory exhausted", "memoryerror", "can't start new thread",
)  # fmt: skip
_LONGEST_CHAIN = 20

PROGRESS = "@progress "
"""A line of the child's output that starts with this is progress, and not for the log."""


def child_main(work: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Answer one job with `work`, under the job's limits. A child module calls nothing else."""
    _limit_and_watch()
    question, answer = Path(sys.argv[1]), Path(sys.argv[2])
    job = json.loads(question.read_text(encoding="utf-8"))
    _limit_memory(job["memory_bytes"])
    try:
        plain = work(job)
    except ResultError as known:
        plain = {"error": _plain(known.error)}
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        plain = {"out_of_memory": f"{type(error).__name__}: {str(error)[-500:]}".removesuffix(": ")}
    _unlimit_memory()
    fresh = answer.with_suffix(".part")
    fresh.write_text(json.dumps(plain), encoding="utf-8")
    fresh.replace(answer)


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an exception, or one that it was raised from, means that an allocation was refused."""
    link: BaseException | None = error
    for _ in range(_LONGEST_CHAIN):
        if link is None:
            return False
        if isinstance(link, MemoryError) or has_no_memory(str(link)):
            return True
        link = link.__cause__ or link.__context__
    return False


def has_no_memory(output: str) -> bool:
    """Return whether a tool's output means that an allocation was refused."""
    return any(text in output.lower() for text in _NO_MEMORY)


def limit_growth(growth_bytes: int) -> None:
    """Limit what this process may allocate beyond what it has now; on Linux alone.

    RLIMIT_DATA counts writable private memory when it is mapped, as VmData of proc_pid_status(5) does: heaps and
    threads' stacks. Address space that is only reserved does not count, such as that of a CUDA context, nor do mapped
    files and memory that processes share.
    """
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return
    taken = next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmData:"))
    _limit_memory(taken + growth_bytes, for_good=True)


def report_progress(text: str) -> None:
    """Report from within a child how far it is; the text goes to the `progress` of `run_child`."""
    sys.stdout.write(f"{PROGRESS}{text}\n")
    sys.stdout.flush()


def _plain(error: Error) -> dict[str, Any]:
    plain = asdict(error)
    return {name: plain[name] for name in ("code", "message", "hint", "cause")}


def _limit_and_watch() -> None:
    stdin = sys.stdin.buffer.fileno()

    def watch() -> None:
        while os.read(stdin, 1):
            pass
        os.killpg(os.getpgrp(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()


def _limit_memory(memory_bytes: int, *, for_good: bool = False) -> None:
    """Limit what the child allocates; mapped libraries do not count (setrlimit(2), RLIMIT_DATA)."""
    try:
        import resource
    except ImportError:
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    soft = memory_bytes if hard == resource.RLIM_INFINITY else min(memory_bytes, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (soft, soft if for_good else hard))


def _unlimit_memory() -> None:
    """Lift the limit, so that the answer of a job that has used it up can be written."""
    try:
        import resource
    except ImportError:
        return
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (hard, hard))
