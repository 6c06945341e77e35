"""`FewThreads`: limits the threads in which a session with `enable_cuda_graph` runs."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")

DIRECT = 4
"""How many callers' threads run the session themselves."""


class FewThreads:
    """Runs the calls of the first threads in those threads, and the calls of all later threads in one of its own.

    For each thread that ever ran such a session, ONNX Runtime keeps libraries' handles, their workspace and recordings
    until the session ends, even after the thread has ended: 74 MiB each on an H200, with ONNX Runtime 1.31.
    Thread-safe: calls run one after the other.
    """

    def __init__(self) -> None:
        self._busy = threading.Lock()
        """Held by each call: one whose caller was interrupted goes on in the thread of our own."""
        self._choosing = threading.Lock()
        self._direct = 0
        self._thread = threading.local()
        self._ours: ThreadPoolExecutor | None = None

    def run(self, call: Callable[..., T], *arguments: Any) -> T:
        """Return what a call returns, or raise what it raises."""
        ours = None if hasattr(self._thread, "runs_directly") else self._choose()
        if ours is None:
            with self._busy:
                return call(*arguments)
        return ours.submit(self._alone, call, *arguments).result()

    def close(self) -> None:
        """End the thread of our own when its call is done; may be called again. No call may follow."""
        ours, self._ours = self._ours, None
        if ours is not None:
            ours.shutdown()

    def _choose(self) -> ThreadPoolExecutor | None:
        """Return the executor for the calls of this new thread; None if the thread runs them itself."""
        with self._choosing:
            if self._direct < DIRECT:
                self._direct += 1
                self._thread.runs_directly = True
                return None
            if self._ours is None:
                self._ours = ThreadPoolExecutor(1, "aegisrt-onnx")
            return self._ours

    def _alone(self, call: Callable[..., T], *arguments: Any) -> T:
        with self._busy:
            return call(*arguments)
