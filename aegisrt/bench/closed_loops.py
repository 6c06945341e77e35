"""The closed loops: `single-stream` and `multi-stream`, which send when the last answer is there."""

from __future__ import annotations

import random
from time import perf_counter_ns

from aegisrt.bench.scenario_run import ScenarioRun, record, time_bare
from aegisrt.core.result import Ok

STREAMS = 8
"""Requests of one query in `multi-stream`, as MLPerf has it."""


def single_stream(run: ScenarioRun) -> None:
    """Send one request after the other for the run's seconds; before or after each, at random, a bare call."""
    next_request, next_bare = run.workload.in_turn()
    execute, order = run.workload.context.execute, random.Random(0)  # noqa: S311  (an order, not a secret)
    end = perf_counter_ns() + int(run.seconds * 1e9)
    while perf_counter_ns() < end:
        bare_first = run.against_bare and order.random() < 0.5
        if bare_first:
            time_bare((next_bare(),), run.bare)
        request = next_request()
        started = perf_counter_ns()
        result = execute(request)
        record(run.ours, result, started, perf_counter_ns())
        if run.against_bare and not bare_first:
            time_bare((next_bare(),), run.bare)
    # The two kinds alternate call by call, so that each kind's own time is the sum of its calls.
    for times in (run.ours, run.bare):
        times.elapsed_ns = sum(times.latencies_ns)


def multi_stream(run: ScenarioRun, turn: int) -> None:  # noqa: ARG001
    """Send one query of 8 requests after the other for one turn; a latency is that of the whole query."""
    next_request, _ = run.workload.in_turn()
    submit = run.workload.context.submit
    began = perf_counter_ns()
    while (started := perf_counter_ns()) < began + run.turn_ns:
        futures = [submit(next_request()) for _ in range(STREAMS)]
        results = [future.result() for future in futures]
        done = perf_counter_ns()
        failed = [result for result in results if not isinstance(result, Ok)]
        for result in failed:
            run.ours.failed(result.error)
        run.ours.samples += STREAMS - len(failed)
        if not failed:
            run.ours.latencies_ns.append(done - started)
    run.ours.elapsed_ns += perf_counter_ns() - began


def multi_stream_bare(run: ScenarioRun, turn: int) -> None:  # noqa: ARG001
    """Make 8 bare calls one after the other, as one query, for one turn."""
    _, next_bare = run.workload.in_turn()
    began = perf_counter_ns()
    while perf_counter_ns() < began + run.turn_ns:
        time_bare((next_bare() for _ in range(STREAMS)), run.bare)
    run.bare.elapsed_ns += perf_counter_ns() - began
