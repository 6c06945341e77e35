"""`read_onnx`: the signature of an ONNX file, read with no package at all.

It walks the message of `onnx.proto` (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto) down to the graph's inputs
and outputs, and skips the weights. So the mock, the graph and the cache can use a model's inputs, outputs and external
files if neither `onnx` nor an engine is installed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from aegisrt.backends.files.onnx_elements import data_type, element_name
from aegisrt.backends.files.protobuf import DamagedError, Protobuf, Span, TooLargeError, number_of, signed, span_of
from aegisrt.backends.files.unserved import tensor_kind, unserved
from aegisrt.core.result import ErrorCode, fail
from aegisrt.core.stamp import PerFile
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

_LOCATION = b"location"
"""The key of the file's name in the description of external weights."""


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


class ValueInfo(NamedTuple):
    """An input or output as the graph declares it."""

    name: str
    kind: int
    """The field of `TypeProto`: 1 for a tensor, else one of `_NO_TENSOR`, or 0 for none."""
    element: int
    """`TensorProto.DataType`."""
    shape: tuple[Dim, ...] | None
    """None for an unknown rank."""


def read_onnx(path: Path) -> OnnxFile:
    """Read the ONNX file at `path`, without its weights. Outputs that are not tensors of a served type are `omitted`.

    INVALID_ARGUMENT: if it is not an ONNX file.
    DATA_LOSS: if it is cut short or damaged.
    UNIMPLEMENTED: if an input is not a tensor, or has an element type outside `DataType`.
    RESOURCE_EXHAUSTED: if it has more fields or texts than `Protobuf` reads.
    """
    found = _HEADERS(path)
    return replace(found, metadata=found.metadata.copy())


def looks_like_onnx(head: bytes) -> bool:
    """Return whether bytes begin as exporters begin an ONNX file: field 1 (`ir_version`), a small varint."""
    return len(head) >= 2 and head[0] == 0x08 and 1 <= head[1] < 32


def value_info(file: Protobuf, span: Span) -> ValueInfo:
    """Return a graph's input or output, from its `ValueInfoProto`."""
    name, kind, tensor = "", 0, None
    for number, value in file.fields(span):
        if number == 1:
            name = file.text(value)
        elif number == 2:
            for kind, inner in file.fields(span_of(value)):
                tensor = span_of(inner) if kind == 1 else tensor
                if kind in (1, *_NO_TENSOR):
                    break
    element, shape = 0, None
    for number, value in file.fields(tensor) if tensor is not None else ():
        if number == 1:
            element = number_of(value)
        elif number == 2:
            shape = tuple(_dimension(file, dim) for dim in file.inside(span_of(value), 1))
    return ValueInfo(name, kind, element, shape)


def default_opset(file: Protobuf, span: Span) -> int | None:
    """Return the version in an `OperatorSetIdProto` of the default operator set, None for another set."""
    domain, version = "", 0
    for number, value in file.fields(span):
        if number == 1:
            domain = file.text(value)
        elif number == 2:
            version = number_of(value)
    return version if domain in ("", "ai.onnx") else None


def _read(path: Path) -> OnnxFile:
    with Protobuf.opened(path) as file:
        try:
            return _model(file, path)
        except TooLargeError as error:
            raise fail(ErrorCode.RESOURCE_EXHAUSTED, f"{path} cannot be read: it has {error}") from None
        except DamagedError as error:
            head = file.head()
            if looks_like_onnx(head):
                hint = "copy or export it again"
                raise fail(ErrorCode.DATA_LOSS, f"{path} is cut short or damaged", hint, cause=str(error)) from None
            raise fail(ErrorCode.INVALID_ARGUMENT, f"{path} is not an ONNX model", cause=str(error)) from None


_HEADERS = PerFile(_read)


def _model(file: Protobuf, path: Path) -> OnnxFile:
    ir_version, opset, graph, model_version = 0, 0, None, 0
    texts: dict[str, str] = {}
    custom: dict[str, str] = {}
    files: set[str] = set()
    for number, value in file.fields(file.whole):
        if number == 1:
            ir_version = number_of(value)
        elif number in _DESCRIPTION:
            texts[_DESCRIPTION[number]] = file.text(value)
        elif number == 5:
            model_version = number_of(value)
        elif number == 7:
            files |= _external_files(file, "graph", graph) if graph is not None else set()
            graph = span_of(value)
        elif number == 8:
            version = default_opset(file, span_of(value))
            opset = opset if version is None else version
        elif number == 14:
            key, text = _entry(file, span_of(value))
            custom[key] = text
        elif number in _INSIDE["model"]:
            files |= _external_files(file, _INSIDE["model"][number], span_of(value))
    if graph is None:
        raise DamagedError("it contains no graph")
    if model_version:
        texts["model_version"] = str(model_version)
    signature, weights = _graph(file, graph, path, has_defaults=ir_version >= _OVERRIDABLE_SINCE)
    metadata = {**{key: text for key, text in texts.items() if text}, **custom}
    return OnnxFile(ir_version, opset, signature, tuple(sorted(files | weights)), metadata)


def _graph(file: Protobuf, graph: Span, path: Path, *, has_defaults: bool) -> tuple[Signature, set[str]]:
    """Return the signature of the main graph, and the files of its weights."""
    inputs: list[ValueInfo] = []
    answers: list[TensorSpec | tuple[str, str]] = []
    weights: set[str] = set()
    files: set[str] = set()
    for number, value in file.fields(graph):
        if number == 11:
            inputs.append(value_info(file, span_of(value)))
        elif number == 12:
            answers.append(_spec(value_info(file, span_of(value))))
        elif number == 5:
            name, location = _tensor(file, span_of(value))
            weights.add(name)
            files |= set() if location is None else {location}
        elif number in _INSIDE["graph"] and file.mentions(span_of(value), _LOCATION):
            files |= _external_files(file, _INSIDE["graph"][number], span_of(value))
    specs = _inputs(list(map(_spec, inputs)), weights, path, has_defaults=has_defaults)
    outputs = tuple(info for info in answers if isinstance(info, TensorSpec))
    return Signature(specs, outputs, tuple(info for info in answers if not isinstance(info, TensorSpec))), files


def _external_files(file: Protobuf, kind: str, span: Span) -> set[str]:
    """Return the files that the tensors of a message name, wherever they are: a loop, since graphs can nest deeply."""
    files: set[str] = set()
    waiting = [(kind, span)]
    while waiting:
        kind, message = waiting.pop()
        if not file.mentions(message, _LOCATION):
            continue
        if kind == "tensor":
            location = _tensor(file, message)[1]
            files |= set() if location is None else {location}
            continue
        inside = _INSIDE[kind]
        waiting += [(inside[number], span_of(value)) for number, value in file.fields(message) if number in inside]
    return files


def _tensor(file: Protobuf, span: Span) -> tuple[str, str | None]:
    """Return a tensor's name, and the file that has its content if it is not in the tensor itself."""
    name, location = "", None
    for number, value in file.fields(span):
        if number == 8:
            name = file.text(value)
        elif number == 13:
            key, text = _entry(file, span_of(value))
            location = text if key == "location" else location
    return name, location


def _entry(file: Protobuf, span: Span) -> tuple[str, str]:
    """Return the key and the value of a `StringStringEntryProto`."""
    entry = {number: file.text(value) for number, value in file.fields(span) if number in (1, 2)}
    return entry.get(1, ""), entry.get(2, "")


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


def _spec(info: ValueInfo) -> TensorSpec | tuple[str, str]:
    """Return a tensor's spec; for any other type, or an element type outside `DataType`, the name and the type."""
    if info.kind != 1:
        return info.name, _NO_TENSOR.get(info.kind, "of no type")
    element = element_name(info.element)
    dtype = data_type(element)
    return (info.name, tensor_kind(element)) if dtype is None else TensorSpec(info.name, dtype, info.shape)


def _name(info: TensorSpec | tuple[str, str]) -> str:
    return info.name if isinstance(info, TensorSpec) else info[0]


def _dimension(file: Protobuf, span: Span) -> Dim:
    for number, value in file.fields(span):
        if number == 1:
            size = signed(value)
            return size if size >= 0 else None  # some exporters write -1 for a dynamic one
        if number == 2:
            return file.text(value) or None
    return None
