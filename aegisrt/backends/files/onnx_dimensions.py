"""`unname_dimensions`: drop dimension names from an ONNX model's inputs, in its bytes and without any package.

It walks the protobuf wire format (https://protobuf.dev/programming-guides/encoding/) down to the dimensions. A name is
dropped by changing one byte: the field `dim_param` of a dimension becomes its `denotation`, which engines do not read.
So no length changes, and weights beside the model stay where they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from aegisrt.core.tensor import Dim

_GRAPH, _INPUT = 7, 11
_TYPE, _TENSOR, _SHAPE, _DIM = 2, 1, 2, 1
"""`ValueInfoProto.type`, `TypeProto.tensor_type`, `Tensor.shape` and `TensorShapeProto.dim`."""
_DIM_PARAM_TAG, _DENOTATION_TAG = 0x12, 0x1A
"""Field 2 and field 3, both of a text."""

_Span = tuple[int, int]


def unname_dimensions(content: bytearray, kept: Callable[[Sequence[Dim]], Sequence[str | None]]) -> bool:
    """Drop the names that `kept` does not return for the dimensions of an input; return whether any was dropped.

    A damaged file is left as it is: whoever parses it reports the damage.
    """
    try:
        tags = [tag for span in _inputs(content) for tag in _unwanted(content, span, kept)]
    except (IndexError, UnicodeDecodeError):
        return False
    for tag in tags:
        content[tag] = _DENOTATION_TAG
    return bool(tags)


def _inputs(content: bytearray) -> Iterator[_Span]:
    for graph in _children(content, (0, len(content)), _GRAPH):
        yield from _children(content, graph, _INPUT)


def _unwanted(content: bytearray, span: _Span, kept: Callable[[Sequence[Dim]], Sequence[str | None]]) -> Iterator[int]:
    """Yield where the tags of names to drop are, of one input."""
    spans = [span]
    for number in (_TYPE, _TENSOR, _SHAPE, _DIM):
        spans = [child for parent in spans for child in _children(content, parent, number)]
    tags = [_name_tag(content, dim) for dim in spans]
    names = [None if tag is None else _text(content, tag) for tag in tags]
    for tag, name, keep in zip(tags, names, kept(names), strict=True):
        if tag is not None and name and keep is None:
            yield tag


def _name_tag(content: bytearray, dim: _Span) -> int | None:
    return next((tag for _, tag, _ in _fields(content, dim) if content[tag] == _DIM_PARAM_TAG), None)


def _text(content: bytearray, tag: int) -> str:
    size, start = _varint(content, tag + 1)
    return content[start : start + size].decode()


def _children(content: bytearray, span: _Span, wanted: int) -> Iterator[_Span]:
    """Yield the spans of the sub-messages with this field number."""
    for number, _, child in _fields(content, span):
        if number == wanted and child is not None:
            yield child


def _fields(content: bytearray, span: _Span) -> Iterator[tuple[int, int, _Span | None]]:
    """Yield each field's number, the position of its tag, and the span of its bytes (None for a number)."""
    at, end = span
    while at < end:
        begin = at
        tag, at = _varint(content, at)
        wire = tag & 7
        if wire == 2:
            size, at = _varint(content, at)
            if at + size > end:
                raise IndexError("a field is longer than its message")
            yield tag >> 3, begin, (at, at + size)
            at += size
            continue
        yield tag >> 3, begin, None
        if wire == 0:
            _, at = _varint(content, at)
        elif wire in (1, 5):
            at += 8 if wire == 1 else 4
        else:
            raise IndexError(f"wire type {wire}")


def _varint(content: bytearray, at: int) -> tuple[int, int]:
    """Return the number at a position, and the position after it."""
    value = shift = 0
    while True:
        byte = content[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
