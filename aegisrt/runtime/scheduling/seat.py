"""`Seat`: where one worker waits for its next batch."""

from __future__ import annotations

import threading

from aegisrt.runtime.scheduling.pending import Queued


class Seat:
    """A worker's place at its queue; `batch` is guarded by the queue's lock.

    `wake` is held until the worker is to wake: the thread that removes a seat from the queue's idle ones releases it,
    once. It is a plain lock, because each `threading.Condition.wait` creates a new lock, a cost of every request.
    """

    __slots__ = ("batch", "wake")

    def __init__(self) -> None:
        self.wake = threading.Lock()
        self.wake.acquire()
        self.batch: list[Queued] = []
        """The requests that the worker runs or will run; empty while it has none."""
