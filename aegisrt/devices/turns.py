"""`Turns`: one queue for all instances that name a `shared` stream on a CPU."""

from __future__ import annotations

import threading
from collections import deque

from aegisrt.core.deadline import left_s


class Turns:
    """Lets one call run at a time, in order of arrival. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: deque[threading.Lock] = deque()
        self._taken = False

    def take(self, deadline_ns: int | None) -> bool:
        """Wait for the caller's turn. Return False if the deadline passes first. After True, call `give`."""
        with self._lock:
            if not self._taken:
                self._taken = True
                return True
            mine = threading.Lock()
            mine.acquire()
            self._waiting.append(mine)
        try:
            if mine.acquire(timeout=-1 if deadline_ns is None else left_s(deadline_ns)):
                return True
        except BaseException:
            self._go(mine)
            raise
        self._go(mine)
        return False

    def give(self) -> None:
        """End the caller's turn, and start the turn of the caller that has waited longest."""
        with self._lock:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._taken = False

    def _go(self, mine: threading.Lock) -> None:
        """Stop waiting. If the turn has started meanwhile, pass it to the next caller."""
        with self._lock:
            if mine in self._waiting:
                self._waiting.remove(mine)
                return
        self.give()
