"""Dynamic dimensions: one loaded model serves inputs of differing shapes, in any order."""

from __future__ import annotations

from aegisrt.conformance import verdict
from aegisrt.conformance.check import check, declares
from aegisrt.conformance.subject import Subject
from aegisrt.core.request import ExecutionRequest
from aegisrt.core.result import Ok

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
