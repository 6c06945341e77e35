"""`read_onnx`: the signature of an ONNX file, read with no package at all.

It walks the protobuf wire format of `onnx.proto` (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto) down to the
graph's inputs and outputs, and skips the weights. So the mock, the graph and the cache can use a model's inputs,
outputs and external files if neither `onnx` nor an engine is installed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

from aegisrt.backends.files.onnx_elements import data_type, element_name
from aegisrt.backends.files.unserved import tensor_kind, unserved
from aegisrt.core.result import ErrorCode, fail
from aegisrt.core.tensor import Dim, Signature, TensorSpec

_NO_TENSOR = {4: "a sequence", 5: "a map", 7: "opaque", 8: "a sparse tensor", 9: "an optional"}

_OVERRIDABLE_SINCE = 4
"""IR version; before, each weight had to be an input too, and was a constant
(https://github.com/onnx/onnx/blob/main/docs/IR.md#optional-inputs)."""

_INSIDE: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {},
}
"""The fields of each message in which tensors are, by number, and the message that each holds."""
_DESCRIPTION = {2: "producer_name", 4: "domain", 6: "doc_string"}
"""Fields of `ModelProto` by number."""

_Field: TypeAlias = tuple[int, int | memoryview]


@dataclass(frozen=True, slots=True)
class OnnxFile:
    """What the header and the graph of an ONNX file declare."""

    ir_version: int
    opset: int
    """Version of the default operator set; 0 if the model imports none."""
    signature: Signature
    external_files: tuple[str, ...]
    """Files with weights, relative to the model's folder, sorted."""
    metadata: dict[str, str]
    """The model's own metadata, as `Hooks._model_metadata` describes it."""


class _DamageError(Exception):
    """The bytes are not protobuf."""


def read_onnx(path: Path) -> OnnxFile:
    """Read the ONNX file at `path`. Outputs that are not tensors of a known element type are `omitted`.

    INVALID_ARGUMENT: if it is not an ONNX file.
    DATA_LOSS: if it is cut short or damaged.
    UNIMPLEMENTED: if an input is not a tensor, or has an element type outside `DataType`.
    """
    content = path.read_bytes()
    try:
        return _model(content, path)
    except _DamageError as error:
        if looks_like_onnx(content):
            hint = "copy or export it again"
            raise fail(ErrorCode.DATA_LOSS, f"{path} is cut short or damaged", hint, cause=str(error)) from None
        raise fail(ErrorCode.INVALID_ARGUMENT, f"{path} is not an ONNX model", cause=str(error)) from None


def looks_like_onnx(head: bytes) -> bool:
    """Return whether bytes begin as exporters begin an ONNX file: field 1 (`ir_version`), a small varint."""
    return len(head) >= 2 and head[0] == 0x08 and 1 <= head[1] < 32


def _external_files(view: memoryview) -> set[str]:
    """Return the files that the tensors of a model name, wherever they are: a loop, since graphs can nest deeply."""
    files: set[str] = set()
    waiting = [("model", view)]
    while waiting:
        kind, message = waiting.pop()
        inside = _INSIDE[kind]
        for number, value in _fields(message):
            if number in inside:
                waiting.append((inside[number], _bytes(value)))
            elif kind == "tensor" and number == 13:
                entry = {inner: _text(text) for inner, text in _fields(_bytes(value))}
                if entry.get(1) == "location":
                    files.add(entry.get(2, ""))
    return files


def _model(content: bytes, path: Path) -> OnnxFile:
    view = memoryview(content)
    ir_version, opset, graph = 0, 0, None
    for number, value in _fields(view):
        if number == 1:
            ir_version = _int(value)
        elif number == 7:
            graph = _bytes(value)
        elif number == 8:
            domain, version = "", 0
            for inner, entry in _fields(_bytes(value)):
                if inner == 1:
                    domain = _text(entry)
                elif inner == 2:
                    version = _int(entry)
            opset = version if domain in ("", "ai.onnx") else opset
    if graph is None:
        raise _DamageError("it contains no graph")
    inputs: list[memoryview] = []
    outputs: list[memoryview] = []
    weights: set[str] = set()
    for number, value in _fields(graph):
        if number == 5:
            weights.update(_text(inner) for field, inner in _fields(_bytes(value)) if field == 8)
        elif number == 11:
            inputs.append(_bytes(value))
        elif number == 12:
            outputs.append(_bytes(value))
    answers = [_value_info(item) for item in outputs]
    signature = Signature(
        _inputs(list(map(_value_info, inputs)), weights, path, has_defaults=ir_version >= _OVERRIDABLE_SINCE),
        tuple(info for info in answers if isinstance(info, TensorSpec)),
        tuple(info for info in answers if not isinstance(info, TensorSpec)),
    )
    external = _external_files(view) if b"location" in content else set()
    return OnnxFile(ir_version, opset, signature, tuple(sorted(external)), _metadata(view))


def _inputs(
    declared: list[TensorSpec | tuple[str, str]], weights: set[str], path: Path, *, has_defaults: bool
) -> tuple[TensorSpec, ...]:
    """Return the inputs; last those whose default value is a weight of the same name."""
    required, optional = [], []
    for info in declared:
        if _name(info) in weights:
            if has_defaults and isinstance(info, TensorSpec):
                optional.append(replace(info, optional=True))
            continue
        if not isinstance(info, TensorSpec):
            reason, hint = unserved(info[1], is_input=True)
            raise fail(ErrorCode.UNIMPLEMENTED, f"input `{info[0]}` of {path} is {reason}", hint)
        required.append(info)
    return (*required, *optional)


def _metadata(view: memoryview) -> dict[str, str]:
    found, custom = {}, {}
    for number, value in _fields(view):
        if number in _DESCRIPTION:
            found[_DESCRIPTION[number]] = _text(value)
        elif number == 5 and _int(value):
            found["model_version"] = str(_int(value))
        elif number == 14:
            entry = {inner: _text(text) for inner, text in _fields(_bytes(value))}
            custom[entry.get(1, "")] = entry.get(2, "")
    return {**{key: text for key, text in found.items() if text}, **custom}


def _value_info(view: memoryview) -> TensorSpec | tuple[str, str]:
    """Return a tensor's spec; for any other type, or an element type outside `DataType`, the name and the type."""
    name, kind, tensor = "", 0, None
    for number, value in _fields(view):
        if number == 1:
            name = _text(value)
        elif number == 2:
            for kind, inner in _fields(_bytes(value)):
                tensor = _bytes(inner) if kind == 1 else tensor
                if kind in (1, *_NO_TENSOR):
                    break
    if tensor is None or kind != 1:
        return name, _NO_TENSOR.get(kind, "of no type")
    element, shape = 0, None
    for number, value in _fields(tensor):
        if number == 1:
            element = _int(value)
        elif number == 2:
            shape = tuple(_dimension(_bytes(dim)) for inner, dim in _fields(_bytes(value)) if inner == 1)
    dtype = data_type(element_name(element))
    return (name, tensor_kind(element_name(element))) if dtype is None else TensorSpec(name, dtype, shape)


def _name(info: TensorSpec | tuple[str, str]) -> str:
    return info.name if isinstance(info, TensorSpec) else info[0]


def _dimension(view: memoryview) -> Dim:
    for number, value in _fields(view):
        if number == 1:
            size = _int(value)
            return size if size < 1 << 63 else None  # some exporters write -1 for a dynamic one
        if number == 2:
            return _text(value) or None
    return None


def _fields(view: memoryview) -> Iterator[_Field]:
    """Yield each field's number and value: an int for varints, the bytes for the rest."""
    at, end = 0, len(view)
    while at < end:
        tag, at = _varint(view, at)
        number, wire = tag >> 3, tag & 7
        if tag >> 32:  # protobuf's C++ reader cuts a tag to 32 bits, and would see another field
            raise _DamageError(f"a field with the tag {tag} at byte {at}")
        if wire == 0:
            value, at = _varint(view, at)
            yield number, value
            continue
        if wire == 2:
            size, at = _varint(view, at)
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
        else:
            raise _DamageError(f"wire type {wire} at byte {at}")
        if number == 0 or at + size > end:
            raise _DamageError(f"a field of {size} bytes ends past byte {end}")
        yield number, view[at : at + size]
        at += size


def _varint(view: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(view) and shift < 70:
        byte = view[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & (1 << 64) - 1, at
        shift += 7
    raise _DamageError(f"a number that does not end at byte {at}")


def _int(value: int | memoryview) -> int:
    if isinstance(value, int):
        return value
    raise _DamageError("bytes where a number belongs")


def _bytes(value: int | memoryview) -> memoryview:
    if isinstance(value, memoryview):
        return value
    raise _DamageError("a number where bytes belong")


def _text(value: int | memoryview) -> str:
    try:
        return str(_bytes(value), "utf-8")
    except UnicodeDecodeError as error:
        raise _DamageError(str(error)) from None
