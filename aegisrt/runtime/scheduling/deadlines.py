"""`DeadlineWatch`: answers requests whose deadline passes while no thread waits for them in `execute`."""

from __future__ import annotations

import heapq
import threading
from collections.abc import Callable
from itertools import count

from aegisrt.core.deadline import left_s
from aegisrt.runtime.scheduling.pending import Queued

Expire = Callable[[Queued], None]
_COMPACT_FROM = 1024


class DeadlineWatch:
    """One thread for all models of a context, started by the first request that needs it.

    Its lock guards the heap; requests are answered without it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._heap: list[tuple[int, int, Queued, Expire]] = []
        self._order = count()
        self._compact_at = _COMPACT_FROM
        self._thread: threading.Thread | None = None
        self._closed = False

    def add(self, pending: Queued, expire: Expire) -> None:
        """Call `expire(pending)` from the watch's thread once its deadline has passed, unless it is done by then.

        Raise RuntimeError if the watch's thread cannot start.
        """
        assert pending.deadline_ns is not None
        with self._lock:
            if self._closed:
                return
            if self._thread is None:
                thread = threading.Thread(target=self._watch, name="aegisrt-deadlines", daemon=True)
                thread.start()
                self._thread = thread
            heapq.heappush(self._heap, (pending.deadline_ns, next(self._order), pending, expire))
            if self._heap[0][2] is pending:
                self._changed.notify()
            if len(self._heap) >= self._compact_at:
                self._forget_done()

    def is_here(self) -> bool:
        """Return whether the caller is a callback that runs in the watch's own thread."""
        return self._thread is threading.current_thread()

    def close(self, wait_s: float | None = None) -> bool:
        """End the thread; return False if it still runs after `wait_s` seconds. No request expires any more."""
        with self._lock:
            self._closed = True
            self._heap.clear()
            self._changed.notify()
        if self._thread is None or self.is_here():
            return True
        self._thread.join(wait_s)
        return not self._thread.is_alive()

    def _forget_done(self) -> None:
        """Drop answered requests, which would pile up with long timeouts at a high rate; amortized over the adds."""
        self._heap = [entry for entry in self._heap if not entry[2].done()]
        heapq.heapify(self._heap)
        self._compact_at = max(_COMPACT_FROM, 2 * len(self._heap))

    def _watch(self) -> None:
        while True:
            with self._lock:
                while not self._closed and (wait_s := self._wait_s()) != 0:
                    self._changed.wait(wait_s)
                if self._closed:
                    return
                _, _, pending, expire = heapq.heappop(self._heap)
            expire(pending)
            del pending, expire

    def _wait_s(self) -> float | None:
        return left_s(self._heap[0][0]) if self._heap else None
