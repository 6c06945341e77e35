"""`interleaved`: time several calls against each other, so that a disturbance of the machine disturbs all of them."""

from __future__ import annotations

import gc
import os
import random
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median
from time import perf_counter_ns
from typing import TypeAlias

from aegisrt.bench.summary import percentile

Call: TypeAlias = Callable[[], object]


@dataclass(frozen=True, slots=True)
class TimedCalls:
    """The times of one call, in nanoseconds, in the order in which they were measured."""

    name: str
    times_ns: tuple[int, ...]

    @property
    def median_us(self) -> float:
        """The median in microseconds."""
        return median(self.times_ns) / 1e3

    @property
    def p99_us(self) -> float:
        """The 99th percentile in microseconds; of a single time, that time."""
        return percentile(self.times_ns, 99) / 1e3


def interleaved(calls: Mapping[str, Call], rounds: int, warmup: int = 200) -> dict[str, TimedCalls]:
    """Return the times of each call by name; every round makes all calls once, in a new order.

    The order is shuffled (seeded), because each call changes the caches for the next one. The garbage collector is off
    meanwhile. A time includes that of reading the clock, some 50 ns.
    """
    measured: dict[str, list[int]] = {name: [] for name in calls}
    order = [(call, measured[name]) for name, call in calls.items()]
    shuffle = random.Random(0).shuffle  # noqa: S311  (an order, not a secret)
    for _ in range(warmup):
        for call in calls.values():
            call()
    with _no_garbage_collection():
        for _ in range(rounds):
            shuffle(order)
            for call, times in order:
                started = perf_counter_ns()
                call()
                times.append(perf_counter_ns() - started)
    return {name: TimedCalls(name, tuple(times)) for name, times in measured.items()}


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    was_on = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


@contextmanager
def one_core() -> Iterator[None]:
    """Keep the calling thread, and those that it starts, on one core inside the block, if the system can."""
    with on_cores(usable_cores()[-1:]):
        yield


@contextmanager
def on_cores(cores: Sequence[int], others: Iterable[threading.Thread] = ()) -> Iterator[None]:
    """Keep the calling thread on the last of `cores` inside the block, and `others` on the first; no cores: no change.

    How long waking a thread on another core takes depends on how deep that core sleeps, and on where the scheduler put
    the thread when it started: the same hop takes 15 or 80 us, and keeps that time.
    """
    if not cores:
        yield
        return
    places = {0: {cores[-1]}, **{thread.native_id: {cores[0]} for thread in others if thread.native_id}}
    before = {thread: os.sched_getaffinity(thread) for thread in places}
    for thread, place in places.items():
        os.sched_setaffinity(thread, place)
    try:
        yield
    finally:
        for thread, place in before.items():
            os.sched_setaffinity(thread, place)


def usable_cores() -> list[int]:
    """Return the cores that this thread may run on; none if the system does not report them."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
