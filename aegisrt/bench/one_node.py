"""`one_node_model`: the smallest useful ONNX model, written with no package at all.

The field numbers are those of https://github.com/onnx/onnx/blob/main/onnx/onnx.proto.
"""

from __future__ import annotations

_FLOAT = 1


def one_node_model(shape: tuple[int, ...] = (1, 16)) -> bytes:
    """Return an ONNX file (IR 8, opset 17) whose one node adds FP32 `x` of `shape` to itself: `y = x + x`."""
    node = field(1, "x") + field(1, "x") + field(2, "y") + field(3, "add") + field(4, "Add")
    graph = field(1, node) + field(2, "one_node") + field(11, _tensor("x", shape)) + field(12, _tensor("y", shape))
    return field(1, 8) + field(7, graph) + field(8, field(2, 17))


def _tensor(name: str, shape: tuple[int, ...]) -> bytes:
    dims = b"".join(field(1, field(1, size)) for size in shape)
    return field(1, name) + field(2, field(1, field(1, _FLOAT) + field(2, dims)))


def field(number: int, value: int | str | bytes) -> bytes:
    """Return one field of a protobuf message."""
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    content = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    head = bytearray()
    while value > 0x7F:
        head.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*head, value])
