"""`ScenarioRun`: one scenario on one workload, with the times measured so far."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from time import perf_counter_ns
from typing import TypeAlias

from aegisrt.bench.summary import RequestTimes
from aegisrt.bench.workload import Workload
from aegisrt.core.request import ExecutionResult
from aegisrt.core.result import Error, ErrorCode, Ok, Result

TURNS = 5

Progress: TypeAlias = Callable[[str], None]
"""Takes what runs from now on; how many seconds all of it takes is known before (`planned_s`)."""


def silent(now: str) -> None:
    """Show no progress."""


@dataclass(slots=True)
class ScenarioRun:
    """What a scenario is run with; `ours` and `bare` fill as it runs."""

    workload: Workload
    seconds: float
    against_bare: bool = False
    qps: float | None = None
    progress: Progress = silent
    ours: RequestTimes = field(default_factory=RequestTimes)
    bare: RequestTimes = field(default_factory=RequestTimes)

    @property
    def turn_ns(self) -> int:
        """Return how long one turn takes."""
        return int(self.seconds / TURNS * 1e9)


def record(times: RequestTimes, result: Result[ExecutionResult], since_ns: int, now_ns: int) -> None:
    """Add the latency of an answered request, or count a failed one."""
    if isinstance(result, Ok):
        times.latencies_ns.append(now_ns - since_ns)
        times.samples += 1
    else:
        times.failed(result.error)


def time_bare(calls: Iterable[Callable[[], object]], times: RequestTimes, since_ns: int | None = None) -> None:
    """Make the bare engine's calls of one query and add its latency, since now or `since_ns`; or count them failed."""
    started = perf_counter_ns()
    answered = 0
    try:
        for call in calls:
            call()
            answered += 1
    except Exception as error:  # noqa: BLE001  (the bare engine has no Result: it may raise anything)
        text = f"the bare engine raised {type(error).__name__}: {error}".partition("\n")[0]
        times.failed(Error(ErrorCode.INTERNAL, text))
    else:
        times.latencies_ns.append(perf_counter_ns() - (started if since_ns is None else since_ns))
    times.samples += answered
