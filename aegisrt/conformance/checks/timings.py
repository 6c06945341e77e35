"""Where the time went: what a benchmark prints and an operator tunes by."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from time import perf_counter_ns

from aegisrt.conformance import verdict
from aegisrt.conformance.check import check
from aegisrt.conformance.subject import Subject
from aegisrt.core.timing import StepTimes

_WAIT_NS = 3_000_000
"""The shortest wait that counts: less may pass between two lines of Python on a busy machine."""
_FIX = "Do not override `execute`; the base class takes the times around `_execute`, which must wait for the device."


@check("timings.present", why="Dashboards divide by them; a missing or negative one breaks them all.", fix=_FIX)
def present(subject: Subject) -> None:
    """Every result has the four step times, in whole nanoseconds, none negative, with time in `compute`."""
    backend = subject.loaded()
    for seed in range(10):
        times = subject.call(backend, subject.inputs("affine", seed)).timings
        for step in StepTimes._fields:
            value = getattr(times, step, None)
            verdict.that(type(value) is int and value >= 0, f"`{step}` is {value!r}, wanted nanoseconds, 0 or more")
        verdict.that(times.compute > 0, "`compute` is 0: an engine takes time")


@check(
    "timings.within-the-wall",
    why="Steps that overlap or are counted twice mislead whoever tunes by them.",
    fix=_FIX,
)
def within_the_wall(subject: Subject) -> None:
    """The step times add up to no more than the wall time of the call."""
    backend = subject.loaded()
    for seed in range(20):
        inputs = subject.inputs("affine", seed)
        started = perf_counter_ns()
        times = subject.call(backend, inputs).timings
        wall = perf_counter_ns() - started
        verdict.that(sum(times) <= wall, f"the steps add up to {sum(times)} ns, the call took {wall} ns")


@check(
    "timings.compute-holds-the-work",
    fix=_FIX,
    why="An engine that only enqueues its work answers too early, and the time shows in the copy to the host.",
)
def compute_holds_the_work(subject: Subject) -> None:
    """At least half the wall time of a slow call is in `compute`."""
    name, _ = subject.slow()
    backend = subject.loaded(name)
    inputs = subject.inputs(name)
    shares = []
    for _ in range(3):
        started = perf_counter_ns()
        times = subject.call(backend, inputs).timings
        shares.append(times.compute / (perf_counter_ns() - started))
        if shares[-1] >= 0.5:
            return
    raise verdict.Failed(f"`compute` holds {max(shares):.0%} of a slow call, wanted at least half: {times}")


@check(
    "timings.queue-holds-the-wait",
    fix="Wait for an instance through the base class, not inside `_execute`.",
    why="Waiting that is counted as compute makes an overloaded model look like a slow one.",
)
def queue_holds_the_wait(subject: Subject) -> None:
    """Of two slow calls at once on one instance, one reports its wait in `queue`."""
    name, _ = subject.slow()
    backend = subject.loaded(name, instances=1)
    inputs = subject.inputs(name)

    def call() -> tuple[int, int, int]:
        entered = perf_counter_ns()
        queue = subject.call(backend, inputs).timings.queue
        return perf_counter_ns(), entered, queue

    longest, reported = 0, 0
    for _ in range(5):
        with ThreadPoolExecutor(2) as pool:
            first, second = sorted(future.result() for future in [pool.submit(call) for _ in range(2)])
        ended, entered, _ = first
        waited = ended - max(entered, second[1])
        if waited < _WAIT_NS:
            continue
        if second[2] >= waited / 4:
            return
        longest, reported = max((longest, reported), (waited, second[2]))
    if not longest:
        raise verdict.Skipped("no two calls were in the model at once: this machine is too busy")
    raise verdict.Failed(f"`queue` is {reported} ns, while one call waited {longest} ns for another")
