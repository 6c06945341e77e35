"""`read_tensor`, `tensor_bytes`: the binary form of tensors, which HTTP's binary extension and gRPC share.

Little-endian and row-major without padding; BOOL is one byte, BF16 two; an element of BYTES is its length as a UINT32
and then its bytes. https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md
"""

from __future__ import annotations

import math
import struct
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from aegisrt.core.result import ErrorCode, fail
from aegisrt.core.suggest import quoted, suggest
from aegisrt.core.tensor import Array, DataType, shape_text

MOST_DIMENSIONS = 32
MOST_INTEGER = (1 << 63) - 1
"""The largest dimension and the largest number in a parameter; JSON has numbers of any length."""
_LENGTH = struct.Struct("<I")
_KNOWN = {str(dtype): dtype for dtype in DataType}


def data_type(name: str, tensor: str) -> DataType:
    """Return the data type that a request names for a tensor.

    INVALID_ARGUMENT: if there is no such data type.
    """
    found = _KNOWN.get(name)
    if found is None:
        hint = suggest(name, list(_KNOWN), "data types")
        raise fail(ErrorCode.INVALID_ARGUMENT, f"input {quoted(tensor)}: {quoted(name)} is not a data type", hint)
    return found


def element_count(shape: Sequence[int], tensor: str) -> int:
    """Return the number of elements of a shape, as an exact integer: no memory is needed for it.

    INVALID_ARGUMENT: if a dimension is negative or above 2**63 - 1, or there are more than 32.
    """
    if len(shape) > MOST_DIMENSIONS:
        message = f"input {quoted(tensor)} has {len(shape)} dimensions; at most {MOST_DIMENSIONS} are accepted"
        raise fail(ErrorCode.INVALID_ARGUMENT, message)
    if any(abs(size) > MOST_INTEGER for size in shape):
        message = f"input {quoted(tensor)} has a dimension that is not an integer of 64 bits"
        raise fail(ErrorCode.INVALID_ARGUMENT, message)
    if any(size < 0 for size in shape):
        message = f"input {quoted(tensor)} has the shape {shape_text(shape)}"
        raise fail(ErrorCode.INVALID_ARGUMENT, message, "each dimension of a request is a size of at least 0")
    return math.prod(shape)


def integer_text(value: int) -> str:
    """Return an integer as messages show it; Python refuses to write one of more than 4,300 digits."""
    return str(value) if value.bit_length() <= 64 else "a number of more than 64 bits"


def read_tensor(name: str, dtype: DataType, shape: Sequence[int], data: memoryview) -> Array:
    """Return the array in `data`: a read-only view of it, except for BOOL and BYTES.

    INVALID_ARGUMENT: if `data` does not have the size of the shape, or is not a sequence of strings.
    UNAVAILABLE: if it is BF16 and ml_dtypes is not installed.
    """
    count = element_count(shape, name)
    if dtype is DataType.BYTES:
        return _read_strings(name, count, data).reshape(shape)
    little = dtype.numpy if sys.byteorder == "little" else dtype.numpy.newbyteorder("<")
    if count * little.itemsize != len(data):
        message = (
            f"input {quoted(name)} has {len(data)} bytes of data, and {dtype}{shape_text(shape)} has "
            f"{count * little.itemsize}"
        )
        raise fail(ErrorCode.INVALID_ARGUMENT, message)
    if dtype is DataType.BOOL:  # a byte other than 0 and 1 is not a valid numpy boolean
        return np.not_equal(np.frombuffer(data, np.uint8), 0).reshape(shape)
    return np.frombuffer(data, little).reshape(shape)


def _read_strings(name: str, count: int, data: memoryview) -> Array:
    end = len(data)
    if 4 * count > end:
        message = f"input {quoted(name)} has {end} bytes of data, too few for {count} strings with their lengths"
        raise fail(ErrorCode.INVALID_ARGUMENT, message)
    strings = np.empty(count, object)
    at = 0
    for index in range(count):
        start = at + 4
        at = start + _LENGTH.unpack_from(data, at)[0] if start <= end else end + 1
        if at > end:
            message = f"input {quoted(name)}: element {index} of its strings ends after the data"
            raise fail(ErrorCode.INVALID_ARGUMENT, message)
        strings[index] = bytes(data[start:at])
    if at != end:
        message = f"input {quoted(name)} has {end - at} bytes behind its {count} strings"
        raise fail(ErrorCode.INVALID_ARGUMENT, message)
    return strings


def tensor_bytes(value: Array) -> Any:
    """Return the binary form of an array: a buffer that may share its memory."""
    if value.dtype.kind in "OSU":
        return b"".join(part for item in value.flat for part in _string(item))
    flat = np.ascontiguousarray(value).reshape(-1)
    if flat.dtype.byteorder == ">" or (sys.byteorder == "big" and flat.dtype.byteorder == "="):
        flat = flat.astype(flat.dtype.newbyteorder("<"))
    return flat.view(np.uint8).data


def _string(item: Any) -> tuple[bytes, bytes]:
    content = item if isinstance(item, bytes) else str(item).encode("utf-8", "surrogatepass")
    return _LENGTH.pack(len(content)), content


def datatype_of(value: Array, output: str) -> DataType:
    """Return the data type of an output.

    INTERNAL: if the engine returned an element type that the protocol does not have.
    """
    found = DataType.of(value.dtype)
    if found is None:
        message = f"output {quoted(output)} has the element type {value.dtype}, which the protocol does not have"
        raise fail(ErrorCode.INTERNAL, message)
    return found
