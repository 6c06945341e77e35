"""Many threads: right answers, and load and unload that never take a model away from a running call."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter_ns

from aegisrt.conformance import verdict
from aegisrt.conformance.check import check, declares
from aegisrt.conformance.references.compare import difference
from aegisrt.conformance.references.models import REFERENCES
from aegisrt.conformance.subject import Subject
from aegisrt.conformance.target import Backend
from aegisrt.core.request import ExecutionRequest, ExecutionResult
from aegisrt.core.result import Err, ErrorCode, Result

_NEEDS = [declares("concurrent")]
_SLOT = (
    "Keep what one call needs (contexts, bindings, staging buffers) in the slot that `_open` returns, not in `self`."
)
_LIFECYCLE = "Do not override `load`, `unload` or `execute`; the base class counts the calls in a model and waits."


@check(
    "concurrency.right-answers",
    needs=_NEEDS,
    fix=_SLOT,
    why="A server calls from many threads; shared buffers hand one client the answer of another. "
    "One TVM VM used from two threads crashes.",
)
def right_answers(subject: Subject) -> None:
    """Threads that call one backend at once, each with inputs of its own, each get their own right answers."""
    name = "batch" if subject.can.dynamic_shapes else "affine"
    try:
        backend = subject.loaded(name)
    except verdict.Skipped:
        name = "affine"
        backend = subject.loaded(name)

    def call_often(thread: int) -> None:
        for turn in range(subject.settings.calls):
            subject.serves(backend, name, thread * 1000 + turn, batch=1 + thread % 5, when=f"in thread {thread}")

    _together(subject.settings.threads, call_often)


@check(
    "concurrency.first-calls",
    needs=_NEEDS,
    fix=_SLOT,
    why="An object created at the first call is created twice, or used half-finished, if two first calls run at once.",
)
def first_calls(subject: Subject) -> None:
    """The first calls on a fresh model may come from many threads at once."""
    for seed in range(5):
        backend = subject.loaded()
        _together(subject.settings.threads, lambda thread: subject.serves(backend, seed=thread + seed))  # noqa: B023


@check(
    "concurrency.more-calls-than-instances",
    needs=_NEEDS,
    fix=_SLOT,
    why="Calls beyond the number of instances wait; they must neither fail nor share a slot.",
)
def more_calls_than_instances(subject: Subject) -> None:
    """One instance serves many threads, one after the other, each correctly."""
    backend = subject.loaded("multi-io", instances=1)

    def call_five(thread: int) -> None:
        for turn in range(5):
            subject.serves(backend, "multi-io", 10 * thread + turn, when=f"in thread {thread}")

    _together(subject.settings.threads, call_five)


@check(
    "concurrency.many-backends",
    needs=_NEEDS,
    fix="Guard what the engine shares in a process with a lock.",
    why="Models are deployed and retired at once, each on a backend of its own; engines have global registries.",
)
def many_backends(subject: Subject) -> None:
    """Threads that each load, execute and unload a backend of their own do not disturb each other."""
    names = ("affine", "affine-other", "affine-wide")
    files = {name: subject.model(name) for name in names}

    def live(thread: int) -> None:
        backend, name = subject.fresh(), names[thread % len(names)]
        for turn in range(3):
            verdict.ok(backend.load(files[name]), f"load in thread {thread}")
            subject.serves(backend, name, turn, when=f"in thread {thread}")
            verdict.ok(backend.unload(), f"unload in thread {thread}")

    _together(min(subject.settings.threads, 6), live)


@check(
    "concurrency.unload-races-execute",
    needs=_NEEDS,
    fix=_LIFECYCLE,
    why="A model is retired while requests are in it; a call into a freed engine is a crash.",
)
def unload_races_execute(subject: Subject) -> None:
    """While one thread loads and unloads, calls of other threads are right or NOT_LOADED, and nothing else."""
    backend, file = subject.loaded(), subject.model("affine")

    def retire(_: int) -> None:
        verdict.ok(backend.unload(), "unload while calls run")
        verdict.ok(backend.load(file), "load while calls run")

    _race(subject, backend, retire, ("affine",), may_be_unloaded=True)


@check(
    "concurrency.load-races-execute",
    needs=_NEEDS,
    fix=_LIFECYCLE,
    why="During a roll-out under traffic the old model serves until the new one is ready, so no caller sees a gap.",
)
def load_races_execute(subject: Subject) -> None:
    """While one thread loads one model over the other, every call is answered by the old or by the new one."""
    names = ("affine", "affine-other")
    files = [subject.model(name) for name in names]
    backend = subject.loaded()
    _race(
        subject,
        backend,
        lambda turn: verdict.ok(backend.load(files[turn % 2]), "load while calls run"),
        names,
        may_be_unloaded=False,
    )


@check(
    "concurrency.lifecycle-from-many-threads",
    needs=_NEEDS,
    fix=_LIFECYCLE,
    why="A watcher, an operator and a shutdown handler load and unload independently of each other.",
)
def lifecycle_from_many_threads(subject: Subject) -> None:
    """`load` and `unload` of one backend from many threads at once answer Ok, and leave it usable."""
    backend, file = subject.fresh(), subject.model("affine")

    def turn(thread: int) -> None:
        for _ in range(3):
            verdict.ok(backend.load(file), f"load in thread {thread}")
            verdict.ok(backend.unload(), f"unload in thread {thread}")

    _together(min(subject.settings.threads, 6), turn)
    verdict.ok(backend.load(file), "load after the threads are done")
    subject.serves(backend, when="after load and unload from many threads")


@check(
    "concurrency.unload-waits",
    fix=_LIFECYCLE,
    why="A call that was accepted is answered; an unload that does not wait frees memory that the call reads.",
)
def unload_waits(subject: Subject) -> None:
    """`unload` during a slow call waits for it, and the call's answer is right."""
    name, took_ns = subject.slow()
    backend = subject.loaded(name)
    inputs = subject.inputs(name)

    def call() -> tuple[int, Result[ExecutionResult]]:
        entered = perf_counter_ns()
        return entered, backend.execute(ExecutionRequest(inputs=inputs))

    for _ in range(5):
        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(call)
            time.sleep(took_ns / 1e9 / 3)
            verdict.ok(backend.unload(), "unload during a call")
            unloaded = perf_counter_ns()
            entered, result = running.result()
        verdict.that(backend.signature is None, "`signature` is not None after unload")
        if not (isinstance(result, Err) and result.error.code is ErrorCode.NOT_LOADED):
            break
        verdict.ok(backend.load(subject.model(name)), "load")  # the thread came too late; once more
    answer = verdict.ok(result, "a call during unload")
    subject.matches(name, inputs, answer.outputs, "a call during unload")
    early = entered + answer.timings.compute - unloaded
    verdict.that(early <= 0, f"unload returned at least {early / 1e6:.1f} ms before a call in the model was done")


@check(
    "concurrency.python-runs-meanwhile",
    fix="Release the GIL around the engine's call (ctypes and pybind11 can).",
    why="An engine that keeps the GIL stops the whole server, health checks and heartbeats too, for each call.",
)
def python_runs_meanwhile(subject: Subject) -> None:
    """Other Python threads run while a slow call runs."""
    name, took_ns = subject.slow()
    backend = subject.loaded(name)
    inputs = subject.inputs(name)
    for _ in range(3):
        done, ticks = threading.Event(), 0

        def call(done: threading.Event = done) -> None:
            try:
                subject.call(backend, inputs)
            finally:
                done.set()

        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(call)
            while not done.wait(0.001):
                ticks += 1
            running.result()
        if ticks >= 5:
            return
    raise verdict.Failed(f"another thread ran {ticks} times during a call of {took_ns / 1e6:.0f} ms, wanted one a ms")


def _together(count: int, work: Callable[[int], object]) -> None:
    """Run `work(0)` to `work(count - 1)` in threads that start together; raise the first failure."""
    barrier = threading.Barrier(count)

    def start(number: int) -> None:
        barrier.wait()
        work(number)

    with ThreadPoolExecutor(count) as pool:
        for future in [pool.submit(start, number) for number in range(count)]:
            future.result()


def _race(
    subject: Subject,
    backend: Backend,
    lifecycle: Callable[[int], object],
    names: tuple[str, ...],
    may_be_unloaded: bool,
) -> None:
    """Call from several threads while `lifecycle(turn)` goes round and round; every answer must be allowed."""
    inputs = subject.inputs("affine")
    goldens = [REFERENCES[name].goldens(inputs)["y"] for name in names]
    tolerance = subject.tolerance(REFERENCES["affine"], "y")
    stop = threading.Event()

    def call(_: int) -> int:
        answered = 0
        while not stop.is_set():
            result = backend.execute(ExecutionRequest(inputs=inputs))
            if may_be_unloaded and isinstance(result, Err) and result.error.code is ErrorCode.NOT_LOADED:
                time.sleep(0.0005)
                continue
            got = verdict.ok(result, "a call during load and unload").outputs["y"]
            wrong = [difference(got, golden, tolerance) for golden in goldens]
            verdict.that(None in wrong, f"a call during load and unload: {wrong[0]}")
            answered += 1
        return answered

    with ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(call, number) for number in range(4)]
        try:
            until, turn = time.monotonic() + subject.settings.race_ms / 1e3, 0
            while time.monotonic() < until or turn < 4:
                lifecycle(turn := turn + 1)
                time.sleep(0.002)
        finally:
            stop.set()
        answered = sum(future.result() for future in calls)
    verdict.that(answered > 0, "not one call was answered")
    subject.serves(backend, names[turn % len(names)], when="after the race")
