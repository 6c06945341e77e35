"""`compare_engines`: one model and the same inputs on several option sets, each answer compared with the first's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from statistics import median
from time import perf_counter_ns

from aegisrt.comparison.answers import compare_answers
from aegisrt.comparison.report import ComparisonReport, EngineComparison
from aegisrt.core.request import ExecutionRequest
from aegisrt.core.result import Err, Ok, Result
from aegisrt.core.tensor import Array
from aegisrt.deployment import Resolved, run
from aegisrt.runtime.context import ExecutionContext

_MOST_CALLS = 20
_MOST_NS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Tolerances:
    """What the user gave for `atol` and `rtol`; None takes the default of each output's dtype."""

    atol: float | None = None
    rtol: float | None = None


InputsOf = Callable[[ExecutionContext], Mapping[str, Array]]
"""Returns the inputs for a running deployment of one model; may raise ResultError."""


def compare_engines(
    deployments: Iterable[tuple[str, Resolved]],
    inputs_of: InputsOf,
    tolerances: Tolerances = Tolerances(),
    report_progress: Callable[[str], None] = lambda _: None,
) -> Result[ComparisonReport]:
    """Deploy each option set in turn, call it with the same inputs, and compare its outputs with those of the first.

    `deployments` are names of option sets, and deployments of the same one model. One is loaded at a time, so that a
    machine with room for one is enough. An option set that does not load or does not answer has an `error`; the first
    one must answer.

    The first is called twice, and the second answer is compared, so that a model with random answers is found.
    The errors of `run` and of `ExecutionContext.execute`, of the first option set. ResultError: from `inputs_of`.
    """
    wanted: Mapping[str, Array] = {}
    inputs: Mapping[str, Array] = {}
    results: list[EngineComparison] = []
    model = ""
    for name, deployment in deployments:
        report_progress(name)
        started = run(deployment)
        if isinstance(started, Err):
            if not results:
                return started
            results.append(EngineComparison(name, error=started.error))
            continue
        with started.value as context:
            model = context.models[0]
            if not results:
                inputs = inputs_of(context)
            answer = _answer(context, ExecutionRequest(model=model, inputs=inputs))
            device = context.graph.models[0].device
        if isinstance(answer, Err):
            if not results:
                return answer
            results.append(EngineComparison(name, device, error=answer.error))
            continue
        first, last, latency_us = answer.value
        wanted = wanted or first
        outputs = compare_answers(last, wanted, tolerances.atol, tolerances.rtol)
        results.append(EngineComparison(name, device, outputs, latency_us))
    return Ok(ComparisonReport(model, tuple(results)))


def _answer(
    context: ExecutionContext, request: ExecutionRequest
) -> Result[tuple[Mapping[str, Array], Mapping[str, Array], float]]:
    """Return the outputs of the first and of the last of several calls, and the median time of all but the first."""
    called = context.execute(request)
    if isinstance(called, Err):
        return called
    first = called.value.outputs
    times: list[int] = []
    until_ns = perf_counter_ns() + _MOST_NS
    while not times or (len(times) < _MOST_CALLS and perf_counter_ns() < until_ns):
        since_ns = perf_counter_ns()
        called = context.execute(request)
        times.append(perf_counter_ns() - since_ns)
        if isinstance(called, Err):
            return called
    return Ok((first, called.value.outputs, median(times) / 1e3))
