"""`WaitingRequests`: the waiting requests of one model, one lane for each key of a batch."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from itertools import chain

from aegisrt.runtime.scheduling.batch_rule import BatchRule
from aegisrt.runtime.scheduling.lane import Lane
from aegisrt.runtime.scheduling.pending import Queued

_HOUR_NS = 3_600_000_000_000


class WaitingRequests:
    """Not thread-safe: the queue that owns it holds its lock."""

    __slots__ = ("_lanes", "rule", "size")

    def __init__(self, rule: BatchRule) -> None:
        self._lanes: dict[Hashable, Lane] = {}
        self.rule = rule
        self.size = 0
        """The number of waiting requests."""

    def __iter__(self) -> Iterator[Queued]:
        return chain.from_iterable(self._lanes.values())

    def add(self, pending: Queued) -> None:
        """Append a request to the lane of its key."""
        lane = self._lanes.get(pending.key)
        if lane is None:
            lane = self._lanes[pending.key] = Lane()
        lane.add(pending)
        self.size += 1

    def remove(self, pending: Queued) -> None:
        """Remove one request, wherever it waits."""
        lane = self._lanes[pending.key]
        lane.remove(pending)
        self._forget_empty(pending.key, lane)
        self.size -= 1

    def take(self, now_ns: int, *, closed: bool) -> tuple[list[Queued], int]:
        """Remove and return the batch that goes first; or no requests, and when the next batch is due.

        The lanes are not empty. Once the queue is `closed`, no batch waits for more requests.
        """
        if self.rule.is_single:
            self.size -= 1
            return [self._lanes[None].take_first()], now_ns
        due_ns, best, best_count = now_ns + _HOUR_NS, None, 0
        for lane in self._lanes.values():
            due = lane.oldest_ns() + self.rule.delay_ns
            count = self.rule.count(lane, overdue=due <= now_ns or closed)
            if not count:
                due_ns = min(due_ns, due)
            elif best is None or _rank(lane) < _rank(best):
                best, best_count = lane, count
        if best is None:
            return [], due_ns
        batch = best.take(best_count)
        self._forget_empty(batch[0].key, best)
        self.size -= len(batch)
        return batch, now_ns

    def count_taken(self, instances: int) -> int:
        """Return how many requests this many free instances will take: one batch each, as large as is allowed."""
        if self.rule.is_single:
            return min(instances, self.size)
        taken = 0
        for lane in sorted(self._lanes.values(), key=_rank):
            rows = self.rule.max_rows
            for pending in lane:
                if rows >= self.rule.max_rows or rows + pending.rows > self.rule.max_rows:
                    if not instances:
                        return taken
                    instances -= 1
                    rows = 0
                rows += pending.rows
                taken += 1
        return taken

    def _forget_empty(self, key: Hashable, lane: Lane) -> None:
        """Drop an empty lane, except the only one of a model without batching."""
        if not lane and key is not None:
            del self._lanes[key]


def _rank(lane: Lane) -> tuple[int, int]:
    first = lane.first()
    return first.level, first.entered_ns
