"""The signature and the model's metadata of an open ONNX Runtime session."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from aegisrt.backends.files.onnx import read_onnx
from aegisrt.backends.files.onnx_elements import data_type
from aegisrt.backends.files.unserved import ort_kind, unserved
from aegisrt.core.result import ErrorCode, ResultError, fail
from aegisrt.core.suggest import suggest
from aegisrt.core.tensor import DataType, Dim, Signature, TensorSpec

_NO_VERSION = 2**63 - 1
"""What ONNX Runtime reports for a model without `model_version` (seen in 1.32)."""


def session_signature(session: Any, path: Path) -> Signature:
    """Return inputs and outputs in the model's order; last the optional inputs, whose defaults are weights.

    Outputs that are not tensors (sequences, maps, optional and sparse ones, element types that `DataType` lacks) are
    in `omitted`.

    UNIMPLEMENTED: if an input is of that sort, or if no output can be served.
    INVALID_ARGUMENT: if the model has no outputs.
    """
    scalars = _Scalars(path)
    inputs = [_input(arg, scalars, path) for arg in session.get_inputs()]
    for arg in session.get_overridable_initializers():
        dtype = _dtype(arg.type)
        if dtype is not None:
            inputs.append(TensorSpec(arg.name, dtype, _shape(arg, scalars), optional=True))
    outputs, omitted = [], []
    for arg in session.get_outputs():
        dtype = _dtype(arg.type)
        if dtype is None:
            omitted.append((arg.name, ort_kind(arg.type)))
        else:
            outputs.append(TensorSpec(arg.name, dtype, _shape(arg, scalars)))
    if not outputs and not omitted:
        raise fail(ErrorCode.INVALID_ARGUMENT, f"{path} has no outputs")
    if not outputs:
        name, kind = omitted[0]
        reason, hint = unserved(kind)
        raise fail(ErrorCode.UNIMPLEMENTED, f"no output of {path} can be served: `{name}` is {reason}", hint)
    return Signature(tuple(inputs), tuple(outputs), tuple(omitted))


def session_metadata(session: Any) -> dict[str, str]:
    """Return the model's own metadata, as `read_onnx` returns it."""
    meta = session.get_modelmeta()
    version = "" if meta.version in (0, _NO_VERSION) else str(meta.version)
    texts = {"producer_name": meta.producer_name, "domain": meta.domain, "doc_string": meta.description}
    described = {**texts, "model_version": version}
    return {**{key: text for key, text in described.items() if text}, **meta.custom_metadata_map}


def check_free_dimensions(names: dict[str, int], path: Path) -> None:
    """Check that the model's inputs have each of these dimensions; ONNX Runtime ignores a name that it does not find.

    Nothing is checked if the file's signature cannot be read.

    INVALID_ARGUMENT: if no input has a dimension of that name.
    """
    if not names:
        return
    try:
        specs = read_onnx(path).signature.inputs
    except ResultError:
        return
    known = list(dict.fromkeys(dim for spec in specs for dim in spec.shape or () if isinstance(dim, str)))
    for name in names:
        if name not in known:
            hint = suggest(name, known, "named dimensions of its inputs")
            raise fail(ErrorCode.INVALID_ARGUMENT, f"no input of {path} has a dimension `{name}`", hint)


class _Scalars:
    """The tensors that the file declares as scalars: ONNX Runtime reports `[]` for a scalar and for an unknown rank."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._names: frozenset[str] | None = None

    def __contains__(self, name: str) -> bool:
        if self._names is None:
            self._names = self._read()
        return name in self._names

    def _read(self) -> frozenset[str]:
        try:
            signature = read_onnx(self._path).signature
        except ResultError:
            return frozenset()
        return frozenset(spec.name for spec in (*signature.inputs, *signature.outputs) if spec.shape == ())


def _input(arg: Any, scalars: _Scalars, path: Path) -> TensorSpec:
    dtype = _dtype(arg.type[len("optional(") : -1] if arg.type.startswith("optional(") else arg.type)
    if dtype is None:
        reason, hint = unserved(ort_kind(arg.type), is_input=True)
        raise fail(ErrorCode.UNIMPLEMENTED, f"input `{arg.name}` of {path} is {reason}", hint)
    return TensorSpec(arg.name, dtype, _shape(arg, scalars))


def _dtype(kind: str) -> DataType | None:
    return data_type(kind[len("tensor(") : -1]) if kind.startswith("tensor(") else None


def _shape(arg: Any, scalars: _Scalars) -> tuple[Dim, ...] | None:
    shape = tuple(dim if isinstance(dim, int) else dim or None for dim in arg.shape)
    return shape if shape or arg.name in scalars else None
