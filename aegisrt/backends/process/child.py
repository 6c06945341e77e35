"""`child_main`: what runs in the child process that `run_child` (job.py) starts."""

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

from aegisrt.core.result import Error, ErrorCode, ResultError

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
    except MemoryError:
        plain = {"error": _plain(Error(ErrorCode.RESOURCE_EXHAUSTED, "it ran out of memory", "allow more memory"))}
    fresh = answer.with_suffix(".part")
    fresh.write_text(json.dumps(plain), encoding="utf-8")
    fresh.replace(answer)


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


def _limit_memory(memory_bytes: int) -> None:
    """Limit what the child allocates; mapped libraries do not count (setrlimit(2), RLIMIT_DATA)."""
    try:
        import resource
    except ImportError:
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, memory_bytes))
