"""`read_json`, `json_values`: tensors as JSON arrays, nested as their shape or flat.

A client's JSON is checked against the declared shape before any value is made of it: 68 MiB of `[]` would need 1.2 GB.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from typing import Any, Literal

import msgspec
import numpy as np

from aegisrt.core.result import ErrorCode, fail
from aegisrt.core.suggest import quoted
from aegisrt.core.tensor import Array, DataType, shape_text
from aegisrt.serving.protocol.tensors import element_count

_NOT_STRUCTURE = bytes(byte for byte in range(256) if byte not in b"[],")
_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_FLOATS = frozenset({DataType.FP16, DataType.BF16, DataType.FP32, DataType.FP64})

_SpecialFloat = Literal["NaN", "Infinity", "-Infinity"]
"""JSON has no such numbers; these are protobuf's names of them (https://protobuf.dev/programming-guides/json)."""
_floats = msgspec.json.Decoder(list[float])
_floats_and_special = msgspec.json.Decoder(list[float | _SpecialFloat])
_integers = msgspec.json.Decoder(list[int])
_booleans = msgspec.json.Decoder(list[bool | Literal[0, 1]])


def read_json(name: str, dtype: DataType, shape: Sequence[int], data: bytes) -> Array:
    """Return the array in the JSON text `data`; integers are exact.

    INVALID_ARGUMENT: if it is not an array of that shape, nested or flat, or a value is not of the dtype.
    UNAVAILABLE: if it is BF16 and ml_dtypes is not installed.
    """
    count = element_count(shape, name)
    structure = _STRING.sub(b"", data) if dtype is DataType.BYTES else data
    structure = structure.translate(None, _NOT_STRUCTURE)
    nested = structure == _nested(shape, len(data))
    if not nested and structure != _flat(count, len(data)):
        message = f"the data of input {quoted(name)} is not an array of {shape_text(shape)}, nested or flat"
        raise fail(ErrorCode.INVALID_ARGUMENT, message)
    try:
        values = _strings(data, len(shape) if nested else 1) if dtype is DataType.BYTES else _numbers(data, dtype)
        if len(values) != count:
            raise ValueError(f"{len(values)} values, and {shape_text(shape)} has {count}")
        return _array(values, dtype).reshape(shape)
    except (ValueError, OverflowError, RecursionError) as error:  # msgspec's errors are ValueErrors
        message = f"the data of input {quoted(name)} is not {dtype}{shape_text(shape)}: {error}"
        raise fail(ErrorCode.INVALID_ARGUMENT, message) from None


def _nested(shape: Sequence[int], limit: int) -> bytes | None:
    """Return the brackets and commas of a nested array; None if they are longer than `limit`, so that none match."""
    if 0 in shape:  # a dimension behind it has no brackets
        shape = shape[: list(shape).index(0) + 1]
    length = 0
    for size in reversed(shape):
        length = size * length + max(size - 1, 0) + 2
        if length > limit:
            return None
    text = b""
    for size in reversed(shape):
        text = b"[" + b",".join([text] * size) + b"]"
    return text


def _flat(count: int, limit: int) -> bytes | None:
    return None if count > limit else b"[" + b"," * (count - 1) + b"]"


def _numbers(data: bytes, dtype: DataType) -> list[Any]:
    flat = data.translate(None, b"[]")
    if not flat.strip(b", \t\r\n"):
        return []
    flat = b"[" + flat + b"]"
    if dtype in _FLOATS:
        return _floats.decode(flat) if b'"' not in flat else list(map(float, _floats_and_special.decode(flat)))
    return _booleans.decode(flat) if dtype is DataType.BOOL else _integers.decode(flat)


def _strings(data: bytes, depth: int) -> list[Any]:
    values: Any = _string_decoder(depth).decode(data)
    if depth == 0:
        return [values]
    for _ in range(depth - 1):
        values = [item for inner in values for item in inner]
    return list(values)


@cache
def _string_decoder(depth: int) -> msgspec.json.Decoder[Any]:
    kind: Any = str
    for _ in range(depth):
        kind = list[kind]
    return msgspec.json.Decoder(kind)


def _array(values: list[Any], dtype: DataType) -> Array:
    if dtype is DataType.BYTES:
        array = np.empty(len(values), object)
        array[:] = values
        return array
    if dtype is DataType.BOOL:
        return np.asarray(values, bool)
    if dtype in _FLOATS:
        return _rounded(np.asarray(values, np.float64), dtype)
    wide = np.asarray(values, np.uint64 if dtype is DataType.UINT64 else np.int64)
    limits = np.iinfo(dtype.numpy)
    if wide.size and (wide.min() < limits.min or wide.max() > limits.max):
        raise ValueError(f"a value is outside {limits.min} to {limits.max}")
    return wide.astype(dtype.numpy)


def _rounded(wide: Array, dtype: DataType) -> Array:
    with np.errstate(over="ignore"):
        array = wide.astype(dtype.numpy)
    if bool((np.isinf(array) & ~np.isinf(wide)).any()):
        raise ValueError(f"a value is too large for {dtype}")
    return array


def json_values(name: str, value: Array, dtype: DataType) -> list[Any]:
    """Return an output's elements as JSON values, flat and row-major.

    NaN and infinities are the strings "NaN", "Infinity" and "-Infinity", since JSON has no such numbers.
    INVALID_ARGUMENT: if an element of BYTES is not UTF-8.
    """
    flat = value.reshape(-1)
    if dtype is DataType.BYTES:
        return [_text(name, item) for item in flat]
    if dtype not in _FLOATS:
        return list(flat.tolist())
    if dtype is not DataType.FP64:
        flat = flat.astype(np.float32)
    values: list[Any] = flat.tolist()
    if not np.isfinite(flat).all():
        values = [_finite(item) for item in values]
    return values


def _text(name: str, item: Any) -> str:
    try:
        return item.decode("utf-8") if isinstance(item, bytes) else str(item)
    except UnicodeDecodeError:
        message = f"output {quoted(name)} holds bytes that are not UTF-8, which JSON cannot carry"
        raise fail(ErrorCode.INVALID_ARGUMENT, message, "ask for its data in binary: `binary_data: true`") from None


def _finite(item: float) -> float | str:
    if item != item:
        return "NaN"
    return item if abs(item) != float("inf") else "Infinity" if item > 0 else "-Infinity"
