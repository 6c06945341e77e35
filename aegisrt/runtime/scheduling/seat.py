"""`Seat`: where one worker waits for its next batch."""

from __future__ import annotations

import threading

from aegisrt.runtime.scheduling.pending import Pending


class Seat:
    """A worker's place at its queue; `batch` is guarded by the queue's lock.

    `wake` is held while nobody calls the worker. It is a plain lock, because each `threading.Condition.wait` makes a
    new one, and a request pays for it. Who takes a seat from the queue's idle ones releases `wake`, once.
    """

    __slots__ = ("batch", "wake")

    def __init__(self) -> None:
        self.wake = threading.Lock()
        self.wake.acquire()
        self.batch: list[Pending] = []
        """What the worker runs, or is to run; empty while it has nothing to do."""
