"""The four scenarios, by MLPerf Inference's names (https://github.com/mlcommons/inference_policies).

- `single-stream`: the next request is sent when the last one is answered; closed loop.
- `multi-stream`: queries of 8 requests at once, the next query when all 8 are answered; closed loop.
- `offline`: all requests are there from the start; the result is how many are answered a second.
- `server`: requests arrive by a Poisson process, whatever the system does; a latency counts from the moment at which
  its request was due to arrive, so that a stall is seen by every request that it held up (no coordinated omission).

The bare engine does the same in the same run: turn by turn, or in `single-stream` call by call.
"""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter_ns
from typing import Literal, TypeAlias

from aegisrt.bench.closed_loops import multi_stream, multi_stream_bare, single_stream
from aegisrt.bench.open_loops import offline, offline_bare, server, server_bare
from aegisrt.bench.scenario_run import TURNS, ScenarioRun, time_bare
from aegisrt.bench.summary import RequestTimes

Scenario: TypeAlias = Literal["single-stream", "multi-stream", "offline", "server"]
SCENARIOS: tuple[Scenario, ...] = ("single-stream", "multi-stream", "offline", "server")

Turn: TypeAlias = Callable[[ScenarioRun, int], None]
_TURNS_OF: dict[Scenario, tuple[Turn, Turn]] = {
    "multi-stream": (multi_stream, multi_stream_bare),
    "offline": (offline, offline_bare),
    "server": (server, server_bare),
}
"""For each scenario a turn of ours and one of the bare engine."""


def measure(run: ScenarioRun, scenario: Scenario) -> None:
    """Warm up, then run a scenario for about the run's seconds of each kind."""
    run.progress("warm-up")
    _warm_up(run)
    run.progress(scenario if run.qps is None else f"{scenario}, {run.qps:.0f} requests per second")
    if scenario == "single-stream":
        single_stream(run)
        return
    ours, bare = _TURNS_OF[scenario]
    for turn in range(TURNS):
        if run.against_bare:
            bare(run, turn)
        ours(run, turn)


def scenario_s(scenario: Scenario, seconds: float, *, against_bare: bool) -> float:
    """Return how long `measure` takes with its warm-up; `single-stream` shares its seconds with the bare calls."""
    sides = 2 if against_bare and scenario != "single-stream" else 1
    return warm_up_s(seconds) + sides * seconds


def warm_up_s(seconds: float) -> float:
    """Return how long the warm-up of a scenario of these seconds takes, unless its first calls take longer."""
    return min(0.5, seconds / 4)


def _warm_up(run: ScenarioRun) -> None:
    next_request, next_bare = run.workload.in_turn()
    end = perf_counter_ns() + int(warm_up_s(run.seconds) * 1e9)
    for count in range(1000):
        run.workload.context.execute(next_request())
        run.workload.context.submit(next_request()).result()
        if run.against_bare:
            time_bare((next_bare(),), RequestTimes())
        if count >= 2 and perf_counter_ns() > end:
            break
