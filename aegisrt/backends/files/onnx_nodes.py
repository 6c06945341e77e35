"""`read_nodes`: the operators of an ONNX file, read with no package and without its weights.

It walks the message of `onnx.proto` (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto) and skips tensors: a model
of gigabytes is read in milliseconds.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from aegisrt.backends.files.onnx import default_opset, value_info
from aegisrt.backends.files.protobuf import DamagedError, Protobuf, Span, Value, number_of, span_of
from aegisrt.core.tensor import Dim

_SMALL = 1 << 10
"""Tensors up to this many bytes are read, if they hold integers: axes, permutations, shapes."""
_INT64, _INT32 = 7, 6

Ints: TypeAlias = tuple[int, ...]


@dataclass(slots=True)
class Operator:
    """One node of a graph."""

    kind: str = ""
    domain: str = ""
    inputs: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    attributes: dict[str, Ints] = field(default_factory=dict)
    """Integer attributes; one integer is a tuple of one."""
    value: Ints | None = None
    """Of a Constant: its integers, if they are few."""
    inner: set[str] = field(default_factory=set)
    """Kinds of the operators in its subgraphs."""
    captured: set[str] = field(default_factory=set)
    """Tensors that its subgraphs read, from the graph around them or their own."""

    def integer(self, name: str, default: int) -> int:
        """Return an integer attribute."""
        return self.attributes.get(name, (default,))[0]


@dataclass(slots=True)
class Operators:
    """The operators of a model, in the order in which they run."""

    nodes: list[Operator] = field(default_factory=list)
    inputs: dict[str, tuple[Dim, ...] | None] = field(default_factory=dict)
    """Dimensions by name, without the inputs that have a default value; None for an unknown rank."""
    outputs: dict[str, tuple[Dim, ...] | None] = field(default_factory=dict)
    constants: dict[str, Ints] = field(default_factory=dict)
    """Small integer tensors by name."""
    functions: dict[str, set[str]] = field(default_factory=dict)
    """Kinds of the operators in each function of the model's own, by the function's name."""
    opset: int = 0


def read_nodes(path: Path) -> Operators:
    """Return the operators of the ONNX file at `path`; raise DamagedError or OSError if it is not one."""
    with Protobuf.opened(path) as file:
        try:
            return _NodeReader(file).model()
        except RecursionError:
            raise DamagedError("its graphs nest too deeply") from None


class _NodeReader:
    def __init__(self, file: Protobuf) -> None:
        self._file = file

    def model(self) -> Operators:
        file, found = self._file, Operators()
        graph: Span | None = None
        for number, value in file.fields(file.whole):
            if number == 7:
                graph = span_of(value)
            elif number == 8:
                version = default_opset(file, span_of(value))
                found.opset = found.opset if version is None else version
            elif number == 25:
                self._function(span_of(value), found)
        if graph is None:
            raise DamagedError("it contains no graph")
        weights = set()
        for number, value in file.fields(graph):
            if number == 1:
                found.nodes.append(self._node(span_of(value)))
            elif number == 5:
                name, integers = self._tensor(span_of(value))
                weights.add(name)
                if integers is not None:
                    found.constants[name] = integers
            elif number in (11, 12):
                info = value_info(file, span_of(value))
                (found.inputs if number == 11 else found.outputs)[info.name] = info.shape
        for name in weights & found.inputs.keys():
            del found.inputs[name]
        return found

    def _function(self, span: Span, found: Operators) -> None:
        name, kinds = "", set()
        for number, value in self._file.fields(span):
            if number == 1:
                name = self._text(value)
            elif number == 7:
                node = self._node(span_of(value))
                kinds |= {node.kind, *node.inner}
        found.functions[name] = kinds

    def _node(self, span: Span) -> Operator:
        node, text = Operator(), self._text
        for number, value in self._file.fields(span):
            match number:
                case 1:
                    node.inputs.append(text(value))
                case 2:
                    node.outputs.append(text(value))
                case 4:
                    node.kind = text(value)
                case 5:
                    self._attribute(span_of(value), node)
                case 7:
                    node.domain = text(value)
        return node

    def _attribute(self, span: Span, node: Operator) -> None:
        name, integers = "", []
        for number, value in self._file.fields(span):
            if number == 1:
                name = self._text(value)
            elif number in (3, 8):
                integers += self._file.integers(value)
            elif number == 5:
                node.value = self._tensor(span_of(value))[1]
            elif number in (6, 11):
                self._subgraph(span_of(value), node)
        if integers:
            node.attributes[name] = tuple(integers)
            if node.kind == "Constant" and node.value is None:
                node.value = tuple(integers)

    def _subgraph(self, graph: Span, owner: Operator) -> None:
        for number, value in self._file.fields(graph):
            if number == 1:
                node = self._node(span_of(value))
                owner.inner |= {node.kind, *node.inner}
                owner.captured |= {*node.inputs, *node.captured}
            elif number == 12:
                owner.captured.add(value_info(self._file, span_of(value)).name)

    def _tensor(self, span: Span) -> tuple[str, Ints | None]:
        """Return a tensor's name, and its values if they are few integers."""
        name, element, integers, raw = "", 0, [], b""
        for number, value in self._file.fields(span):
            if number == 2:
                element = number_of(value)
            elif number in (5, 7) and _is_small(value):
                integers += self._file.integers(value)
            elif number == 8:
                name = self._text(value)
            elif number == 9 and _is_small(value):
                raw = self._file.content(value)
        if element not in (_INT64, _INT32):
            return name, None
        if raw:
            letter, size = ("q", 8) if element == _INT64 else ("i", 4)
            integers = list(struct.unpack(f"<{len(raw) // size}{letter}", raw[: len(raw) // size * size]))
        return name, tuple(integers) if integers else None

    def _text(self, value: Value) -> str:
        return self._file.text(value, "replace")


def _is_small(value: Value) -> bool:
    return isinstance(value, int) or value[1] - value[0] <= _SMALL
