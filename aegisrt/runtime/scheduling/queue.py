"""`RequestQueue`: the waiting requests of one model, and the count of its free instances."""

from __future__ import annotations

import threading
from time import perf_counter_ns
from typing import Any, Literal

from aegisrt.backends.base.call import Call
from aegisrt.core.deadline import left_s
from aegisrt.runtime.scheduling.batch_rule import ALONE, BatchRule
from aegisrt.runtime.scheduling.pending import Queued, Stage
from aegisrt.runtime.scheduling.seat import Seat
from aegisrt.runtime.scheduling.waiting import WaitingRequests

Put = Literal["queued", "full", "closed", "gone"]


class RequestQueue:
    """Bounded; ordered by priority and then by age, with one lane for each shape of request.

    One lock guards all of its state and the `stage` of its requests: the gate of its backend, which guards the slots
    too. So a call in the caller's own thread takes it twice: once to take an instance and its slot, once to free both.
    Only counts and references change under it: no engine runs, no request is answered, no caller's code is called and
    no other lock is taken. So each holder releases it within microseconds.

    An instance is free or taken. `enter` takes a free one for its caller if no request waits, and `leave` frees it;
    `take` takes one for a worker, together with the batch to run on it, and `finish` frees it. Hence at most
    `instances` calls run at once. If a worker is idle and there is no batching, `put` hands both to the worker at once.
    With batching the worker takes its batch itself when it has woken: by then more requests may wait.
    """

    def __init__(self, instances: int, max_size: int, rule: BatchRule, gate: threading.Lock) -> None:
        self.instances = instances
        self._max_size = max_size
        self._lock = gate
        self._room = threading.Condition(self._lock)
        self._ended = threading.Condition(self._lock)
        self._waiting = WaitingRequests(rule)
        self._free = instances
        self._seats: list[Seat] = []
        self._idle: list[Seat] = []
        """Seats of workers that wait for work. The last one is woken first: its data is most likely in a CPU cache."""
        self._held = 0
        """Callers that wait for room."""
        self._closed = False

    @property
    def is_idle(self) -> bool:
        """Whether an instance is free and no request waits; read without the lock, so it may change at once."""
        return self._free > 0 and not self._waiting.size

    @property
    def is_closed(self) -> bool:
        """Whether no request is accepted any more; read without the lock."""
        return self._closed

    def enter(self, call: Call[Any, Any]) -> bool:
        """Take a free instance, and a slot of the backend, for the caller's own thread.

        Return False if there is none, or if requests wait. `call.has_slot` changes with the counts, under the same
        lock: Python handles signals between calls, and there is no call between these lines. So `leave` is right even
        if the caller is interrupted before it gets the return value.
        """
        with self._lock:
            loaded = call.loaded
            slots = loaded.free
            if not self._free or self._waiting.size or self._closed or not slots or loaded.is_replaced:
                return False
            self._free -= 1
            call.slot = slots[0]
            call.has_slot = True
            del slots[0]
            return True

    def leave(self, call: Call[Any, Any]) -> None:
        """Free the instance and the slot of a call that has entered; only the first call has an effect."""
        with self._lock:
            loaded = call.loaded
            if call.has_slot:
                call.has_slot = False
                self._free += 1
                loaded.free += (call.slot,)
            if self._waiting.size or self._closed:
                self._notify_free()
            if loaded.waiting or loaded.is_replaced:
                loaded.slot_freed()

    def finish(self, seat: Seat) -> list[bool]:
        """Free a worker's instance; return for each request of its batch whether its answer is awaited."""
        with self._lock:
            awaited = []
            for pending in seat.batch:
                awaited.append(pending.stage == "running")
                pending.stage, pending.call = "done", None
            seat.batch = []
            self._free += 1
            self._notify_free()
            return awaited

    def put(self, pending: Queued, *, wait: bool) -> Put:
        """Add a request; with `wait`, wait for room until its deadline or its `cancel`.

        Return `queued`; `full` if there is no room, and the request is unchanged; `closed` if the caller must answer
        it; `gone` if another thread has settled it.
        """
        with self._lock:
            while self._is_full() and not self._closed and pending.stage == "new":
                wait_s = None if pending.deadline_ns is None else left_s(pending.deadline_ns)
                if not wait or wait_s == 0:
                    return "full"
                self._await_room(wait_s)
            if pending.stage != "new":
                return "gone"
            if self._closed:
                pending.stage, pending.call = "done", None
                return "closed"
            if self._waiting.rule.is_single and self._idle and self._free and not self._waiting.size:
                self._hand_over(pending)
                return "queued"
            self._waiting.add(pending)
            pending.stage = "queued"
            if self._free:
                self._wake_one()
            return "queued"

    def _is_full(self) -> bool:
        """Return whether there is no room. Requests that a free instance is about to take need none.

        Its worker may not have woken yet, or not even have started; or it waits for a batch to fill.
        """
        if self._waiting.size < self._max_size or not self._free:
            return self._waiting.size >= self._max_size
        return self._waiting.size - self._waiting.count_taken(self._free) >= self._max_size

    def _hand_over(self, pending: Queued) -> None:
        """Give a request and a free instance to an idle worker, past the lanes."""
        seat = self._idle.pop()
        self._free -= 1
        pending.stage = "running"
        seat.batch = [pending]
        seat.wake.release()
        if self._held:
            # This caller may have been woken for room that it did not need: wake the next one in its place.
            self._room.notify()

    def _await_room(self, wait_s: float | None) -> None:
        self._held += 1
        try:
            self._room.wait(wait_s)
        except BaseException:
            # An interrupted caller may have used up a notification: pass it on.
            self._room.notify()
            raise
        finally:
            self._held -= 1

    def claim(self, pending: Queued, *, also_running: bool) -> Stage | None:
        """Remove a request that the caller will settle; return its stage before, or None if it cannot be claimed."""
        with self._lock:
            stage = pending.stage
            if stage == "done" or (stage == "running" and not also_running):
                return None
            if stage == "queued":
                self._remove(pending)
            elif stage == "new":
                pending.call = None
                if self._held:
                    self._room.notify_all()
            pending.stage = "done"
            return stage

    def add_seat(self) -> Seat:
        """Return a seat for a new worker of this queue."""
        seat = Seat()
        with self._lock:
            self._seats.append(seat)
        return seat

    def take(self, seat: Seat) -> list[Queued] | None:
        """Wait for a batch and a free instance to run it on; return the batch, or None after the queue's end."""
        while True:
            with self._lock:
                wait_s = -1.0
                if self._free and self._waiting.size:
                    now = perf_counter_ns()
                    batch, due_ns = self._waiting.take(now, closed=self._closed)
                    if batch:
                        self._start(seat, batch)
                        return batch
                    wait_s = max(0, due_ns - now) / 1e9
                    if self._held:
                        # The batch that this instance waits for has room, although as many requests wait as may.
                        self._room.notify(self._waiting.rule.max_rows)
                elif self._closed and not self._waiting.size:
                    return None
                self._idle.append(seat)
            if not seat.wake.acquire(timeout=wait_s):
                self._stop_idling(seat)
            if seat.batch:
                return seat.batch

    def _stop_idling(self, seat: Seat) -> None:
        """Remove a seat from the idle ones after its timeout.

        If another thread has removed the seat meanwhile, it has released `wake` too: take that, or the worker's next
        wait would end at once.
        """
        with self._lock:
            if seat in self._idle:
                self._idle.remove(seat)
            else:
                seat.wake.acquire()

    def _start(self, seat: Seat, batch: list[Queued]) -> None:
        self._free -= 1
        for pending in batch:
            pending.stage = "running"
        seat.batch = batch
        if self._held:
            self._room.notify(len(batch))
        if self._waiting.size:
            self._wake_one()
        elif self._closed:
            self._wake_all()

    def _notify_free(self) -> None:
        if self._waiting.size:
            self._wake_one()
        if self._closed:
            self._ended.notify_all()

    def _wake_one(self) -> None:
        if self._idle:
            self._idle.pop().wake.release()

    def _wake_all(self) -> None:
        while self._idle:
            self._idle.pop().wake.release()

    def _remove(self, pending: Queued) -> None:
        self._waiting.remove(pending)
        pending.stage, pending.call = "done", None
        self._room.notify()
        if self._closed:
            self._wake_all()
            self._ended.notify_all()

    def close(self) -> None:
        """Accept no more requests; workers end when none waits, and no batch waits for more."""
        with self._lock:
            self._closed = True
            self._wake_all()
            self._room.notify_all()
            self._ended.notify_all()

    def stop_batching(self) -> None:
        """Run each request alone from now on; start those at once that wait for others to join them."""
        with self._lock:
            self._waiting.rule = ALONE
            self._wake_all()

    def claim_waiting(self) -> list[Queued]:
        """Remove and return every waiting request; the caller settles them."""
        with self._lock:
            waiting = list(self._waiting)
            for pending in waiting:
                self._remove(pending)
            return waiting

    def wait_ended(self, deadline_ns: int) -> bool:
        """Return True once nothing waits and nothing runs; False at the deadline."""
        with self._lock:
            while self._waiting.size or self._free < self.instances:
                wait_s = left_s(deadline_ns)
                if not wait_s:
                    return False
                self._ended.wait(wait_s)
            return True

    def running(self) -> list[Queued]:
        """Return the requests that workers run now."""
        with self._lock:
            return [pending for seat in self._seats for pending in seat.batch]

    def load(self) -> tuple[int, int]:
        """Return how many instances are busy, and how many requests wait."""
        with self._lock:
            return self.instances - self._free, self._waiting.size
