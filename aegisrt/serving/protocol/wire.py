"""`fields`, `length_delimited`, `varints`: protobuf's wire format (https://protobuf.dev/programming-guides/encoding).

The few messages of the protocol need no generated code: generated stubs of one package cannot be imported twice in a
process, and clients bring their own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeAlias

import numpy as np

from aegisrt.core.result import ErrorCode, fail
from aegisrt.core.tensor import Array

VARINT, FIXED64, DELIMITED, FIXED32 = 0, 1, 2, 5
_SIZES = {FIXED64: 8, FIXED32: 4}
_MASK = (1 << 64) - 1
_PART_BYTES = 1 << 16
"""Packed numbers are decoded in parts: an index of each byte of a message would be many times its size."""

Field: TypeAlias = tuple[int, int, "int | memoryview"]
"""A field's number, its wire type, and its value: an int for a varint, the bytes for the rest."""


def fields(message: memoryview) -> Iterator[Field]:
    """Yield the fields of a message in order; the bytes are views of it.

    INVALID_ARGUMENT: if it is cut short or is not protobuf.
    """
    at, end = 0, len(message)
    while at < end:
        tag, at = _varint(message, at, end)
        number, wire = tag >> 3, tag & 7
        if wire == VARINT:
            value, at = _varint(message, at, end)
            yield number, wire, value
            continue
        if wire == DELIMITED:
            size, at = _varint(message, at, end)
        elif wire in _SIZES:
            size = _SIZES[wire]
        else:
            raise _damaged(f"wire type {wire} at byte {at}")
        if number == 0 or at + size > end:
            raise _damaged(f"field {number} at byte {at} has {size} bytes, and the message ends at byte {end}")
        yield number, wire, message[at : at + size]
        at += size


def _varint(message: memoryview, at: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while at < end and shift < 70:
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & _MASK, at
        shift += 7
    raise _damaged(f"a number does not end at byte {at}")


def text(value: int | memoryview) -> str:
    """Return a field of type `string`.

    INVALID_ARGUMENT: if it is a number, or is not UTF-8.
    """
    try:
        return str(content(value), "utf-8")
    except UnicodeDecodeError as error:
        raise _damaged(f"a string is not UTF-8: {error}") from None


def content(value: int | memoryview) -> memoryview:
    """Return the bytes of a field of type `bytes`, or of a message.

    INVALID_ARGUMENT: if it is a number.
    """
    if isinstance(value, memoryview):
        return value
    raise _damaged("a number where bytes belong")


def number(value: int | memoryview) -> int:
    """Return a field that is a varint, from 0 to 2**64 - 1.

    INVALID_ARGUMENT: if it is not a varint.
    """
    if isinstance(value, int):
        return value
    raise _damaged("bytes where a number belongs")


def signed(value: int) -> int:
    """Return a varint as a signed 64-bit integer."""
    return value - (1 << 64) if value >> 63 else value


def unpacked(packed: memoryview) -> Array:
    """Return the varints of a packed field as UINT64 `(count,)`.

    INVALID_ARGUMENT: if one is cut short or longer than 10 bytes.
    """
    return np.concatenate([np.empty(0, np.uint64), *unpacked_parts(packed)])


def unpacked_count(packed: memoryview) -> int:
    """Return how many varints a packed field has, which needs an eighth of the memory of the varints."""
    return int(np.count_nonzero(np.frombuffer(packed, np.int8) >= 0))


def unpacked_parts(packed: memoryview) -> Iterator[Array]:
    """Yield the varints of a packed field as UINT64 arrays of at most 65,536, in order.

    INVALID_ARGUMENT: if one is cut short or longer than 10 bytes.
    """
    data = np.frombuffer(packed, np.uint8)
    at = 0
    while at < data.size:
        part = data[at : at + _PART_BYTES]
        ends = np.flatnonzero(part < 0x80)
        if not ends.size or (at + part.size == data.size and ends[-1] != part.size - 1):
            raise _damaged("a packed number is cut short")
        at += int(ends[-1]) + 1
        yield part.astype(np.uint64) if ends.size == part.size else _numbers(part, ends)


def _numbers(data: Array, ends: Array) -> Array:
    """Return the varints whose last bytes are at `ends`."""
    starts = np.concatenate(([0], ends[:-1] + 1))
    lengths = ends - starts + 1
    longest = int(lengths.max(initial=0))
    if longest > 10:
        raise _damaged("a packed number is longer than 10 bytes")
    values = np.zeros(ends.size, np.uint64)
    for index in range(longest):
        inside = np.flatnonzero(lengths > index)
        digit = (data[starts[inside] + index] & 0x7F).astype(np.uint64)
        values[inside] |= digit << np.uint64(7 * index)
    return values


def varint(value: int) -> bytes:
    """Return an integer as a varint; a negative one as its two's complement of 64 bits."""
    value &= _MASK
    if value < 0x80:
        return bytes((value,))
    encoded = bytearray()
    while value >= 0x80:
        encoded.append((value & 0x7F) | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def varint_field(number: int, value: int) -> bytes:
    """Return a field that is a varint."""
    return varint(number << 3) + varint(value)


def length_delimited(number: int, payload: bytes) -> bytes:
    """Return a field of type `string` or `bytes`, or a message."""
    return delimiter(number, len(payload)) + payload


def delimiter(number: int, size: int) -> bytes:
    """Return what stands before the `size` bytes of a field."""
    return varint(number << 3 | DELIMITED) + varint(size)


def packed(number: int, values: Iterable[int]) -> bytes:
    """Return a repeated field of varints; nothing if it is empty."""
    payload = b"".join(map(varint, values))
    return length_delimited(number, payload) if payload else b""


def _damaged(cause: str) -> Exception:
    return fail(ErrorCode.INVALID_ARGUMENT, f"the message is not one of the protocol: {cause}")
