"""`offline` and `server`, which send without waiting for the last answer."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from time import perf_counter_ns

from aegisrt.bench.scenario_run import ScenarioRun, record, time_bare
from aegisrt.bench.summary import RequestTimes
from aegisrt.core.request import ExecutionRequest, ExecutionResult
from aegisrt.core.result import ErrorCode, Result, fail

_BEHIND_NS = 3_000_000_000
"""How late a request of `server` may be sent before the turn is given up."""
_OUTSTANDING = 256
"""Requests that `offline` keeps in flight; fewer if the model's queue takes fewer."""


def offline(run: ScenarioRun, turn: int) -> None:  # noqa: ARG001
    """Keep as many requests in flight as the queue takes, up to 256, for one turn."""
    next_request, _ = run.workload.in_turn()
    queue = run.workload.context.graph.manifest.models[run.workload.model].queue
    flight = _Flight(run.ours, min(_OUTSTANDING, queue.max_queue_size))
    began = perf_counter_ns()
    while perf_counter_ns() < began + run.turn_ns:
        flight.send(run.workload.context.submit, next_request(), None)
    flight.land()
    run.ours.elapsed_ns += perf_counter_ns() - began


def offline_bare(run: ScenarioRun, turn: int) -> None:  # noqa: ARG001
    """Make one bare call after the other for one turn."""
    _, next_bare = run.workload.in_turn()
    began = perf_counter_ns()
    while perf_counter_ns() < began + run.turn_ns:
        time_bare((next_bare(),), run.bare)
    run.bare.elapsed_ns += perf_counter_ns() - began


def server(run: ScenarioRun, turn: int) -> None:
    """Send each request of one turn when it is due, whatever the model does."""
    next_request, _ = run.workload.in_turn()
    flight = _Flight(run.ours, None)
    began = perf_counter_ns()
    try:
        for due in _arrivals(run, turn, began, "this client"):
            flight.send(run.workload.context.submit, next_request(), due)
    finally:
        flight.land()
    run.ours.elapsed_ns += perf_counter_ns() - began


def server_bare(run: ScenarioRun, turn: int) -> None:
    """Make a bare call when each request of one turn is due, or as soon after as the last one has returned."""
    _, next_bare = run.workload.in_turn()
    began = perf_counter_ns()
    for due in _arrivals(run, turn, began, "the bare engine, one call at a time,"):
        time_bare((next_bare(),), run.bare, due)
    run.bare.elapsed_ns += perf_counter_ns() - began


def _arrivals(run: ScenarioRun, turn: int, began_ns: int, sender: str) -> Iterator[int]:
    """Wait until each request of one turn is due, and yield that moment; the same moments for both kinds.

    RESOURCE_EXHAUSTED: if the sender is too far behind; at a rate of millions it would never end.
    """
    assert run.qps is not None
    # Seeded by the turn: ours and the bare engine get the same arrivals.
    chance, due, count = random.Random(turn), float(began_ns), 0  # noqa: S311  (arrivals, not a secret)
    while (due := due + chance.expovariate(run.qps) * 1e9) < began_ns + run.turn_ns:
        _wait_until(int(due))
        if perf_counter_ns() - due > _BEHIND_NS:
            reached = count / (perf_counter_ns() - began_ns) * 1e9
            message = f"{sender} reaches {reached:.0f} requests a second, and {run.qps:g} were requested"
            raise fail(ErrorCode.RESOURCE_EXHAUSTED, message, "use a lower --qps")
        count += 1
        yield int(due)


class _Flight:
    """Requests in flight: records each answer in the thread in which it arrives."""

    def __init__(self, times: RequestTimes, most: int | None) -> None:
        self._times = times
        self._lock = threading.Lock()
        self._room = threading.Semaphore(most) if most else None
        self._landed = threading.Condition(self._lock)
        self._out = 0

    def send(
        self,
        submit: Callable[[ExecutionRequest], Future[Result[ExecutionResult]]],
        request: ExecutionRequest,
        due_ns: int | None,
    ) -> None:
        """Submit a request that was due at `due_ns`; None means now, after a wait if the flight is full."""
        if self._room is not None:
            self._room.acquire()
        with self._lock:
            self._out += 1
        since = perf_counter_ns() if due_ns is None else due_ns
        submit(request).add_done_callback(lambda future: self._answered(future.result(), since))

    def _answered(self, result: Result[ExecutionResult], since_ns: int) -> None:
        with self._lock:
            record(self._times, result, since_ns, perf_counter_ns())
            self._out -= 1
            if not self._out:
                self._landed.notify_all()
        if self._room is not None:
            self._room.release()

    def land(self) -> None:
        """Wait until every request is answered."""
        with self._lock:
            while self._out:
                self._landed.wait()


def _wait_until(moment_ns: int) -> None:
    """Sleep; a sleep that ends late is part of the latency, and spinning would take a core from the model."""
    left_ns = moment_ns - perf_counter_ns()
    if left_ns > 0:
        time.sleep(left_ns / 1e9)
