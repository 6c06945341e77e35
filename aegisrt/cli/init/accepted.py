"""`check_accepted`: whether the model accepts sizes that were made up for dimensions without a name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from shlex import quote

from aegisrt.backends.registry import backend_class
from aegisrt.core.request import ExecutionRequest
from aegisrt.core.result import Err, Error, ErrorCode, fail
from aegisrt.core.tensor import Array, TensorSpec, is_name, shape_text

_REFERENCE = "onnx"
"""The backend kind that runs any ONNX model without a build."""


def check_accepted(model: Path, specs: Sequence[TensorSpec], inputs: Mapping[str, Array]) -> None:
    """Try made-up inputs on ONNX Runtime if `specs`, whose sizes the user did not give, have unnamed dimensions.

    An exporter that loses a dimension's name often loses a fixed size, too. Without ONNX Runtime, only the first of
    several dimensions, which is the batch in most models, may be unnamed.

    INVALID_ARGUMENT: if the model refuses the inputs, or nothing can show that it accepts them.
    """
    unnamed = [spec for spec in specs if _has_unnamed(spec, 0)]
    if not unnamed:
        return
    error, tried = _answer(model, inputs)
    if tried and error is not None:
        shapes = ", ".join(shape_text(inputs[spec.name].shape) for spec in unnamed)
        _refuse(unnamed, inputs, f"the model does not accept {shapes}: {error.message}")
    if not tried and (unknown := [spec for spec in unnamed if _has_unnamed(spec, 1)]):
        reason = error.message if error is not None else ""
        _refuse(unknown, inputs, f"ONNX Runtime cannot try made-up sizes: {reason}")


def _has_unnamed(spec: TensorSpec, first: int) -> bool:
    """Return whether a dimension from axis `first` on has neither a size nor a name; one dimension alone counts too."""
    dims = spec.shape
    if dims is None:
        return True
    return any(not isinstance(dim, int) and not is_name(dim) for dim in dims[first if len(dims) > 1 else 0 :])


def _answer(model: Path, inputs: Mapping[str, Array]) -> tuple[Error | None, bool]:
    """Return the error of a call, if any, and whether the model could be called at all."""
    backend = backend_class(_REFERENCE).unwrap()()
    loaded = backend.load(model)
    if isinstance(loaded, Err):
        return loaded.error, False
    answer = backend.execute(ExecutionRequest(inputs=inputs))
    backend.unload()
    return (answer.error if isinstance(answer, Err) else None), True


def _refuse(specs: Sequence[TensorSpec], inputs: Mapping[str, Array], reason: str) -> None:
    options = " ".join(f"--shape {quote(f'{spec.name}={_form(spec, inputs[spec.name].shape)}')}" for spec in specs)
    message = f"dimensions of {', '.join(map(str, specs))} have neither a size nor a name: {reason}"
    raise fail(ErrorCode.INVALID_ARGUMENT, message, f"give sizes that the model accepts for each N: {options}")


def _form(spec: TensorSpec, shape: Sequence[int]) -> str:
    if spec.shape is None:
        return "NxN"
    known = (
        str(size) if isinstance(dim, int) or is_name(dim) else "N" for dim, size in zip(spec.shape, shape, strict=True)
    )
    return "x".join(known)
