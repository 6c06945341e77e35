"""Outputs: the right ones in order, in memory that the caller owns for good."""

from __future__ import annotations

import numpy as np

from aegisrt.conformance import verdict
from aegisrt.conformance.check import check, declares
from aegisrt.conformance.references.models import REFERENCES
from aegisrt.conformance.subject import Subject
from aegisrt.core.request import ExecutionRequest
from aegisrt.core.result import ErrorCode
from aegisrt.core.tensor import Array

_NAMES = "Return from `_execute` the values of the requested outputs, in that order."
_OWNED = "Return arrays in memory of their own: copy from a buffer that the engine keeps or reuses."
_KEPT = "Callers keep results in queues and caches; one that changes later is the hardest bug to find. "


@check(
    "outputs.several-in-order",
    fix=_NAMES,
    why="Outputs are unpacked by position in most programs; engines list them in an order of their own.",
)
def several_in_order(subject: Subject) -> None:
    """A model of several inputs and outputs answers all outputs, in the model's order, each with its own value."""
    subject.serves(subject.loaded("multi-io"), "multi-io")


@check(
    "outputs.subset",
    needs=[declares("output_subset")],
    fix=_NAMES,
    why="Fetching only what is needed saves the copies; Triton and ONNX Runtime both have it.",
)
def subset(subject: Subject) -> None:
    """`outputs` of a request chooses which outputs are returned, and in which order."""
    backend = subject.loaded("multi-io")
    inputs = subject.inputs("multi-io")
    goldens = REFERENCES["multi-io"].goldens(inputs)
    for names in (["counted"], ["first"], ["first", "total"], ["total", "first"], ["counted", "total", "first"]):
        got = subject.call(backend, inputs, f"execute with outputs={names}", outputs=names).outputs
        subject.same("multi-io", got, {name: goldens[name] for name in names}, f"outputs={names}")
    subject.serves(backend, "multi-io", when="for all outputs after calls for a few")


@check("outputs.all-by-name", fix=_NAMES, why="Naming every output must work in every backend, in any order.")
def all_by_name(subject: Subject) -> None:
    """`outputs` with all names, in any order, returns the outputs in that order."""
    backend = subject.loaded("multi-io")
    inputs = subject.inputs("multi-io")
    goldens = REFERENCES["multi-io"].goldens(inputs)
    for names in (list(goldens), list(reversed(goldens))):
        got = subject.call(backend, inputs, f"execute with outputs={names}", outputs=names).outputs
        subject.same("multi-io", got, {name: goldens[name] for name in names}, f"outputs={names}")


@check(
    "outputs.unknown",
    why="A typo that gives fewer outputs is noticed far from its cause.",
    fix="Do not override `execute`; the base class checks `outputs` against `_signature`.",
)
def unknown(subject: Subject) -> None:
    """Unknown, repeated and no output names are INVALID_ARGUMENT, which names the unknown one."""
    backend = subject.loaded()
    inputs = subject.inputs("affine")
    for names in (["nothing"], ["y", "nothing"], ["y", "y"], [], "y", [None]):
        what = f"outputs={names!r}"
        request = ExecutionRequest(inputs=inputs, outputs=names)  # type: ignore[arg-type]
        error = verdict.refused(backend.execute(request), ErrorCode.INVALID_ARGUMENT, what)
        if "nothing" in names:
            verdict.that("`nothing`" in str(error), f"{what}: the error does not name it: {error}")
    subject.serves(backend, when="after refused outputs")


@check("outputs.two-calls-share-no-memory", fix=_OWNED, why=_KEPT + "Preallocated engine buffers are its usual cause.")
def two_calls_share_no_memory(subject: Subject) -> None:
    """The outputs of two calls lie in separate memory, those of one call too."""
    backend = subject.loaded("multi-io")
    results = [subject.call(backend, subject.inputs("multi-io", seed)).outputs for seed in range(4)]
    arrays = [(f"`{name}` of call {turn}", value) for turn, out in enumerate(results) for name, value in out.items()]
    for index, (name, value) in enumerate(arrays):
        for other, memory in arrays[:index]:
            verdict.that(not np.shares_memory(value, memory), f"{other} and {name} share memory")


@check("outputs.survive-the-next-call", fix=_OWNED, why=_KEPT)
def survive_the_next_call(subject: Subject) -> None:
    """An output keeps its values through later calls on other inputs."""
    backend = subject.loaded()
    inputs = subject.inputs("affine")
    got = subject.call(backend, inputs).outputs
    for seed in range(1, 8):
        subject.call(backend, subject.inputs("affine", seed))
    subject.matches("affine", inputs, got, "an output, looked at after seven more calls")


@check("outputs.survive-the-unload", fix=_OWNED, why=_KEPT + "After an unload, such an array reads freed memory.")
def survive_the_unload(subject: Subject) -> None:
    """An output keeps its values after the model is replaced or unloaded, and after the backend is deleted."""
    backend = subject.loaded()
    inputs = subject.inputs("affine")
    got = subject.call(backend, inputs).outputs
    verdict.ok(backend.load(subject.model("affine-other")), "load of another model")
    subject.call(backend, inputs)
    verdict.ok(backend.unload(), "unload")
    subject.forget(backend)
    del backend
    scribble = [np.full((2, 3), seed, np.float32) for seed in range(64)]
    subject.matches("affine", inputs, got, "an output, looked at after the unload")
    del scribble


@check(
    "outputs.share-no-memory-with-inputs",
    fix=_OWNED,
    why="Callers reuse their input arrays for the next call; an output that is a view of one changes with it.",
)
def share_no_memory_with_inputs(subject: Subject) -> None:
    """An output keeps its values when the caller overwrites the inputs after the call."""
    for name in ("identity-fp32", "multi-io"):
        try:
            backend = subject.loaded(name)
        except verdict.Skipped:
            continue
        inputs = subject.inputs(name)
        kept = {key: value.copy() for key, value in inputs.items()}
        got = subject.call(backend, inputs).outputs
        for key, value in inputs.items():
            shared = [out for out, array in got.items() if np.shares_memory(array, value)]
            verdict.that(not shared, f"output `{shared and shared[0]}` of `{name}` shares the memory of input `{key}`")
            value[...] = 0
        subject.matches(name, kept, got, "an output, after the inputs were overwritten")


@check(
    "outputs.plain-arrays",
    fix="Return C-contiguous numpy arrays in native byte order that may be written.",
    why="The caller owns them: whatever works on any other array must work on them.",
)
def plain_arrays(subject: Subject) -> None:
    """Outputs are plain numpy arrays: C-contiguous, aligned, native byte order, writable."""
    for name in ("affine", "multi-io"):
        for output, value in subject.call(subject.loaded(name), subject.inputs(name)).outputs.items():
            verdict.that(type(value) is np.ndarray, f"`{output}` is a {type(value).__name__}, wanted numpy.ndarray")
            for wrong, flaw in _flaws(value).items():
                verdict.that(not flaw, f"`{output}` of `{name}` is {wrong}")


@check(
    "outputs.deterministic",
    needs=[declares("deterministic")],
    why="Caches, tests and audits compare bits; the backend declares that equal inputs give equal bits.",
    fix="Choose the engine's deterministic algorithms, or declare deterministic=False.",
)
def deterministic(subject: Subject) -> None:
    """Equal inputs give equal bits: again, after other calls, and after a reload."""
    for name in ("conv-net", "affine"):
        try:
            backend = subject.loaded(name)
        except verdict.Skipped:
            continue
        inputs = subject.inputs(name)
        first = subject.call(backend, inputs).outputs
        for turn in range(1, 11):
            subject.call(backend, subject.inputs(name, turn))
            if turn == 5:
                verdict.ok(backend.load(subject.model(name)), "load again")
            for output, value in subject.call(backend, inputs).outputs.items():
                same = value.tobytes() == first[output].tobytes()
                verdict.that(same, f"`{output}` of `{name}` differs in call {turn} on the same inputs")


def _flaws(value: Array) -> dict[str, bool]:
    return {
        "not C-contiguous": not value.flags.c_contiguous,
        "not aligned": not value.flags.aligned,
        "read-only": not value.flags.writeable,
        "not in native byte order": not value.dtype.isnative,
    }
