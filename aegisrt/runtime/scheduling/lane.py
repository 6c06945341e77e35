"""`Lane`: waiting requests that may share a batch, high priority first and then in order of arrival."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from itertools import chain, islice

from aegisrt.core.priority import PRIORITIES
from aegisrt.runtime.scheduling.pending import Queued


class Lane:
    """Not thread-safe: the queue that owns it holds its lock."""

    __slots__ = ("_levels", "rows")

    def __init__(self) -> None:
        self._levels: tuple[OrderedDict[Queued, None], ...] = tuple(OrderedDict() for _ in PRIORITIES)
        self.rows = 0

    def __iter__(self) -> Iterator[Queued]:
        return chain.from_iterable(self._levels)

    def __bool__(self) -> bool:
        return any(self._levels)

    def add(self, pending: Queued) -> None:
        """Append a request behind the others of its priority."""
        self._levels[pending.level][pending] = None
        self.rows += pending.rows

    def remove(self, pending: Queued) -> None:
        """Remove one request, wherever it waits."""
        del self._levels[pending.level][pending]
        self.rows -= pending.rows

    def take(self, count: int) -> list[Queued]:
        """Remove and return the first `count` requests."""
        taken = list(islice(self, count))
        for pending in taken:
            self.remove(pending)
        return taken

    def take_first(self) -> Queued:
        """Remove and return the request that goes first; the lane is not empty."""
        for level in self._levels:
            if level:
                pending, _ = level.popitem(last=False)
                self.rows -= pending.rows
                return pending
        raise LookupError("the lane is empty")

    def first(self) -> Queued:
        """Return the request that goes first; the lane is not empty."""
        return next(iter(self))

    def oldest_ns(self) -> int:
        """Return when the request that has waited longest entered."""
        return min(next(iter(level)).entered_ns for level in self._levels if level)
