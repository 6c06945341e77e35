"""Memory, files and threads: flat over many loads and calls, on the host and on the device."""

from __future__ import annotations

from collections.abc import Callable

from aegisrt.conformance import verdict
from aegisrt.conformance.check import check
from aegisrt.conformance.processes import measure
from aegisrt.conformance.subject import Subject
from aegisrt.core.result import ErrorCode, Ok

_RELEASE = (
    "Release in `_unload` and `_close` all that `_load` and `_open` acquired; drop references to arrays after a call."
)


@check("memory.load-cycles", fix=_RELEASE, why="A service that reloads its model each hour must run for months.")
def load_cycles(subject: Subject) -> None:
    """Memory is flat over cycles of load, execute and unload."""
    cycle = _cycle(subject)
    grown = measure.leak(cycle, subject.settings.cycles, subject.settings.growth_bytes)
    verdict.that(not grown, f"{subject.settings.cycles} cycles of load, execute, unload: {grown}")


@check("memory.calls", fix=_RELEASE, why="A few bytes a call are gigabytes a week.")
def calls(subject: Subject) -> None:
    """Memory is flat over thousands of calls of one loaded model."""
    backend = subject.loaded()
    inputs = subject.inputs("affine")
    many = 200 * subject.settings.cycles

    def call_often() -> None:
        for _ in range(many):
            subject.call(backend, inputs)

    grown = measure.leak(call_often, many, subject.settings.growth_bytes)
    verdict.that(not grown, f"{many} calls: {grown}")


@check(
    "memory.fresh-backends",
    fix=_RELEASE + " Register the backend nowhere that outlives it.",
    why="Deployments come and go in one process; a backend that is dropped without an unload must be freed too.",
)
def fresh_backends(subject: Subject) -> None:
    """Memory is flat over backends that are constructed, loaded, called and dropped without an unload."""
    file, inputs = subject.model("affine"), subject.inputs("affine")

    def drop_some() -> None:
        for _ in range(subject.settings.cycles):
            backend = subject.fresh()
            verdict.ok(backend.load(file), "load")
            subject.call(backend, inputs)
            subject.forget(backend)

    grown = measure.leak(drop_some, subject.settings.cycles, subject.settings.growth_bytes)
    verdict.that(not grown, f"{subject.settings.cycles} backends dropped without unload: {grown}")


@check(
    "memory.files-and-threads", fix=_RELEASE, why="A process has 1024 file descriptors by default; threads cost stacks."
)
def files_and_threads(subject: Subject) -> None:
    """After cycles of load, execute and unload no more files are open and no more threads run than before."""
    if measure.open_files() is None or measure.os_threads() is None:
        raise verdict.Skipped("this system does not report open files and threads")
    cycle = _cycle(subject)
    cycle()
    for what, count in (("files are open", measure.open_files), ("threads run", measure.os_threads)):
        before = count() or 0
        cycle()
        after = measure.settled(count, before)
        verdict.that(after <= before, f"{after - before} more {what} after {subject.settings.cycles} cycles")


@check(
    "memory.device-cycles",
    fix=_RELEASE,
    why="Device memory is scarce, and no other process can use what leaked.",
)
def device_cycles(subject: Subject) -> None:
    """Device memory is flat over cycles of load, execute and unload."""
    device = subject.target.device
    if measure.device_bytes(device) is None:
        raise verdict.Skipped(f"device `{device.name}` has no memory that this machine reports")
    cycle = _cycle(subject)
    cycle()
    grown = measure.growth(lambda: measure.device_bytes(device), cycle, 2 << 20)
    verdict.that(
        grown[-1] <= 2 << 20, f"device memory grew by {grown} bytes in rounds of {subject.settings.cycles} cycles"
    )


@check(
    "memory.told",
    fix="Raise UNIMPLEMENTED from `_memory` (the base class does) rather than return a guess.",
    why="A memory budget is planned by it; a guess of 0 overcommits the device.",
)
def told(subject: Subject) -> None:
    """`memory` is a number of bytes above 0 or UNIMPLEMENTED while loaded, and NOT_LOADED before and after."""
    backend = subject.fresh()
    verdict.refused(backend.memory(), ErrorCode.NOT_LOADED, "memory() before load")
    verdict.ok(backend.load(subject.model("affine")), "load")
    subject.serves(backend)
    reported = backend.memory()
    if isinstance(reported, Ok):
        verdict.that(
            type(reported.value) is int and reported.value > 0, f"memory() is {reported.value!r}, wanted bytes"
        )
    else:
        verdict.refused(reported, ErrorCode.UNIMPLEMENTED, "memory() of a loaded model")
    verdict.ok(backend.unload(), "unload")
    verdict.refused(backend.memory(), ErrorCode.NOT_LOADED, "memory() after unload")


def _cycle(subject: Subject) -> Callable[[], None]:
    backend, file, inputs = subject.fresh(), subject.model("affine"), subject.inputs("affine")

    def cycle() -> None:
        for _ in range(subject.settings.cycles):
            verdict.ok(backend.load(file), "load")
            subject.call(backend, inputs)
            verdict.ok(backend.unload(), "unload")

    return cycle
