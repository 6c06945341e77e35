"""Dynamic dimensions: one loaded model serves inputs of differing shapes, in any order."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from aegisrt.conformance import verdict
from aegisrt.conformance.check import check, declares
from aegisrt.conformance.references.compare import difference
from aegisrt.conformance.references.models import REFERENCES
from aegisrt.conformance.subject import Subject
from aegisrt.core.request import ExecutionRequest
from aegisrt.core.result import Ok
from aegisrt.core.tensor import Array

_NEEDS = [declares("dynamic_shapes")]
_STALE = "Size every buffer, profile and captured graph from the inputs of this call; key what is cached by shape."


@check(
    "shapes.batch",
    needs=_NEEDS,
    fix=_STALE,
    why="A batcher sends every size up to its limit; buffers sized by the first call overflow or cut the rest off.",
)
def batch(subject: Subject) -> None:
    """A dynamic batch is served at 1, 2, 5, 16 and 64 rows, growing, shrinking and back."""
    backend = subject.loaded("batch")
    for turn, rows in enumerate((1, 2, 5, 16, 64, 16, 1, 5)):
        subject.serves(backend, "batch", turn, batch=rows, when=f"with {rows} rows")


@check(
    "shapes.several-dimensions",
    needs=_NEEDS,
    fix=_STALE,
    why="Sequence length and image size vary beside the batch; equal sizes with other sides must not be mixed up.",
)
def several_dimensions(subject: Subject) -> None:
    """Two dynamic dimensions vary independently, also at one and the same number of elements."""
    backend = subject.loaded("rows-and-columns")
    for turn, (rows, columns) in enumerate(((2, 6), (6, 2), (3, 4), (12, 1), (1, 12), (7, 5), (2, 6))):
        subject.serves(backend, "rows-and-columns", turn, rows=rows, columns=columns, when=f"at {rows}x{columns}")


@check(
    "shapes.unnamed-dimension",
    needs=_NEEDS,
    fix="Treat a dimension without name and value as dynamic.",
    why="Exporters leave dimensions without a name; a backend that keys by name fails on None.",
)
def unnamed_dimension(subject: Subject) -> None:
    """A dynamic dimension without a name is served."""
    backend = subject.loaded("unnamed")
    request = subject.inputs("unnamed")
    subject.matches("unnamed", request, subject.call(backend, request).outputs)


@check(
    "shapes.first-call-does-not-fix",
    needs=_NEEDS,
    fix=_STALE,
    why="Warm-up runs at one size; optimizers specialize on it.",
)
def first_call_does_not_fix(subject: Subject) -> None:
    """The size of the first call sets no limit for later ones, in fresh backends that begin small or large."""
    for first, later in ((1, 33), (33, 1)):
        backend = subject.loaded("batch")
        subject.serves(backend, "batch", batch=first, when=f"with {first} rows at first")
        subject.serves(backend, "batch", 1, batch=later, when=f"with {later} rows after {first}")


@check(
    "shapes.large", needs=_NEEDS, fix=_STALE, why="Staging buffers and grid sizes have limits that small tests miss."
)
def large(subject: Subject) -> None:
    """A tensor of a million elements is served, and a small one after it."""
    backend = subject.loaded("batch")
    subject.serves(backend, "batch", batch=350_000, when="with 350000 rows")
    subject.serves(backend, "batch", 1, batch=2, when="with 2 rows after a large call")


@check(
    "shapes.two-inputs-one-name",
    needs=_NEEDS,
    why="Two inputs share a dimension by name; if sizes disagree an engine reads past the end of the shorter one.",
    fix="Compare the sizes of equally named dimensions before the engine runs.",
)
def two_inputs_one_name(subject: Subject) -> None:
    """Inputs that disagree on a dimension of one name are an error, never an answer; and the backend serves on."""
    backend = subject.loaded("pair")
    subject.serves(backend, "pair", n=4)
    longer, shorter = subject.inputs("pair", n=5)["b"], subject.inputs("pair", n=3)["a"]
    result = backend.execute(ExecutionRequest(inputs={"b": longer, "a": shorter}))
    if isinstance(result, Ok):
        raise verdict.Failed(f"5 and 3 elements for one `n`: wanted an error, got {result.value.outputs}")
    subject.serves(backend, "pair", 1, n=6, when="after inputs that disagree")


@check(
    "shapes.rows-are-independent",
    needs=_NEEDS,
    why="`batching` joins the rows of several callers into one call. An engine that sorts, scales or pads over the "
    "whole call gives one caller numbers that depend on the other callers, without an error.",
    fix="Do not sort, rescale or pad over the batch in `_execute`; if the engine must, declare dynamic_shapes=False.",
)
def rows_are_independent(subject: Subject) -> None:
    """Rows of one call are answered as if each came alone, whatever their order and whatever is beside them."""
    tried = 0
    for name, rows in _ROW_WISE.items():
        try:
            backend = subject.loaded(name)
        except verdict.Skipped:
            continue
        tried += 1
        inputs = subject.inputs(name, **{rows: 6})
        single = [{key: value[row : row + 1] for key, value in inputs.items()} for row in range(6)]
        answers = [subject.call(backend, row).outputs for row in single]
        for what, arrange in _ARRANGEMENTS.items():
            arranged = {key: arrange(value)[0] for key, value in inputs.items()}
            outputs = subject.call(backend, arranged, f"execute with rows {what}").outputs
            for output, value in outputs.items():
                alone = np.concatenate([answer[output] for answer in answers])
                sent, theirs = arrange(alone)
                verdict.that(len(value) == len(sent), f"`{name}` with rows {what}: {len(sent)} in, {len(value)} out")
                problem = difference(value[theirs], alone, subject.tolerance(REFERENCES[name], output))
                where = f"`{name}` with rows {what}: `{output}`"
                verdict.that(problem is None, f"{where} differs from the rows alone: {problem}")
    if not tried:
        raise verdict.Skipped(f"declares no model for `{next(iter(_ROW_WISE))}`")


_ROW_WISE = {"batch": "batch", "rows-and-columns": "rows", "pair": "n"}
"""Reference models whose rows do not depend on each other, and their dimension of rows."""
_ARRANGEMENTS: dict[str, Callable[[Array], tuple[Array, slice]]] = {
    "together": lambda x: (x, slice(6)),
    "in reverse order": lambda x: (np.ascontiguousarray(x[::-1]), slice(None, None, -1)),
    "beside rows a thousand times as large": lambda x: (np.concatenate([x * 1000, x]).astype(x.dtype), slice(6, 12)),
    "before rows of zeros": lambda x: (np.concatenate([x, np.zeros_like(x[:2])]), slice(6)),
}
"""How six rows are sent, and which rows of the answer are theirs."""
