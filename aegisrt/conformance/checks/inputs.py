"""What goes in: wrong inputs are refused by name, and every valid memory layout gives the same answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from aegisrt.conformance import verdict
from aegisrt.conformance.check import check, declares
from aegisrt.conformance.references.models import REFERENCES
from aegisrt.conformance.subject import Subject
from aegisrt.core.request import ExecutionRequest
from aegisrt.core.result import ErrorCode
from aegisrt.core.tensor import Array, DataType

_REFUSE = "Do not override `execute`; the base class checks inputs against `_signature`, so that must be true."
_LAYOUT = "Use the arrays that `_execute` receives, not those of the request: they are native, contiguous and aligned."
_GUESS = "An engine that guesses answers a wrong number; the message must name the input so that the caller finds it. "


@check("inputs.unknown-name", why=_GUESS + "A typo in a name is the most frequent mistake.", fix=_REFUSE)
def unknown_name(subject: Subject) -> None:
    """An input name that the model does not have is INVALID_ARGUMENT, which names it."""
    good = subject.inputs("affine")
    _refused(subject, {"z": good["x"]}, "an unknown input name", "z")


@check("inputs.missing", why=_GUESS + "Without that check engines run on the last call's buffer.", fix=_REFUSE)
def missing(subject: Subject) -> None:
    """A missing input is INVALID_ARGUMENT, which names it, in a model of several inputs too."""
    _refused(subject, {}, "no inputs at all", "x")
    good = subject.inputs("multi-io")
    without = {name: value for name, value in good.items() if name != "left"}
    _refused(subject, without, "without input `left`", "left", model="multi-io")


@check("inputs.extra", why=_GUESS + "An input that is ignored today is read by the model's next version.", fix=_REFUSE)
def extra(subject: Subject) -> None:
    """An input beyond those of the model is INVALID_ARGUMENT, which names it."""
    good = subject.inputs("affine")
    _refused(subject, {**good, "more": good["x"]}, "one input too many", "more")


@check(
    "inputs.wrong-dtype", why=_GUESS + "Nothing is cast: a float64 default array would lose half its bits.", fix=_REFUSE
)
def wrong_dtype(subject: Subject) -> None:
    """An input of another dtype is INVALID_ARGUMENT, which names it; also of the same width, and strings."""
    good = np.abs(subject.inputs("affine")["x"])
    for dtype in ("float64", "float16", "int32", "int64", "uint8", "bool", "complex64", "datetime64[s]", "S4", "U4"):
        other = good.astype("int64").astype(dtype) if dtype.startswith("datetime") else good.astype(dtype)
        _refused(subject, {"x": other}, f"a {dtype} input", "x")


@check("inputs.wrong-rank", why=_GUESS, fix=_REFUSE)
def wrong_rank(subject: Subject) -> None:
    """An input with a dimension too few or too many is INVALID_ARGUMENT, which names it."""
    good = subject.inputs("affine")["x"]
    for other in (good[0], good[None], good.ravel(), good[..., None]):
        _refused(subject, {"x": other}, f"shape {other.shape}", "x")


@check(
    "inputs.wrong-dimension", why=_GUESS + "A transposed array has the right size and the wrong meaning.", fix=_REFUSE
)
def wrong_dimension(subject: Subject) -> None:
    """An input whose static dimension differs is INVALID_ARGUMENT, which names it."""
    good = subject.inputs("affine")["x"]
    for other in (np.ascontiguousarray(good.T), good[:1], good[:, :2], np.concatenate([good, good])):
        _refused(subject, {"x": other}, f"shape {other.shape}", "x")


@check("inputs.empty-for-static", why=_GUESS + "Engines divide by its size.", fix=_REFUSE)
def empty_for_static(subject: Subject) -> None:
    """An empty array for a static dimension is INVALID_ARGUMENT, which names it."""
    for shape in ((0, 3), (2, 0), (0,)):
        _refused(subject, {"x": np.zeros(shape, np.float32)}, f"shape {shape}", "x")


@check(
    "inputs.not-arrays",
    why="A list has no dtype: which one it gets would be a guess. Masks and None are lost.",
    fix=_REFUSE,
)
def not_arrays(subject: Subject) -> None:
    """Lists, numbers, None, strings and masked arrays are INVALID_ARGUMENT, which names the input and the reason."""
    good = subject.inputs("affine")["x"]
    masked = np.ma.MaskedArray(good, mask=good > 0)
    others: tuple[Any, ...] = (good.tolist(), tuple(good.tolist()), 1.0, None, "text", b"bytes", {}, masked)
    for other in others:
        _refused(subject, {"x": other}, f"a {type(other).__name__} as input", "x")


@check(
    "inputs.not-a-request",
    why="A dict in place of a request is an easy slip, and must not be an AttributeError.",
    fix=_REFUSE,
)
def not_a_request(subject: Subject) -> None:
    """A request that is not an ExecutionRequest, and inputs that are not a mapping, are INVALID_ARGUMENT."""
    backend = subject.loaded()
    good = subject.inputs("affine")
    for other in (good, None, [good["x"]], good["x"]):
        verdict.refused(backend.execute(other), ErrorCode.INVALID_ARGUMENT, f"execute({type(other).__name__})")  # type: ignore[arg-type]
    for inputs in ([good["x"]], good["x"], None, "x"):
        request = ExecutionRequest(inputs=inputs)  # type: ignore[arg-type]
        verdict.refused(backend.execute(request), ErrorCode.INVALID_ARGUMENT, f"inputs={type(inputs).__name__}")
    subject.serves(backend, when="after refused calls")


@check(
    "inputs.order-of-names",
    why="Engines take inputs by position; a mapping has the caller's order.",
    fix="Take inputs by name in `_execute`; the base class hands them over in the model's order.",
)
def order_of_names(subject: Subject) -> None:
    """The order in which the caller names the inputs does not change the answer."""
    backend = subject.loaded("multi-io")
    inputs = subject.inputs("multi-io")
    for names in (sorted(inputs), sorted(inputs, reverse=True), list(inputs)):
        outputs = subject.call(backend, {name: inputs[name] for name in names}).outputs
        subject.matches("multi-io", inputs, outputs, f"inputs given in the order {names}")


@check(
    "inputs.non-contiguous",
    why="Slices and transposes are what users have; read as contiguous they are scrambled.",
    fix=_LAYOUT,
)
def non_contiguous(subject: Subject) -> None:
    """Strided, transposed, reversed and Fortran-ordered inputs give the answer of a contiguous one."""
    _layouts(
        subject,
        {
            "every second element": lambda x: np.repeat(np.repeat(x, 2, 0), 2, 1)[::2, ::2],
            "transposed": lambda x: np.ascontiguousarray(x.T).T,
            "reversed twice": lambda x: np.ascontiguousarray(x[::-1, ::-1])[::-1, ::-1],
            "Fortran order": np.asfortranarray,
            "broadcast rows": lambda x: np.broadcast_to(x[:1], x.shape),
        },
    )


@check(
    "inputs.big-endian",
    why="Network and file formats are big-endian; read as native each number is another.",
    fix=_LAYOUT,
)
def big_endian(subject: Subject) -> None:
    """Inputs in the other byte order give the answer of native ones, for each declared dtype of a model."""
    _layouts(subject, {"other byte order": lambda x: x.astype(x.dtype.newbyteorder())})
    for dtype in sorted(subject.can.dtypes - {DataType.BYTES, DataType.BF16, DataType.FP32}):
        name = f"identity-{dtype.lower()}"
        try:
            backend = subject.loaded(name)
        except verdict.Skipped:
            continue
        native = subject.inputs(name)
        swapped = {key: value.astype(value.dtype.newbyteorder()) for key, value in native.items()}
        subject.matches(name, native, subject.call(backend, swapped).outputs, f"{dtype} in the other byte order")


@check(
    "inputs.read-only",
    why="Memory-mapped files and shared buffers are read-only; DLPack refuses some of them.",
    fix=_LAYOUT,
)
def read_only(subject: Subject) -> None:
    """Read-only inputs are accepted."""

    def frozen(x: Array) -> Array:
        copy = x.copy()
        copy.flags.writeable = False
        return copy

    _layouts(subject, {"read-only": frozen, "over bytes": lambda x: np.frombuffer(x.tobytes(), x.dtype).reshape(2, 3)})


@check(
    "inputs.unaligned",
    why="Fields of packed records are unaligned; vector instructions fault on them "
    "(TVM's VM takes the process down with SIGSEGV).",
    fix=_LAYOUT,
)
def unaligned(subject: Subject) -> None:
    """Inputs at odd addresses, and at addresses aligned to their element only, give the right answer."""

    def at(offset: int) -> Callable[[Array], Array]:
        def move(x: Array) -> Array:
            raw = np.zeros(x.nbytes + 128, np.uint8)
            start = -raw.ctypes.data % 64 + offset
            view = raw[start : start + x.nbytes].view(x.dtype).reshape(x.shape)
            view[...] = x
            return view

        return move

    _layouts(subject, {f"{offset} bytes past a 64-byte boundary": at(offset) for offset in (1, 2, 3, 4, 8, 20, 36)})


@check(
    "inputs.zero-size",
    needs=[declares("zero_size"), declares("dynamic_shapes")],
    why="A filter that removes everything leaves an empty batch.",
    fix="Return empty arrays of the right shape if the engine cannot run on them.",
)
def zero_size(subject: Subject) -> None:
    """A batch of zero rows gives outputs of zero rows, and the next call is right."""
    backend = subject.loaded("batch")
    subject.serves(backend, "batch", batch=0, when="with zero rows")
    subject.serves(backend, "batch", batch=3, when="after a call with zero rows")


@check(
    "inputs.scalars",
    needs=[declares("scalars")],
    why="Thresholds and sample rates are scalars: rank 0, not [1].",
    fix="Keep rank 0 through staging: numpy's `ascontiguousarray` makes it rank 1.",
)
def scalars(subject: Subject) -> None:
    """A scalar input gives a scalar output; an array of one element is refused."""
    backend = subject.loaded("scalar")
    subject.serves(backend, "scalar")
    request = ExecutionRequest(inputs={"x": np.ones(1, np.float32)})
    verdict.refused(backend.execute(request), ErrorCode.INVALID_ARGUMENT, "an array of one element for a scalar")
    got = subject.call(backend, {"x": np.float32(2.0)}, "a numpy scalar").outputs["y"]
    verdict.that(np.shape(got) == () and float(got) == 5.0, f"a numpy scalar: wanted 5.0, got {got!r}")


@check(
    "inputs.not-modified",
    why="The caller continues to use the arrays; an engine that computes in place overwrites them.",
    fix="Copy what the engine may write; never pass a caller's array as an output buffer.",
)
def not_modified(subject: Subject) -> None:
    """`execute` leaves the bytes of every input as they were, and the mapping too."""
    for name in ("affine", "multi-io", "identity-fp32"):
        try:
            backend = subject.loaded(name)
        except verdict.Skipped:
            continue
        inputs = subject.inputs(name)
        kept = {key: value.copy() for key, value in inputs.items()}
        given = dict(inputs)
        for _ in range(3):
            subject.call(backend, given)
        verdict.that(list(given) == list(inputs), f"`{name}`: the mapping of inputs was changed")
        for key, value in kept.items():
            verdict.that(given[key] is inputs[key], f"`{name}`: input `{key}` was replaced in the caller's mapping")
            verdict.that(np.array_equal(inputs[key], value), f"`{name}`: input `{key}` was written to")


def _refused(subject: Subject, inputs: Mapping[str, Any], what: str, named: str, model: str = "affine") -> None:
    """Fail unless the call is INVALID_ARGUMENT that names the input, and the backend serves on."""
    backend = subject.once(model)
    error = verdict.refused(backend.execute(ExecutionRequest(inputs=inputs)), ErrorCode.INVALID_ARGUMENT, what)
    verdict.that(f"`{named}`" in str(error), f"{what}: the error does not name `{named}`: {error}")
    subject.serves(backend, model, when=f"after {what}")


def _layouts(subject: Subject, layouts: Mapping[str, Callable[[Array], Array]]) -> None:
    backend = subject.loaded()
    for what, lay_out in layouts.items():
        x = lay_out(subject.inputs("affine")["x"])
        want = REFERENCES["affine"].goldens({"x": np.ascontiguousarray(x).astype(np.float32)})
        got = subject.call(backend, {"x": x}, f"an input that is {what}").outputs
        subject.same("affine", got, want, f"an input that is {what}")
