"""What a backend declares of the loaded model: names, dtypes and shapes, which the graph and every caller use."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from aegisrt.conformance import verdict
from aegisrt.conformance.check import check, declares
from aegisrt.conformance.references.models import REFERENCES
from aegisrt.conformance.subject import Subject
from aegisrt.conformance.target import Backend
from aegisrt.core.request import MODEL_METADATA
from aegisrt.core.tensor import Signature, TensorSpec, shape_text

_WHY = "The graph's checks, `aegisrt init` and input staging read the signature; a wrong one fails far from its cause. "
_FIX = "Return from `_signature` what the model's file declares, in its order; keep a sidecar if the engine drops it."


@check("signature.names-in-order", why=_WHY + "TVM's libraries, for one, store no output names.", fix=_FIX)
def names_in_order(subject: Subject) -> None:
    """`signature` has the model's input and output names, in the model's own order."""
    got, want = _both(subject, "multi-io")
    for side in ("inputs", "outputs"):
        names, wanted = (_names(getattr(item, side)) for item in (got, want))
        verdict.that(names == wanted, f"{side}: wanted {wanted}, got {names}")


@check("signature.dtypes", why=_WHY + "TensorRT before 10 turns INT64 into INT32, for one.", fix=_FIX)
def dtypes(subject: Subject) -> None:
    """`signature` has the dtype of each input and output of each declared dtype's model."""
    seen = 0
    for dtype in sorted(subject.can.dtypes):
        try:
            got, want = _both(subject, f"identity-{dtype.lower()}")
        except verdict.Skipped:
            continue
        seen += 1
        for one, other in zip((*got.inputs, *got.outputs), (*want.inputs, *want.outputs), strict=True):
            verdict.that(one.dtype is other.dtype, f"`{one.name}`: wanted {other.dtype}, got {one.dtype}")
    if not seen:
        raise verdict.Skipped("declares no model for `identity-*`")


@check("signature.static-shapes", why=_WHY, fix=_FIX)
def static_shapes(subject: Subject) -> None:
    """`signature` has the size of every static dimension."""
    _same_shapes(*_both(subject, "multi-io"))


@check(
    "signature.dynamic-shapes",
    why=_WHY + "A fixed size there refuses good inputs.",
    fix=_FIX,
    needs=[declares("dynamic_shapes")],
)
def dynamic_shapes(subject: Subject) -> None:
    """`signature` gives a dynamic dimension its name or None, and never a number."""
    for name in ("batch", "rows-and-columns", "unnamed"):
        _same_shapes(*_both(subject, name))


@check("signature.scalars", why=_WHY + "A scalar has shape (), and not (1,).", fix=_FIX, needs=[declares("scalars")])
def scalars(subject: Subject) -> None:
    """`signature` gives a scalar the shape ()."""
    _same_shapes(*_both(subject, "scalar"))


@check(
    "signature.outputs-agree",
    why=_WHY + "ONNX files exist that declare a rank which their output does not have.",
    fix="Correct the declared shape in `_signature`, or give the rank as unknown (shape None).",
)
def outputs_agree(subject: Subject) -> None:
    """The arrays that `execute` returns have the names, dtypes and shapes of `signature`."""
    for name in ("affine", "multi-io", "batch", "scalar", "conv-net"):
        try:
            backend = subject.loaded(name)
        except verdict.Skipped:
            if name == "affine":
                raise
            continue
        outputs = subject.call(backend, subject.inputs(name)).outputs
        specs = _signature(backend).outputs
        verdict.that(list(outputs) == _names(specs), f"`{name}`: got outputs {list(outputs)}, declared {_names(specs)}")
        for spec in specs:
            _agrees(spec, outputs[spec.name])


@check(
    "signature.follows-the-model",
    why="Callers size their buffers by it; after a reload or an unload the old one is wrong.",
    fix="Do not override `signature`; the base class takes it from the loaded model.",
)
def follows_the_model(subject: Subject) -> None:
    """`signature` is None before load and after unload, and that of the new model after a second load."""
    backend = subject.fresh()
    verdict.that(backend.signature is None, "wanted None before load")
    for name in ("affine", "affine-wide"):
        verdict.ok(backend.load(subject.model(name)), f"load of `{name}`")
        _same_shapes(_signature(backend), REFERENCES[name].signature)
    verdict.ok(backend.unload(), "unload")
    verdict.that(backend.signature is None, "wanted None after unload")


@check(
    "signature.model-metadata",
    why="Class names and character sets are in the model's file; a copy elsewhere may belong to "
    "another version of the model, and then names the wrong classes.",
    fix="Return from `_model_metadata` the texts that the model's file has; keep a sidecar if the engine drops them.",
)
def model_metadata(subject: Subject) -> None:
    """`model_metadata` is that of the loaded model's file, and a result has it if the request asks for it."""
    backend, inputs = subject.fresh(), subject.inputs("multi-io")
    verdict.that(backend.model_metadata is None, "wanted None before load")
    verdict.ok(backend.load(subject.model("multi-io")), "load of the model `multi-io`")
    got = backend.model_metadata
    texts = isinstance(got, dict) and all(isinstance(text, str) for pair in got.items() for text in pair)
    verdict.that(texts, f"wanted texts by key, got {got!r}")
    if not got:
        raise verdict.Skipped("`_model_metadata` returns none")
    for key, text in REFERENCES["multi-io"].metadata.items():
        verdict.that(got.get(key) == text, f"`{key}`: wanted {text!r}, got {got.get(key)!r}")
    plain = subject.call(backend, inputs).metadata
    verdict.that(MODEL_METADATA not in plain, "a result has it, and the request did not ask for it")
    asked = subject.call(backend, inputs, parameters={MODEL_METADATA: True}).metadata
    verdict.that(asked.get(MODEL_METADATA) == got, f"a result has {asked.get(MODEL_METADATA)!r}, wanted {got!r}")
    verdict.ok(backend.load(subject.model("affine")), "load of the model `affine`")
    other = backend.model_metadata or {}
    verdict.that("classes" not in other, f"after a second load, it is still that of the first model: {other!r}")
    verdict.ok(backend.unload(), "unload")
    verdict.that(backend.model_metadata is None, "wanted None after unload")


def _both(subject: Subject, name: str) -> tuple[Signature, Signature]:
    return _signature(subject.loaded(name)), REFERENCES[name].signature


def _signature(backend: Backend) -> Signature:
    signature = backend.signature
    if not isinstance(signature, Signature):
        raise verdict.Failed(f"wanted a Signature after load, got {signature!r}")
    return signature


def _names(specs: Sequence[TensorSpec]) -> list[str]:
    return [spec.name for spec in specs]


def _same_shapes(got: Signature, want: Signature) -> None:
    for one, other in zip((*got.inputs, *got.outputs), (*want.inputs, *want.outputs), strict=True):
        shape, wanted = one.shape, other.shape
        assert wanted is not None
        same = (
            shape is not None
            and len(shape) == len(wanted)
            and all(
                dim == known if isinstance(known, int) else not isinstance(dim, int)
                for dim, known in zip(shape, wanted, strict=True)
            )
        )
        verdict.that(same, f"`{one.name}`: wanted shape {shape_text(wanted)}, got {shape_text(shape)}")


def _agrees(spec: TensorSpec, value: object) -> None:
    verdict.that(isinstance(value, np.ndarray), f"`{spec.name}` is a {type(value).__name__}, not an array")
    assert isinstance(value, np.ndarray)
    verdict.that(value.dtype == spec.dtype.numpy, f"`{spec.name}`: declared {spec.dtype}, got {value.dtype}")
    fits = spec.shape is None or (
        len(spec.shape) == value.ndim
        and all(not isinstance(dim, int) or dim == size for dim, size in zip(spec.shape, value.shape, strict=True))
    )
    verdict.that(fits, f"`{spec.name}`: declared {shape_text(spec.shape)}, got {shape_text(value.shape)}")
