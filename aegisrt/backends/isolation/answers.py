"""What a child answers, as JSON: data that the parent checks, since the engine may have been captured.

A message is `{"error": {...}}` or `{"ok": ...}`. The outputs of a call have no names and no offsets: they come in the
order of the request, and lie in the arena one after the other.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from aegisrt.backends.isolation.arena import Laid
from aegisrt.backends.isolation.channel import BadMessageError
from aegisrt.core.result import Error, ErrorCode, ResultError
from aegisrt.core.tensor import DataType, Dim, Signature, TensorSpec, shape_text

LONGEST_CALL = 1 << 20
"""In bytes; of the answer to a request."""
LONGEST_READY = 1 << 24
"""In bytes; of the first answer, with the model's own metadata."""
_MOST_VALUES = 1 << 19
"""Of the first answer, counted by its commas and brackets; a small value takes many times its bytes as an object."""
_LONGEST_TEXT = 10_000
"""In characters; of the texts of an error. Three of them fit in `LONGEST_CALL`."""
_DEEPEST = 16
_MOST_DIMENSIONS = 64
"""Of a tensor; as many as numpy has. The product of more takes time."""
_LARGEST = 2**63 - 1


@dataclass(frozen=True, slots=True)
class ReadyMessage:
    """The child's first answer: the model is loaded."""

    signature: Signature
    metadata: dict[str, Any]
    model_metadata: dict[str, str]
    memory_bytes: int | None
    digests: tuple[str, ...]
    """Of the model's files, in the order of its snapshot; none if the child was given them."""


def error_answer(error: Error) -> bytes:
    """Return the answer for an error, with texts of a bounded length; a child has no locations and no diagnostics."""
    texts = {"message": error.message, "hint": error.hint, "cause": error.cause}
    cut = {key: text if text is None else str(text)[:_LONGEST_TEXT] for key, text in texts.items()}
    return json.dumps({"error": {"code": error.code, **cut}}).encode()


def ready_answer(ready: ReadyMessage) -> bytes:
    """Return the first answer."""
    signature = ready.signature
    value = {
        "inputs": [_row(spec) for spec in signature.inputs],
        "outputs": [_row(spec) for spec in signature.outputs],
        "omitted": signature.omitted,
        "metadata": ready.metadata,
        "model_metadata": ready.model_metadata,
        "memory_bytes": ready.memory_bytes,
        "digests": ready.digests,
    }
    try:
        answer = json.dumps({"ok": value}, default=str).encode()
    except (TypeError, ValueError, RecursionError) as error:
        return error_answer(Error(ErrorCode.INTERNAL, f"the model's metadata is not plain data: {error}"))
    if len(answer) > LONGEST_READY or _has_many_values(answer):
        most = f"at most {LONGEST_READY} with {_MOST_VALUES} values pass between processes"
        message = f"the model's description has {len(answer)} bytes, and {most}"
        return error_answer(Error(ErrorCode.RESOURCE_EXHAUSTED, message, "serve it with `isolation: none`"))
    return answer


def call_answer(laid: Sequence[Laid]) -> bytes:
    """Return the answer to a request, whose outputs are in the arena."""
    return json.dumps({"ok": [(place.dtype, place.shape, place.size) for place in laid]}).encode()


def parse_ready(message: bytes, files: int) -> ReadyMessage:
    """Return a first answer with the digests of `files` files.

    ResultError: if it is an error.
    BadMessageError: if it is not an answer.
    """
    _require(not _has_many_values(message), "too many values")
    value = _ok(message)
    names = ("inputs", "outputs", "omitted", "metadata", "model_metadata", "memory_bytes", "digests")
    _require(isinstance(value, dict) and set(value) == set(names), "other fields than those of a model")
    inputs, outputs = (tuple(map(_spec, _list(value[key]))) for key in ("inputs", "outputs"))
    for specs in (inputs, outputs):
        _require(len({spec.name for spec in specs}) == len(specs), "a tensor's name stands twice")
    omitted = tuple((_text(name), _text(kind)) for name, kind in (_list(row, 2) for row in _list(value["omitted"])))
    metadata, own, memory = value["metadata"], value["model_metadata"], value["memory_bytes"]
    _require(isinstance(metadata, dict) and isinstance(own, dict), "metadata that is not a mapping")
    _require_shallow(metadata, _DEEPEST)
    _require(memory is None or _is_size(memory), "a memory size that is not a size")
    digests = tuple(map(_text, _list(value["digests"], files)))
    _require(all(re.fullmatch("[0-9a-f]{64}", digest) for digest in digests), "a digest that is not a sha256")
    own = {key: _text(text) for key, text in own.items()}
    return ReadyMessage(Signature(inputs, outputs, omitted), metadata, own, memory, digests)


def parse_call(message: bytes, specs: Sequence[TensorSpec]) -> list[Laid]:
    """Return where the outputs `specs` lie; the arena checks that they are there.

    ResultError: if the answer is an error.
    BadMessageError: if it is not an answer, or does not fit the model's signature.
    """
    return [_laid(row, spec) for row, spec in zip(_list(_ok(message), len(specs)), specs, strict=True)]


def misfit(spec: TensorSpec, dtype: DataType | None, shape: tuple[int, ...]) -> str | None:
    """Return how an output differs from the model's signature, or None."""
    if dtype is not spec.dtype:
        return f"output `{spec.name}` is {dtype}, and the model declares {spec.dtype}"
    if spec.shape is None:
        return None
    fits = len(shape) == len(spec.shape) and all(
        size == dim for size, dim in zip(shape, spec.shape, strict=True) if isinstance(dim, int)
    )
    declared = shape_text(spec.shape)
    return None if fits else f"output `{spec.name}` has shape {shape_text(shape)}, and the model declares {declared}"


def _has_many_values(message: bytes) -> bool:
    return sum(map(message.count, (b",", b"[", b"{"))) > _MOST_VALUES


def _row(spec: TensorSpec) -> tuple[object, ...]:
    return spec.name, spec.dtype, spec.shape, spec.optional


def _ok(message: bytes) -> Any:
    try:
        value = json.loads(message)
    except (ValueError, RecursionError):
        raise BadMessageError("it is not JSON") from None
    _require(isinstance(value, dict) and len(value) == 1, "neither an error nor a value")
    if "error" in value:
        raise ResultError(_error(value["error"]))
    _require("ok" in value, "neither an error nor a value")
    return value["ok"]


def _error(value: Any) -> Error:
    fields = {"code", "message", "hint", "cause"}
    _require(isinstance(value, dict) and set(value) == fields, "other fields than those of an error")
    hint, cause = (None if value[key] is None else _text(value[key])[:_LONGEST_TEXT] for key in ("hint", "cause"))
    _require(value["code"] in list(ErrorCode), "an error with an unknown code")
    return Error(ErrorCode(value["code"]), _text(value["message"])[:_LONGEST_TEXT], hint, cause=cause)


def _spec(row: Any) -> TensorSpec:
    name, dtype, shape, optional = _list(row, 4)
    _require(isinstance(optional, bool), "`optional` that is neither true nor false")
    dims = None if shape is None else tuple(map(_dim, _dims(shape)))
    return TensorSpec(_text(name), _dtype(dtype), dims, optional)


def _laid(row: Any, spec: TensorSpec) -> Laid:
    dtype, dims, size = _list(row, 3)
    dims = _dims(dims)
    _require(all(map(_is_size, dims)) and _is_size(size), "a size that is not a size")
    laid = Laid(_dtype(dtype), tuple(dims), size)
    wrong = misfit(spec, laid.dtype, laid.shape)
    if wrong is not None:
        raise BadMessageError(wrong)
    needed = prod(laid.shape) * laid.dtype.numpy.itemsize
    is_text = laid.dtype is DataType.BYTES
    _require(is_text or laid.size == needed, "a tensor of another size than its shape")
    return laid


def _dtype(value: Any) -> DataType:
    _require(value in list(DataType), "an unknown dtype")
    return DataType(value)


def _dims(value: Any) -> list[Any]:
    found = _list(value)
    _require(len(found) <= _MOST_DIMENSIONS, "a tensor with too many dimensions")
    return found


def _dim(value: Any) -> Dim:
    _require(value is None or isinstance(value, str) or _is_size(value), "a dimension that is not a size or a name")
    dim: Dim = value
    return dim


def _is_size(value: Any) -> bool:
    return type(value) is int and 0 <= value <= _LARGEST


def _text(value: Any) -> str:
    _require(isinstance(value, str), "another value where a text has to be")
    return str(value)


def _list(value: Any, length: int | None = None) -> list[Any]:
    _require(isinstance(value, list), "another value where a list has to be")
    _require(length is None or len(value) == length, "a list of another length")
    found: list[Any] = value
    return found


def _require_shallow(value: Any, depth: int) -> None:
    _require(depth > 0, "data that is nested too deeply")
    if isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            _require_shallow(inner, depth - 1)


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise BadMessageError(what)
