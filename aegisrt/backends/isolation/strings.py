"""Strings as bytes: how BYTES tensors lie in the memory that two processes share.

The first line is a JSON list with one element for each string. A short `str` is itself. For `bytes` the element is
their length, for a long `str` that of its UTF-8 with all bits inverted (`~`); these contents follow after the line.
"""

from __future__ import annotations

import json
from itertools import accumulate, pairwise
from math import prod
from typing import Any

import numpy as np

from aegisrt.core.tensor import Array

_MOST_DIMENSIONS = 64
_SHORT = 1000
"""In characters; longer ones are copied faster than JSON escapes them."""
_encode = json.JSONEncoder(ensure_ascii=False).encode


def packed(array: Array) -> Array:
    """Return the strings of an array as one array of UINT8.

    TypeError: if an element is neither `str` nor `bytes`.
    """
    values = array.ravel().tolist()
    kinds = set(map(type, values))
    contents: list[bytes] = []
    if kinds == {bytes}:
        contents, values = values, list(map(len, values))
    elif not kinds <= {str} or max(map(len, values), default=0) > _SHORT:
        values = [_element(value, contents) for value in values]
    line = _encode(values).encode("utf-8", "surrogatepass")
    return np.frombuffer(b"".join((line, b"\n", *contents)), np.uint8)


def unpacked(data: bytes, shape: tuple[int, ...]) -> Array:
    """Return the strings that `packed` wrote.

    ValueError: if `data` is not what `packed` writes for this shape.
    """
    if len(shape) > _MOST_DIMENSIONS:  # before their product: that of many takes time
        raise ValueError("strings with too many dimensions")
    line, _, contents = data.partition(b"\n")
    try:
        values = json.loads(line.decode("utf-8", "surrogatepass"))
    except (ValueError, RecursionError):
        raise ValueError("its strings are not JSON") from None
    count = prod(shape)
    if type(values) is not list or len(values) != count:
        raise ValueError("another number of strings than its shape has")
    kinds = set(map(type, values))
    if not kinds <= {str, int}:
        raise ValueError("an element that is not a string")
    if kinds <= {str}:
        ends = [0]
    else:
        is_bytes = kinds == {int} and min(values) >= 0
        ends = list(accumulate(values if is_bytes else map(_length, values), initial=0))
        pieces = [contents[start:end] for start, end in pairwise(ends)]
        values = pieces if is_bytes else list(map(_string, values, pieces))
    if ends[-1] != len(contents):
        raise ValueError("its strings have another length than their contents")
    found = np.empty(count, object)
    found[:] = values
    return found.reshape(shape)


def _element(value: object, contents: list[bytes]) -> str | int:
    if isinstance(value, str):
        if len(value) <= _SHORT:
            return str(value)
        contents.append(value.encode("utf-8", "surrogatepass"))
        return ~len(contents[-1])
    if isinstance(value, bytes):
        contents.append(value)
        return len(value)
    raise TypeError(f"a {type(value).__name__} is not a string")


def _length(value: Any) -> int:
    if isinstance(value, str):
        return 0
    return int(value if value >= 0 else ~value)


def _string(value: str | int, content: bytes) -> str | bytes:
    if isinstance(value, str):
        return value
    return content if value >= 0 else content.decode("utf-8", "surrogatepass")
