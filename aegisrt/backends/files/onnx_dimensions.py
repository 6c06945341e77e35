"""`unname_dimensions`: drop dimension names from an ONNX model's inputs, in its bytes and without any package.

A name is dropped by changing one byte: the field `dim_param` of a dimension becomes its `denotation`, which engines do
not read. So no length changes, and weights beside the model stay where they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from aegisrt.backends.files.protobuf import DamagedError, Protobuf, Span
from aegisrt.core.tensor import Dim

_INPUTS = (7, 11)
"""`ModelProto.graph` and `GraphProto.input`."""
_DIMENSIONS = (2, 1, 2, 1)
"""`ValueInfoProto.type`, `TypeProto.tensor_type`, `Tensor.shape` and `TensorShapeProto.dim`."""
_DIM_PARAM = 2
_DIM_PARAM_TAG, _DENOTATION_TAG = 0x12, 0x1A
"""Field 2 and field 3, both of a text."""


def unname_dimensions(content: bytearray, kept: Callable[[Sequence[Dim]], Sequence[str | None]]) -> bool:
    """Drop the names that `kept` does not return for the dimensions of an input; return whether any was dropped.

    A damaged file is left as it is: whoever parses it reports the damage.
    """
    model = Protobuf.of(content)
    try:
        spans = list(model.inside(model.whole, *_INPUTS))
        tags = [tag for span in spans for tag in _unwanted(model, content, span, kept)]
    except DamagedError:
        return False
    for tag in tags:
        content[tag] = _DENOTATION_TAG
    return bool(tags)


def _unwanted(
    model: Protobuf, content: bytearray, span: Span, kept: Callable[[Sequence[Dim]], Sequence[str | None]]
) -> Iterator[int]:
    """Yield where the tags of names to drop are, of one input."""
    params = [next(model.inside(dim, _DIM_PARAM), None) for dim in model.inside(span, *_DIMENSIONS)]
    names = [None if param is None else model.text(param) for param in params]
    for param, name, keep in zip(params, names, kept(names), strict=True):
        if param is not None and name and keep is None:
            tag = _tag(content, param)
            if content[tag] == _DIM_PARAM_TAG:
                yield tag


def _tag(content: bytearray, field: Span) -> int:
    """Return where the tag of a field is: before its size, whose bytes but the last have the highest bit set."""
    at = field[0] - 1
    while content[at - 1] >= 0x80:
        at -= 1
    return at - 1
