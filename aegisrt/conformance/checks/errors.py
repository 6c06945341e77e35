"""Errors as users meet them: the same each time, naming what is wrong, fit for logs and other processes."""

from __future__ import annotations

import pickle
import re
from collections.abc import Iterator
from typing import Any

import numpy as np

from aegisrt.conformance import verdict
from aegisrt.conformance.check import check
from aegisrt.conformance.subject import Subject
from aegisrt.core.request import ExecutionRequest
from aegisrt.core.result import Err, Error, ErrorCode, Ok

_ADDRESS = re.compile(r"\b0x[0-9a-fA-F]{6,}\b|(?<![\w.])<[\w.]+ object at ")
_LONGEST = 1000


@check(
    "errors.stable",
    isolated=True,
    why="Alerts are grouped by code and message; a message with an address or a counter in it is new each time.",
    fix="Leave addresses, times and counters out of what the hooks raise; details belong in `cause`.",
)
def stable(subject: Subject) -> None:
    """The same mistake gives the same code and message, in one backend and in a fresh one."""
    for (what, first), (_, second), (_, third) in zip(
        _failures(subject), _failures(subject), _failures(subject), strict=True
    ):
        for other in (second, third):
            same = (first.code, first.message, first.hint) == (other.code, other.message, other.hint)
            verdict.that(same, f"{what}: at first {first}, then {other}")


@check(
    "errors.useful",
    isolated=True,
    why="The reader of a log has no debugger: the message must state the problem in a sentence of moderate length.",
    fix="Write the message in the hook that raises; the engine's own message belongs in `cause`.",
)
def useful(subject: Subject) -> None:
    """Messages are not empty, have one line, no memory addresses and no tracebacks."""
    for what, error in _failures(subject):
        text = error.message
        verdict.that(isinstance(error.code, ErrorCode), f"{what}: the code is {error.code!r}, not an ErrorCode")
        verdict.that(isinstance(text, str) and text.strip(), f"{what}: the message is {text!r}")
        verdict.that("\n" not in text, f"{what}: the message has several lines: {text!r}")
        verdict.that(len(text) <= _LONGEST, f"{what}: the message has {len(text)} characters")
        for part in (text, error.hint or ""):
            verdict.that(not _ADDRESS.search(part), f"{what}: there is a memory address in {part!r}")
            verdict.that("Traceback (most" not in part, f"{what}: there is a traceback in {part!r}")


@check(
    "errors.pickle",
    isolated=True,
    why="Results and errors cross processes: an isolated worker, a pool, a remote caller.",
    fix="Put plain values into metadata and errors, never the engine's objects.",
)
def pickles(subject: Subject) -> None:
    """Errors and results pickle, and are equal after unpickling."""
    for what, error in _failures(subject):
        verdict.that(pickle.loads(pickle.dumps(Err(error))) == Err(error), f"{what}: changes when pickled")  # noqa: S301
    inputs = subject.inputs("affine")
    result = subject.loaded().execute(ExecutionRequest(inputs=inputs))
    copied = pickle.loads(pickle.dumps(result))  # noqa: S301
    verdict.that(isinstance(copied, Ok), "a result changes when pickled")
    subject.matches("affine", inputs, copied.value.outputs, "a result that was pickled")
    verdict.that(copied.value.timings == verdict.ok(result, "execute").timings, "timings change when pickled")


@check(
    "errors.serve-on",
    why="One bad client must not harm the others: a failed call leaves no trace.",
    fix="Clean up in `finally` in `_execute`; poison no stream, buffer or binding.",
)
def serve_on(subject: Subject) -> None:
    """After a hundred failed calls between good ones the backend still answers correctly."""
    backend = subject.loaded()
    good = subject.inputs("affine")["x"]
    bad: tuple[dict[str, Any], ...] = ({}, {"x": good[0]}, {"x": good.astype(np.float64)}, {"y": good}, {"x": None})
    for turn in range(100):
        request = ExecutionRequest(inputs=bad[turn % len(bad)])
        verdict.refused(backend.execute(request), ErrorCode.INVALID_ARGUMENT, "a bad call")
        if turn % 10 == 9:
            subject.serves(backend, seed=turn, when=f"after {turn + 1} failed calls")


def _failures(subject: Subject) -> Iterator[tuple[str, Error]]:
    """Yield errors of several kinds, each with what was done."""
    yield "execute before load", _error(subject.fresh().execute(ExecutionRequest(inputs=subject.inputs("affine"))))
    backend = subject.loaded()
    x = subject.inputs("affine")["x"]
    calls = {
        "no inputs": ExecutionRequest(inputs={}),
        "a wrong dtype": ExecutionRequest(inputs={"x": x.astype(np.float64)}),
        "a wrong shape": ExecutionRequest(inputs={"x": x[0]}),
        "an object as input": ExecutionRequest(inputs={"x": object()}),
        "an unknown output": ExecutionRequest(inputs={"x": x}, outputs=["z"]),
        "an expired deadline": ExecutionRequest(inputs={"x": x}, timeout_ms=0),
    }
    for what, request in calls.items():
        yield what, _error(backend.execute(request))
    damaged = subject.copy("affine", "damaged")
    content = damaged.read_bytes()
    damaged.write_bytes(content[: len(content) // 2])
    for path in (subject.scratch / "none", subject.scratch, damaged):
        yield f"load of {path.name}", _error(subject.fresh().load(path))


def _error(result: object) -> Error:
    if isinstance(result, Err):
        return result.error
    raise verdict.Failed(f"wanted an Err, got {result!r}")
