"""The four scenarios, by MLPerf Inference's names (https://github.com/mlcommons/inference_policies).

- `single-stream`: the next request is sent when the last one is answered; closed loop.
- `multi-stream`: queries of 8 requests at once, the next query when all 8 are answered; closed loop.
- `offline`: all requests are there from the start; what counts is how many are answered a second.
- `server`: requests arrive by a Poisson process, whatever the system does; a latency counts from the moment at which
  its request was due to arrive, so that a stall is seen by every request that it held up (no coordinated omission).

The bare engine does the same in the same run: turn by turn, or in `single-stream` call by call.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from time import perf_counter_ns
from typing import Literal, TypeAlias

from aegisrt.bench.summary import Timed
from aegisrt.bench.workload import Workload
from aegisrt.core.request import ExecutionRequest, ExecutionResult
from aegisrt.core.result import ErrorCode, Ok, Result, fail

Scenario: TypeAlias = Literal["single-stream", "multi-stream", "offline", "server"]
SCENARIOS: tuple[Scenario, ...] = ("single-stream", "multi-stream", "offline", "server")
STREAMS = 8
"""Requests of one query in `multi-stream`, as MLPerf has it."""
TURNS = 5
_BEHIND_NS = 3_000_000_000
"""How far arrivals may come behind their time before a turn of `server` is given up."""
_OUTSTANDING = 256
"""Requests that `offline` keeps in flight; it is less where the model's queue takes fewer."""

Progress: TypeAlias = Callable[[int, int, str], None]


def silent(done: int, total: int, now: str) -> None:
    """Show no progress."""


@dataclass(slots=True)
class Run:
    """One scenario on one workload; `ours` and `bare` fill as it runs."""

    workload: Workload
    seconds: float
    against_bare: bool = False
    qps: float | None = None
    progress: Progress = silent
    ours: Timed = field(default_factory=Timed)
    bare: Timed = field(default_factory=Timed)

    def measure(self, scenario: Scenario) -> None:
        """Warm up, and run a scenario for about the given seconds, of each kind."""
        self._warm_up()
        if scenario == "single-stream":
            self._single_stream()
            return
        turns: dict[Scenario, tuple[Callable[[int], None], Callable[[int], None]]] = {
            "multi-stream": (self._multi_stream, self._multi_stream_bare),
            "offline": (self._offline, self._offline_bare),
            "server": (self._server, self._server_bare),
        }
        ours, bare = turns[scenario]
        for turn in range(TURNS):
            self.progress(turn, TURNS, scenario)
            if self.against_bare:
                bare(turn)
            ours(turn)

    def _warm_up(self) -> None:
        next_request, next_bare = self.workload.in_turn()
        end = perf_counter_ns() + int(min(0.5, self.seconds / 4) * 1e9)
        for count in range(1000):
            self.workload.context.execute(next_request())
            self.workload.context.submit(next_request()).result()
            if self.against_bare:
                next_bare()()
            if count >= 2 and perf_counter_ns() > end:
                break

    @property
    def _turn_ns(self) -> int:
        return int(self.seconds / TURNS * 1e9)

    # -- closed loops ---------------------------------------------------------------------------------------------

    def _single_stream(self) -> None:
        next_request, next_bare = self.workload.in_turn()
        execute, order = self.workload.context.execute, random.Random(0)  # noqa: S311  (an order, not a secret)
        end = perf_counter_ns() + int(self.seconds * 1e9)
        while (now := perf_counter_ns()) < end:
            bare_first = self.against_bare and order.random() < 0.5
            if bare_first:
                _time_bare(next_bare(), self.bare)
            request = next_request()
            started = perf_counter_ns()
            result = execute(request)
            _record(self.ours, result, started, perf_counter_ns())
            if self.against_bare and not bare_first:
                _time_bare(next_bare(), self.bare)
            if not self.ours.samples % 1000:
                self.progress(int(self.seconds * 1e9) - (end - now), int(self.seconds * 1e9), "single-stream")
        for timed in (self.ours, self.bare):
            timed.elapsed_ns = sum(timed.latencies_ns)

    def _multi_stream(self, turn: int) -> None:
        next_request, _ = self.workload.in_turn()
        submit = self.workload.context.submit
        began = perf_counter_ns()
        while (started := perf_counter_ns()) < began + self._turn_ns:
            futures = [submit(next_request()) for _ in range(STREAMS)]
            results = [future.result() for future in futures]
            done = perf_counter_ns()
            failed = [result for result in results if not isinstance(result, Ok)]
            for result in failed:
                self.ours.failed(result.error)
            self.ours.samples += STREAMS - len(failed)
            if not failed:
                self.ours.latencies_ns.append(done - started)
        self.ours.elapsed_ns += perf_counter_ns() - began

    def _multi_stream_bare(self, turn: int) -> None:
        _, next_bare = self.workload.in_turn()
        began = perf_counter_ns()
        while (started := perf_counter_ns()) < began + self._turn_ns:
            for _ in range(STREAMS):
                next_bare()()
            self.bare.latencies_ns.append(perf_counter_ns() - started)
            self.bare.samples += STREAMS
        self.bare.elapsed_ns += perf_counter_ns() - began

    # -- all at once ----------------------------------------------------------------------------------------------

    def _offline(self, turn: int) -> None:
        next_request, _ = self.workload.in_turn()
        model = self.workload.requests[0].model
        assert model is not None
        queue = self.workload.context.graph.manifest.models[model].queue
        flight = _Flight(self.ours, min(_OUTSTANDING, queue.max_queue_size))
        began = perf_counter_ns()
        while perf_counter_ns() < began + self._turn_ns:
            flight.send(self.workload.context.submit, next_request(), None)
        flight.land()
        self.ours.elapsed_ns += perf_counter_ns() - began

    def _offline_bare(self, turn: int) -> None:
        _, next_bare = self.workload.in_turn()
        began = perf_counter_ns()
        while perf_counter_ns() < began + self._turn_ns:
            _time_bare(next_bare(), self.bare)
        self.bare.elapsed_ns += perf_counter_ns() - began

    # -- arrivals -------------------------------------------------------------------------------------------------

    def _server(self, turn: int) -> None:
        next_request, _ = self.workload.in_turn()
        flight = _Flight(self.ours, None)
        began = perf_counter_ns()
        try:
            for due in self._arrivals(turn, began, "this client"):
                flight.send(self.workload.context.submit, next_request(), due)
        finally:
            flight.land()
        self.ours.elapsed_ns += perf_counter_ns() - began

    def _server_bare(self, turn: int) -> None:
        _, next_bare = self.workload.in_turn()
        began = perf_counter_ns()
        for due in self._arrivals(turn, began, "the bare engine, one call at a time,"):
            next_bare()()
            self.bare.latencies_ns.append(perf_counter_ns() - due)
            self.bare.samples += 1
        self.bare.elapsed_ns += perf_counter_ns() - began

    def _arrivals(self, turn: int, began_ns: int, who: str) -> Iterator[int]:
        """Yield at each moment at which a request of one turn is due; the same moments for both kinds.

        RESOURCE_EXHAUSTED where who sends them comes too far behind: it would go on for ever at a rate of millions.
        """
        assert self.qps is not None
        chance, due, count = random.Random(turn), float(began_ns), 0  # noqa: S311  (arrivals, not a secret)
        while (due := due + chance.expovariate(self.qps) * 1e9) < began_ns + self._turn_ns:
            _wait_until(int(due))
            if perf_counter_ns() - due > _BEHIND_NS:
                reached = count / (perf_counter_ns() - began_ns) * 1e9
                message = f"{who} reaches {reached:.0f} requests a second, and {self.qps:g} were asked for"
                raise fail(ErrorCode.RESOURCE_EXHAUSTED, message, "ask for a lower --qps")
            count += 1
            yield int(due)


class _Flight:
    """Requests in flight: counts their answers as they come, in whichever thread they come."""

    def __init__(self, timed: Timed, most: int | None) -> None:
        self._timed = timed
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
        """Submit a request that was due at `due_ns`; None means now, and it waits while the flight is full."""
        if self._room is not None:
            self._room.acquire()
        with self._lock:
            self._out += 1
        since = perf_counter_ns() if due_ns is None else due_ns
        submit(request).add_done_callback(lambda future: self._answered(future.result(), since))

    def _answered(self, result: Result[ExecutionResult], since_ns: int) -> None:
        with self._lock:
            _record(self._timed, result, since_ns, perf_counter_ns())
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


def _record(timed: Timed, result: Result[ExecutionResult], since_ns: int, now_ns: int) -> None:
    if isinstance(result, Ok):
        timed.latencies_ns.append(now_ns - since_ns)
        timed.samples += 1
    else:
        timed.failed(result.error)


def _time_bare(call: Callable[[], object], timed: Timed) -> None:
    started = perf_counter_ns()
    call()
    took = perf_counter_ns() - started
    timed.latencies_ns.append(took)
    timed.samples += 1


def _wait_until(moment_ns: int) -> None:
    """Sleep; that a sleep ends late is in the latency, and spinning would take a core from the model."""
    left_ns = moment_ns - perf_counter_ns()
    if left_ns > 0:
        time.sleep(left_ns / 1e9)
