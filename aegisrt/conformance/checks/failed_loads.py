"""What a load that failed leaves behind: the old model or nothing, and no file, thread or memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from aegisrt.conformance import verdict
from aegisrt.conformance.check import check
from aegisrt.conformance.processes import measure
from aegisrt.conformance.subject import Subject
from aegisrt.core.request import ExecutionRequest
from aegisrt.core.result import ErrorCode, Ok


@check(
    "model-files.failed-load-keeps-the-model",
    isolated=True,
    why="A roll-out of a bad file must leave the old model serving, or no model at all; never half of one.",
    fix="Do not override `load`: the base class replaces the model only after `_load` and `_open` have succeeded.",
)
def failed_load_keeps_the_model(subject: Subject) -> None:
    """After a load that failed the loaded model serves on as before, or the backend is cleanly unloaded."""
    for what, bad in _bad_files(subject).items():
        backend = subject.loaded()
        verdict.refused(backend.load(bad), tuple(ErrorCode), f"load of {what} file")
        result = backend.execute(ExecutionRequest(inputs=subject.inputs("affine")))
        if isinstance(result, Ok):
            subject.serves(backend, when=f"after the load of {what} file failed")
            verdict.that(backend.signature is not None, "it serves, and its signature is None")
        else:
            verdict.refused(result, ErrorCode.NOT_LOADED, f"execute after the load of {what} file failed")
            verdict.that(backend.signature is None, "nothing is loaded, and its signature is not None")


@check(
    "model-files.failed-load-leaves-nothing",
    isolated=True,
    why="A deployer retries; the second try must find a clean backend.",
    fix="Raise from `_load` before anything is set on `self`.",
)
def failed_load_leaves_nothing(subject: Subject) -> None:
    """A fresh backend whose load failed answers NOT_LOADED, has no signature, and loads a good file."""
    for what, bad in _bad_files(subject).items():
        backend = subject.fresh()
        verdict.refused(backend.load(bad), tuple(ErrorCode), f"load of {what} file")
        request = ExecutionRequest(inputs=subject.inputs("affine"))
        verdict.refused(backend.execute(request), ErrorCode.NOT_LOADED, f"execute after the load of {what} file failed")
        verdict.that(backend.signature is None, f"`signature` is not None after the load of {what} file failed")
        verdict.ok(backend.unload(), "unload after a failed load")
        verdict.ok(backend.load(subject.model("affine")), "load of a good file after a failed load")
        subject.serves(backend, when="after a failed load and a good one")


@check(
    "model-files.failed-load-leaks-nothing",
    isolated=True,
    why="A watcher that retries a bad file every second must not fill memory or run out of file descriptors.",
    fix="If `_load` raises, release there what it had opened; the base class releases what `_load` returned.",
)
def failed_load_leaks_nothing(subject: Subject) -> None:
    """Loads that fail leave no file open, no thread running and no memory held."""
    bad = _bad_files(subject)
    backend = subject.fresh()

    def fail_often(turns: int = subject.settings.cycles) -> None:
        for _ in range(turns):
            for file in bad.values():
                backend.load(file)

    fail_often(2)
    files, threads = measure.open_files(), measure.os_threads()
    grown = measure.leak(fail_often, subject.settings.cycles, subject.settings.growth_bytes)
    verdict.that(not grown, f"failed loads leak: {grown}")
    if files is not None and threads is not None:
        verdict.that(measure.settled(measure.open_files, files) <= files, "failed loads leave files open")
        verdict.that(measure.settled(measure.os_threads, threads) <= threads, "failed loads leave threads running")


def _bad_files(subject: Subject) -> dict[str, Path]:
    """Return a missing, an empty, a damaged and a foreign file, by what they are."""
    hollow, damaged, foreign = (subject.copy("affine", folder) for folder in ("empty", "damaged", "foreign"))
    hollow.write_bytes(b"")
    content = bytearray(damaged.read_bytes())
    third = len(content) // 3
    content[third : 2 * third] = np.random.default_rng(11).bytes(third)
    damaged.write_bytes(content)
    foreign.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(200))
    return {"a missing": subject.scratch / "none", "an empty": hollow, "a damaged": damaged, "a foreign": foreign}
