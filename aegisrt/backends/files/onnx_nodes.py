"""`read_nodes`: the operators of an ONNX file, read with no package and without its weights.

It walks the protobuf wire format of `onnx.proto` (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto) by `pread`,
in pieces, and skips tensors: a model of gigabytes is read in milliseconds.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from aegisrt.core.tensor import Dim

_PIECE = 1 << 16
_SMALL = 1 << 10
"""Tensors up to this many bytes are read, if they hold integers: axes, permutations, shapes."""
_INT64, _INT32 = 7, 6

Span: TypeAlias = tuple[int, int]
"""Where the bytes of a field start and end."""
Ints: TypeAlias = tuple[int, ...]


class UnreadableError(ValueError):
    """The bytes are not those of an ONNX model."""


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
    """Return the operators of the ONNX file at `path`; raise UnreadableError or OSError if it is not one."""
    with path.open("rb") as stream:
        try:
            return _FileReader(stream.fileno(), os.fstat(stream.fileno()).st_size).model()
        except RecursionError:
            raise UnreadableError("its graphs nest too deeply") from None


class _FileReader:
    def __init__(self, file: int, size: int) -> None:
        self._file = file
        self._size = size
        self._piece = b""
        self._piece_at = 0

    def model(self) -> Operators:
        found = Operators()
        graph: Span | None = None
        for number, value in self._fields((0, self._size)):
            if number == 7:
                graph = _span(value)
            elif number == 8:
                entry = dict(self._fields(_span(value)))
                domain = self._text(entry[1]) if 1 in entry else ""
                found.opset = _int(entry.get(2, 0)) if domain in ("", "ai.onnx") else found.opset
            elif number == 25:
                self._function(_span(value), found)
        if graph is None:
            raise UnreadableError("it contains no graph")
        weights = set()
        for number, value in self._fields(graph):
            if number == 1:
                found.nodes.append(self._node(_span(value)))
            elif number == 5:
                name, integers = self._tensor(_span(value))
                weights.add(name)
                if integers is not None:
                    found.constants[name] = integers
            elif number in (11, 12):
                name, shape = self._value_info(_span(value))
                (found.inputs if number == 11 else found.outputs)[name] = shape
        for name in weights & found.inputs.keys():
            del found.inputs[name]
        return found

    def _function(self, span: Span, found: Operators) -> None:
        name, kinds = "", set()
        for number, value in self._fields(span):
            if number == 1:
                name = self._text(value)
            elif number == 7:
                node = self._node(_span(value))
                kinds |= {node.kind, *node.inner}
        found.functions[name] = kinds

    def _node(self, span: Span) -> Operator:
        node = Operator()
        for number, value in self._fields(span):
            match number:
                case 1:
                    node.inputs.append(self._text(value))
                case 2:
                    node.outputs.append(self._text(value))
                case 4:
                    node.kind = self._text(value)
                case 5:
                    self._attribute(_span(value), node)
                case 7:
                    node.domain = self._text(value)
        return node

    def _attribute(self, span: Span, node: Operator) -> None:
        name, integers = "", []
        for number, value in self._fields(span):
            if number == 1:
                name = self._text(value)
            elif number in (3, 8):
                integers += [_signed(value)] if isinstance(value, int) else self._packed(value)
            elif number == 5:
                node.value = self._tensor(_span(value))[1]
            elif number in (6, 11):
                self._subgraph(_span(value), node)
        if integers:
            node.attributes[name] = tuple(integers)
            if node.kind == "Constant" and node.value is None:
                node.value = tuple(integers)

    def _subgraph(self, graph: Span, owner: Operator) -> None:
        for number, value in self._fields(graph):
            if number == 1:
                node = self._node(_span(value))
                owner.inner |= {node.kind, *node.inner}
                owner.captured |= {*node.inputs, *node.captured}
            elif number == 12:
                owner.captured.add(self._value_info(_span(value))[0])

    def _tensor(self, span: Span) -> tuple[str, Ints | None]:
        """Return a tensor's name, and its values if they are few integers."""
        name, element, integers, raw = "", 0, [], b""
        for number, value in self._fields(span):
            if number == 2:
                element = _int(value)
            elif number in (5, 7):
                if isinstance(value, int):
                    integers.append(_signed(value))
                elif value[1] - value[0] <= _SMALL:
                    integers += self._packed(value)
            elif number == 8:
                name = self._text(value)
            elif number == 9 and _span(value)[1] - _span(value)[0] <= _SMALL:
                raw = self._read(_span(value))
        if element not in (_INT64, _INT32):
            return name, None
        if raw:
            letter, size = ("q", 8) if element == _INT64 else ("i", 4)
            integers = list(struct.unpack(f"<{len(raw) // size}{letter}", raw[: len(raw) // size * size]))
        return name, tuple(integers) if integers else None

    def _value_info(self, span: Span) -> tuple[str, tuple[Dim, ...] | None]:
        name, shape = "", None
        for number, value in self._fields(span):
            if number == 1:
                name = self._text(value)
            elif number == 2:
                for kind, tensor in self._fields(_span(value)):
                    shape = self._shape(_span(tensor)) if kind == 1 else shape
        return name, shape

    def _shape(self, tensor: Span) -> tuple[Dim, ...] | None:
        for number, value in self._fields(tensor):
            if number == 2:
                return tuple(self._dimension(_span(dim)) for inner, dim in self._fields(_span(value)) if inner == 1)
        return None

    def _dimension(self, span: Span) -> Dim:
        for number, value in self._fields(span):
            if number == 1:
                size = _signed(value)
                return size if size >= 0 else None  # some exporters write -1 for a dynamic one
            if number == 2:
                return self._text(value) or None
        return None

    def _fields(self, span: Span) -> Iterator[tuple[int, int | Span]]:
        """Yield each field's number and value: an int for varints, the place of the bytes for the rest."""
        at, end = span
        while at < end:
            tag, at = self._varint(at, end)
            number, wire = tag >> 3, tag & 7
            if tag >> 32:  # protobuf's C++ reader cuts a tag to 32 bits, and would see another field
                raise UnreadableError(f"a field with the tag {tag} at byte {at}")
            if wire == 0:
                value, at = self._varint(at, end)
                yield number, value
                continue
            if wire == 2:
                size, at = self._varint(at, end)
            elif wire in (1, 5):
                size = 8 if wire == 1 else 4
            else:
                raise UnreadableError(f"wire type {wire} at byte {at}")
            if number == 0 or at + size > end:
                raise UnreadableError(f"a field of {size} bytes ends past byte {end}")
            yield number, (at, at + size)
            at += size

    def _packed(self, span: Span) -> list[int]:
        at, integers = span[0], []
        while at < span[1]:
            value, at = self._varint(at, span[1])
            integers.append(_signed(value))
        return integers

    def _varint(self, at: int, end: int) -> tuple[int, int]:
        value = shift = 0
        for byte in self._read((at, min(at + 10, end))):
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value & (1 << 64) - 1, at
            shift += 7
        raise UnreadableError(f"a number that does not end at byte {at}")

    def _read(self, span: Span) -> bytes:
        start, end = span
        if not (self._piece_at <= start and end <= self._piece_at + len(self._piece)):
            self._piece = os.pread(self._file, max(_PIECE, end - start), start)
            self._piece_at = start
        return self._piece[start - self._piece_at : end - self._piece_at]

    def _text(self, value: int | Span) -> str:
        return self._read(_span(value)).decode("utf-8", "replace")


def _span(value: int | Span) -> Span:
    if isinstance(value, int):
        raise UnreadableError("a number in place of bytes")
    return value


def _int(value: int | Span) -> int:
    if isinstance(value, int):
        return value
    raise UnreadableError("bytes in place of a number")


def _signed(value: int | Span) -> int:
    number = _int(value)
    return number - (1 << 64) if number >= 1 << 63 else number
