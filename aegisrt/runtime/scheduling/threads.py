"""`WorkerThreads`: the worker threads of one model, started by its first request that needs one."""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import perf_counter_ns

from aegisrt.core.deadline import left_s
from aegisrt.core.shown.log import Log

_log = Log(__name__)


class WorkerThreads:
    """One thread for each instance. Thread-safe; the lock is held only while threads are started."""

    def __init__(self, model: str, count: int, work: Callable[[], None]) -> None:
        """Each thread calls `work` once, and ends with it."""
        self.threads: list[threading.Thread] = []
        """Empty until they are started; not emptied when they end."""
        self._model = model
        self._count = count
        self._work = work
        self._starting = threading.Lock()
        self._closed = False

    def start(self) -> None:
        """Start them, once; raise RuntimeError if no thread can start; run with fewer if only some can."""
        with self._starting:
            if self.threads or self._closed:
                return
            for index in range(self._count):
                thread = threading.Thread(target=self._run, name=f"aegisrt-{self._model}-{index}", daemon=True)
                try:
                    thread.start()
                except RuntimeError as error:
                    if not self.threads:
                        raise
                    _log.warning("model `%s` has %d of %d workers: %s", self._model, index, self._count, error)
                    return
                self.threads.append(thread)

    def is_here(self) -> bool:
        """Return whether the caller is a callback that runs in one of them."""
        return threading.current_thread() in self.threads

    def stop(self) -> None:
        """Start no more threads."""
        self._closed = True

    def end(self, wait_s: float) -> bool:
        """Wait until all have ended; return False if one still runs after `wait_s` seconds."""
        end_ns = perf_counter_ns() + int(wait_s * 1e9)
        with self._starting:
            threads = list(self.threads)
        for thread in threads:
            thread.join(left_s(end_ns))
        return not any(thread.is_alive() for thread in threads)

    def _run(self) -> None:
        with self._starting:
            pass  # `start` has added the thread to `threads` now, so `is_here` is right in its callbacks
        self._work()
