"""Deadlines: no work starts after the deadline, and a late answer is not reported as one in time."""

from __future__ import annotations

import contextlib
import time
from time import perf_counter_ns
from typing import Any

from aegisrt.conformance import verdict
from aegisrt.conformance.check import check
from aegisrt.conformance.subject import Subject
from aegisrt.core.request import ExecutionRequest
from aegisrt.core.result import Err, ErrorCode, Ok

_FIX = "Do not override `execute`; the base class checks the deadline before and after `_execute`."


@check(
    "deadlines.expired", fix=_FIX, why="Under overload most queued requests have expired; running them makes it worse."
)
def expired(subject: Subject) -> None:
    """A timeout of zero or less is DEADLINE_EXCEEDED, and the backend serves on."""
    backend = subject.loaded()
    for timeout_ms in (0, 0.0, -1, -1e9, 1e-9, float("-inf")):
        request = ExecutionRequest(inputs=subject.inputs("affine"), timeout_ms=timeout_ms)
        verdict.refused(backend.execute(request), ErrorCode.DEADLINE_EXCEEDED, f"timeout_ms={timeout_ms}")
    subject.serves(backend, when="after expired deadlines")


@check(
    "deadlines.engine-not-started",
    fix=_FIX,
    why="An expired request that still occupies the engine delays those that could be in time.",
)
def engine_not_started(subject: Subject) -> None:
    """A call whose deadline has passed returns in a fraction of the time that the engine needs."""
    name, took_ns = subject.slow()
    backend = subject.loaded(name)
    inputs = subject.inputs(name)
    for timeout_ms in (0, 1e-6):
        tries = []
        for _ in range(3):
            started = perf_counter_ns()
            result = backend.execute(ExecutionRequest(inputs=inputs, timeout_ms=timeout_ms))
            tries.append(perf_counter_ns() - started)
            verdict.refused(result, ErrorCode.DEADLINE_EXCEEDED, f"timeout_ms={timeout_ms}")
        fastest = min(tries)
        problem = f"timeout_ms={timeout_ms}: refused after {fastest / 1e6:.1f} ms; a call takes {took_ns / 1e6:.1f} ms"
        verdict.that(fastest < took_ns / 2, problem)


@check(
    "deadlines.late-answer",
    fix=_FIX,
    why="A caller with a deadline has gone on without the answer; Ok would be counted as success.",
)
def late_answer(subject: Subject) -> None:
    """A call that runs past its deadline is DEADLINE_EXCEEDED, and the next call without one is right."""
    name, took_ns = subject.slow()
    backend = subject.loaded(name)
    inputs = subject.inputs(name)
    for _ in range(5):
        timeout_ms = took_ns / 1e6 / 4
        result = backend.execute(ExecutionRequest(inputs=inputs, timeout_ms=timeout_ms))
        if isinstance(result, Err) or result.value.timings.compute >= timeout_ms * 1e6:
            break
        took_ns = result.value.timings.compute  # the machine was busier when the model's time was taken
    verdict.refused(result, ErrorCode.DEADLINE_EXCEEDED, "a slow call with a quarter of its time")
    subject.serves(backend, name, when="after a late answer")


@check("deadlines.long-enough", fix=_FIX, why="Units get mixed up: 600000 ms must be ten minutes, not 0.6 ms.")
def long_enough(subject: Subject) -> None:
    """A call with enough time answers as one without a deadline, also with an infinite one."""
    backend = subject.loaded()
    for timeout_ms in (600_000, 60_000.5, 1e300, float("inf")):
        inputs = subject.inputs("affine")
        got = subject.call(backend, inputs, f"timeout_ms={timeout_ms}", timeout_ms=timeout_ms).outputs
        subject.matches("affine", inputs, got)
    with contextlib.suppress(verdict.Skipped):  # only a slow call shows that microseconds were taken for milliseconds
        name, took_ns = subject.slow()
        enough_ms = max(20 * took_ns / 1e6, 2000.0)
        doing = f"a call of {took_ns / 1e6:.0f} ms with timeout_ms={enough_ms:.0f}"
        subject.call(subject.loaded(name), subject.inputs(name), doing, timeout_ms=enough_ms)


@check("deadlines.not-a-number", fix=_FIX, why="`timeout_ms='50'` from a header must not run without a limit.")
def not_a_number(subject: Subject) -> None:
    """A timeout that is not a number, or NaN, is INVALID_ARGUMENT."""
    backend = subject.loaded()
    wrong: tuple[Any, ...] = ("50", float("nan"), True, [5], {})
    for timeout_ms in wrong:
        request = ExecutionRequest(inputs=subject.inputs("affine"), timeout_ms=timeout_ms)
        verdict.refused(backend.execute(request), ErrorCode.INVALID_ARGUMENT, f"timeout_ms={timeout_ms!r}")


@check(
    "deadlines.counted-anew",
    fix="Keep no time on the request; count from the moment that `execute` is entered.",
    why="A retry sends the same request again, and must not find its time used up.",
)
def counted_anew(subject: Subject) -> None:
    """A request that is executed again has its whole timeout again."""
    backend = subject.loaded()
    inputs = subject.inputs("affine")
    for last in (False, False, True):  # a machine that is overloaded may miss it once
        request = ExecutionRequest(inputs=inputs, timeout_ms=400)
        backend.execute(request)
        time.sleep(0.45)
        again = backend.execute(request)
        if last or isinstance(again, Ok):
            break
    subject.matches("affine", inputs, verdict.ok(again, "a request with timeout_ms=400, again after 450 ms").outputs)
