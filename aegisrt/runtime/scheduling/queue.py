"""`RequestQueue`: the requests of one model that wait, and the count of its free instances."""

from __future__ import annotations

import threading
from collections.abc import Hashable
from time import perf_counter_ns
from typing import Literal

from aegisrt.core.deadline import left_s
from aegisrt.runtime.scheduling.batch_rule import BatchRule
from aegisrt.runtime.scheduling.lane import Lane
from aegisrt.runtime.scheduling.pending import Pending, Stage
from aegisrt.runtime.scheduling.seat import Seat

Put = Literal["queued", "full", "closed", "gone"]


class RequestQueue:
    """Bounded, by priority and then by age; one lane for each shape of request.

    One lock guards all of its state and the `stage` of its requests. Under it only counts and references change: no
    engine runs, no request is answered, no caller's code is called and no other lock is taken. So whoever holds it lets
    go of it within microseconds.

    An instance is free or entered: `enter` takes a free one while nobody waits, `take` a free one for a worker with the
    batch that it shall run; they are given back by `leave` and `finish`. Hence at most `instances` calls run at once.
    Where a worker is idle and there is no batching, `put` gives it both at once. With batching the worker takes what
    waits when it has woken: by then there may be more.
    """

    def __init__(self, instances: int, max_size: int, rule: BatchRule) -> None:
        self.instances = instances
        self._max_size = max_size
        self._rule = rule
        self._lock = threading.Lock()
        self._room = threading.Condition(self._lock)
        self._ended = threading.Condition(self._lock)
        self._lanes: dict[Hashable, Lane] = {}
        self._size = 0
        self._free = instances
        self._seats: list[Seat] = []
        self._idle: list[Seat] = []
        """Seats of workers that wait to be called; the last one first, its caches are warm."""
        self._held = 0
        """Callers that wait for room."""
        self._closed = False

    # -- an instance without a queue ------------------------------------------------------------------------------

    def enter(self, held: list[bool]) -> bool:
        """Return True if an instance was free and nobody waited: the caller runs on it now, and leaves it.

        `held`, of one element, says whether it has one, also to a caller that is interrupted before it is told: Python
        handles signals between calls, and not between the two lines that change the count and `held`.
        """
        with self._lock:
            if not self._free or self._size or self._closed:
                return False
            self._free -= 1
            held[0] = True
            return True

    def leave(self, held: list[bool]) -> None:
        """Give back an instance that was entered; once, however often it is called."""
        with self._lock:
            if held[0]:
                self._free += 1
                held[0] = False
            self._tell_free()

    def finish(self, seat: Seat) -> list[bool]:
        """Give back a worker's instance; return for each request of its batch whether its answer is awaited."""
        with self._lock:
            awaited = []
            for pending in seat.batch:
                awaited.append(pending.stage == "running")
                pending.stage = "done"
            seat.batch = []
            self._free += 1
            self._tell_free()
            return awaited

    def _tell_free(self) -> None:
        if self._size:
            self._call_one()
        if self._closed:
            self._ended.notify_all()

    # -- the queue ------------------------------------------------------------------------------------------------

    def put(self, pending: Pending, *, wait: bool) -> Put:
        """Return what became of a request; with `wait`, wait for room until its deadline or its `cancel`.

        `full`: it is as it was. `closed`: the caller ends it. `gone`: somebody else has.
        """
        with self._lock:
            while self._size >= self._max_size and not self._closed and pending.stage == "new":
                wait_s = None if pending.deadline_ns is None else left_s(pending.deadline_ns)
                if not wait or wait_s == 0:
                    return "full"
                self._await_room(wait_s)
            if pending.stage != "new":
                return "gone"
            if self._closed:
                pending.stage = "done"
                return "closed"
            if self._rule.is_single and self._idle and self._free and not self._size:
                seat = self._idle.pop()
                self._free -= 1
                pending.stage = "running"
                seat.batch = [pending]
                seat.wake.release()
                if self._held:
                    self._room.notify()  # the room that this caller may have been called for is another's
                return "queued"
            lane = self._lanes.get(pending.key)
            if lane is None:
                lane = self._lanes[pending.key] = Lane()
            lane.add(pending)
            self._size += 1
            pending.stage = "queued"
            if self._free:
                self._call_one()
            return "queued"

    def _await_room(self, wait_s: float | None) -> None:
        self._held += 1
        try:
            self._room.wait(wait_s)
        except BaseException:
            self._room.notify()  # who is interrupted may have been called, and goes
            raise
        finally:
            self._held -= 1

    def claim(self, pending: Pending, *, also_running: bool) -> Stage | None:
        """Return where the request was, and take it out: the caller ends it now. None where it is not to be had."""
        with self._lock:
            stage = pending.stage
            if stage == "done" or (stage == "running" and not also_running):
                return None
            if stage == "queued":
                self._remove(pending)
            elif stage == "new" and self._held:
                self._room.notify_all()
            pending.stage = "done"
            return stage

    def sit(self) -> Seat:
        """Return a seat for a worker of this queue."""
        seat = Seat()
        with self._lock:
            self._seats.append(seat)
        return seat

    def take(self, seat: Seat) -> list[Pending] | None:
        """Return the next batch, with an instance to run it on, when there are both; None after the end."""
        while True:
            with self._lock:
                wait_s = -1.0
                if self._free and self._size:
                    batch, wait_s = self._next()
                    if batch:
                        self._start(seat, batch)
                        return batch
                elif self._closed and not self._size:
                    return None
                self._idle.append(seat)
            if not seat.wake.acquire(timeout=wait_s):
                self._rise(seat)
            if seat.batch:
                return seat.batch

    def _rise(self, seat: Seat) -> None:
        """Take a seat from the idle ones whose worker need not be called, unless somebody has called it meanwhile."""
        with self._lock:
            if seat in self._idle:
                self._idle.remove(seat)
            else:
                seat.wake.acquire()

    def _next(self) -> tuple[list[Pending], float]:
        """Return the next batch, or none and in how many seconds there is one."""
        if self._rule.is_single:
            return [self._lanes[None].take_first()], 0.0
        now = perf_counter_ns()
        batch, due_ns = self._form(now)
        return batch, max(0, due_ns - now) / 1e9

    def _form(self, now: int) -> tuple[list[Pending], int]:
        """Return the batch that goes first, or none and when the next one is due."""
        due_ns, best, best_count = now + 3_600_000_000_000, None, 0
        for lane in self._lanes.values():
            due = lane.oldest_ns() + self._rule.delay_ns
            count = self._rule.count(lane, overdue=due <= now or self._closed)
            if not count:
                due_ns = min(due_ns, due)
            elif best is None or _rank(lane) < _rank(best):
                best, best_count = lane, count
        if best is None:
            return [], due_ns
        batch = best.take(best_count)
        self._forget_empty(batch[0].key, best)
        return batch, now

    def _start(self, seat: Seat, batch: list[Pending]) -> None:
        self._size -= len(batch)
        self._free -= 1
        for pending in batch:
            pending.stage = "running"
        seat.batch = batch
        if self._held:
            self._room.notify(len(batch))
        if self._size:
            self._call_one()
        elif self._closed:
            self._call_all()

    def _call_one(self) -> None:
        if self._idle:
            self._idle.pop().wake.release()

    def _call_all(self) -> None:
        while self._idle:
            self._idle.pop().wake.release()

    def _remove(self, pending: Pending) -> None:
        lane = self._lanes[pending.key]
        lane.remove(pending)
        self._forget_empty(pending.key, lane)
        self._size -= 1
        pending.stage = "done"
        self._room.notify()
        if self._closed:
            self._call_all()
            self._ended.notify_all()

    def _forget_empty(self, key: Hashable, lane: Lane) -> None:
        """Drop a lane that waits for nothing, save the one of a model without batching."""
        if not lane and key is not None:
            del self._lanes[key]

    # -- the end --------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Take no more requests; workers end when none waits, and no batch waits for more."""
        with self._lock:
            self._closed = True
            self._call_all()
            self._room.notify_all()
            self._ended.notify_all()

    def claim_waiting(self) -> list[Pending]:
        """Return every request that waited, taken out."""
        with self._lock:
            waiting = [pending for lane in self._lanes.values() for pending in lane]
            for pending in waiting:
                self._remove(pending)
            return waiting

    def wait_ended(self, deadline_ns: int) -> bool:
        """Return True when nothing waits and nothing runs; False at the deadline."""
        with self._lock:
            while self._size or self._free < self.instances:
                wait_s = left_s(deadline_ns)
                if not wait_s:
                    return False
                self._ended.wait(wait_s)
            return True

    def running(self) -> list[Pending]:
        """Return the requests that workers run now."""
        with self._lock:
            return [pending for seat in self._seats for pending in seat.batch]

    def load(self) -> tuple[int, int]:
        """Return how many instances are busy, and how many requests wait."""
        with self._lock:
            return self.instances - self._free, self._size


def _rank(lane: Lane) -> tuple[int, int]:
    first = lane.first()
    return first.level, first.entered_ns
