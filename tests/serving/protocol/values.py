"""Arrays of every data type, for hypothesis."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from aegisrt.core.result import ErrorCode, ResultError
from aegisrt.core.tensor import DataType

REFUSALS = (None, ErrorCode.INVALID_ARGUMENT, ErrorCode.UNIMPLEMENTED, ErrorCode.UNAVAILABLE)

DATA_TYPES = [dtype for dtype in DataType if dtype is not DataType.BF16]
"""BF16 needs ml_dtypes, which the environment without engines lacks."""

shapes = st.lists(st.integers(0, 4), max_size=4).map(tuple)


@st.composite
def arrays(draw, dtypes=DATA_TYPES, text_only=False):
    """Return a data type, and an array of it."""
    dtype, shape = draw(st.sampled_from(dtypes)), draw(shapes)
    count = int(np.prod(shape))
    if dtype is DataType.BYTES:
        element = st.text(max_size=5).map(str.encode) if text_only else st.binary(max_size=6)
        array = np.empty(count, object)
        array[:] = draw(st.lists(element, min_size=count, max_size=count))
        return dtype, array.reshape(shape)
    size = count * dtype.numpy.itemsize
    array = np.frombuffer(draw(st.binary(min_size=size, max_size=size)), dtype.numpy)
    if dtype is DataType.BOOL:
        array = np.frombuffer(array.tobytes(), np.uint8) % 2 == 1
    return dtype, array.reshape(shape)


def refusal(read, message):
    """Return the code with which `read` refuses a message; None if it reads it."""
    try:
        read(message)
    except ResultError as refused:
        return refused.error.code
    return None


def same(got, wanted):
    """Return whether two arrays are equal bit by bit, except for the payload of a NaN; strings as their bytes."""
    if got.shape != wanted.shape:
        return False
    if wanted.dtype.kind == "O":
        return [_bytes(item) for item in got.flat] == [_bytes(item) for item in wanted.flat]
    return got.dtype == wanted.dtype and np.array_equal(got, wanted, equal_nan=wanted.dtype.kind == "f")


def _bytes(item):
    return item.encode() if isinstance(item, str) else item
