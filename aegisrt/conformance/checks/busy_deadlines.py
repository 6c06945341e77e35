"""Deadlines while the engine is busy: a caller gets its answer on time, and not when the engine is done."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from time import perf_counter_ns

from aegisrt.conformance import verdict
from aegisrt.conformance.check import check, declares
from aegisrt.conformance.subject import Subject
from aegisrt.core.request import ExecutionRequest, ExecutionResult
from aegisrt.core.result import Err, ErrorCode, Ok, Result
from aegisrt.manifest.schema import ModelOptions
from aegisrt.runtime.served import ServedModel

_TRIES = 8
"""A loaded machine may wake a caller late; a backend that does not give up is late each time."""


@check(
    "deadlines.busy-engine",
    fix="Release the GIL around the engine's call, and keep what one call needs in the slot that `_open` returns: "
    "a call that its caller has abandoned finishes like any other.",
    why="A deployment answers a caller at the deadline while a worker is still inside the engine. The engine's "
    "late answer must be dropped, and must never reach the next request.",
)
def busy_engine(subject: Subject) -> None:
    """Behind a queue, calls that outlive their deadline are abandoned on time, and the next call is right."""
    name, took_ns = subject.slow()
    inputs, others = subject.inputs(name), subject.inputs(name, 1)
    with _behind_a_queue(subject, name) as model:
        for _ in range(_TRIES):
            limit_ns = took_ns // 4
            late_ns = []
            for call in ("a slow call", "a call while the engine is busy"):
                result, waited_ns = _timed(model, ExecutionRequest(inputs=inputs, timeout_ms=limit_ns / 1e6))
                late_ns.append(waited_ns - limit_ns)
                if isinstance(result, Err):
                    verdict.refused(result, ErrorCode.DEADLINE_EXCEEDED, f"{call} with a quarter of its time")
            answer = verdict.ok(model.intake.execute(ExecutionRequest(inputs=others)), "a call after those abandoned")
            subject.matches(name, others, answer.outputs, "a call after those abandoned")
            if isinstance(result, Err) and max(late_ns) < took_ns // 2:
                return
            took_ns = min(took_ns, answer.timings.compute)  # the machine was busier when the model's time was taken
    late = f"with {limit_ns / 1e6:.1f} ms, calls of {took_ns / 1e6:.1f} ms were abandoned {max(late_ns) / 1e6:.1f} ms"
    raise verdict.Failed(f"{late} too late")


@check(
    "deadlines.busy-instances",
    needs=[declares("concurrent")],
    fix="Do not override `execute`, and hold no lock of your own around it: the base class waits for a free slot, "
    "but no longer than the deadline.",
    why="While every instance is busy, a call that waits must be able to stop waiting; else one slow request "
    "holds up the callers of all later ones.",
)
def busy_instances(subject: Subject) -> None:
    """A call that waits for a busy instance is DEADLINE_EXCEEDED on time, and the running call is undisturbed."""
    name, took_ns = subject.slow()
    backend = subject.loaded(name, instances=1)
    inputs = subject.inputs(name)

    def occupy() -> tuple[int, Result[ExecutionResult]]:
        entered = perf_counter_ns()
        return entered, backend.execute(ExecutionRequest(inputs=inputs))

    for _ in range(_TRIES):
        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(occupy)
            time.sleep(took_ns / 1e9 / 5)
            waiting = backend.execute(ExecutionRequest(inputs=inputs, timeout_ms=took_ns / 1e6 / 5))
            returned = perf_counter_ns()
            entered, result = running.result()
        answer = verdict.ok(result, "the call that another waited for")
        subject.matches(name, inputs, answer.outputs, "the call that another waited for")
        subject.serves(backend, name, 1, when="after a call that was abandoned")
        late_ns = returned - (entered + answer.timings.compute)
        if late_ns < 0:
            verdict.refused(waiting, ErrorCode.DEADLINE_EXCEEDED, "a call while the only instance is busy")
            return
    call = f"a call with {took_ns / 5e6:.1f} ms to wait for the only instance"
    raise verdict.Failed(f"{call} returned {late_ns / 1e6:.1f} ms after it was free again")


def _timed(model: ServedModel, request: ExecutionRequest) -> tuple[Result[ExecutionResult], int]:
    started = perf_counter_ns()
    result = model.intake.execute(request)
    return result, perf_counter_ns() - started


@contextmanager
def _behind_a_queue(subject: Subject, name: str) -> Iterator[ServedModel]:
    """Yield a reference model as a deployment serves it: one instance, with a queue and a worker."""
    backend = subject.loaded(name, instances=1)
    model = ServedModel(name, backend, ModelOptions(path=subject.model(name), backend="judged"))
    try:
        yield model
        verdict.that(isinstance(closed := model.life.close(perf_counter_ns()), Ok), f"close: wanted Ok, got {closed}")
    finally:
        model.life.close(perf_counter_ns())
        model.watch.close()
