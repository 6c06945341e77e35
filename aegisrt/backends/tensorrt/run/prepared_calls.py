"""`PreparedCalls`: the prepared calls of one slot by shapes, and their recordings."""

from __future__ import annotations

from collections import OrderedDict
from contextlib import ExitStack
from typing import Any

from aegisrt.backends.tensorrt.run.call import PreparedCall
from aegisrt.backends.tensorrt.run.recording import Recording

CallKey = tuple[Any, ...]
"""Shapes and requested outputs, and the values of inputs that hold sizes."""


class PreparedCalls:
    """At most `limit` calls; the least recently used is dropped first. In one thread at a time."""

    def __init__(self, limit: int) -> None:
        self.recordings: dict[PreparedCall, Recording] = {}
        self._limit = limit
        self._calls: OrderedDict[CallKey, PreparedCall] = OrderedDict()
        self._newest: PreparedCall | None = None
        """The call used last, which is at the end of `_calls`."""

    def get(self, key: CallKey) -> PreparedCall | None:
        """Return the call, now the most recently used one, or None."""
        call = self._calls.get(key)
        if call is not None and call is not self._newest:
            self._calls.move_to_end(key)
            self._newest = call
        return call

    def add(self, key: CallKey, call: PreparedCall) -> None:
        """Add the most recently used call; drop the oldest ones beyond the limit, and close their recordings."""
        self._calls[key] = self._newest = call
        while len(self._calls) > self._limit:
            _, oldest = self._calls.popitem(last=False)
            recording = self.recordings.pop(oldest, None)
            if recording is not None:
                recording.close()

    def clear(self) -> None:
        """Drop all calls and close all recordings: their addresses are no longer valid."""
        with ExitStack() as recordings:  # each of them, even if another one fails
            for recording in self.recordings.values():
                recordings.callback(recording.close)
            self.recordings.clear()
            self._calls.clear()
            self._newest = None
