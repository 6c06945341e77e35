"""`InputBudget`: how much memory the inputs of one call may take that AegisRT reads from files or makes up."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from aegisrt.core.result import ErrorCode, fail
from aegisrt.core.system_error import system_error
from aegisrt.core.tensor import DataType, Signature, TensorSpec, shape_text

TEXT_BYTES = 64
"""Memory of a text as a Python object, with its place in an array, in addition to its characters."""


class InputBudget:
    """What is left of `limits.input_bytes` for the inputs of one call; taken before memory is allocated."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._taken_bytes = 0

    def take(self, size: int, what: str) -> None:
        """Count `size` bytes for `what`.

        RESOURCE_EXHAUSTED: if the inputs of the call take more than the limit.
        """
        self._taken_bytes += size
        if self._taken_bytes > self._limit_bytes:
            message = f"{what} needs {_shown(size)} of memory; `limits.input_bytes` allows {_shown(self._limit_bytes)}"
            raise fail(ErrorCode.RESOURCE_EXHAUSTED, message, "give smaller inputs, or raise `limits.input_bytes`")

    def take_made_up(self, signature: Signature, sizes: Sequence[Sequence[int]], copies: int = 1) -> None:
        """Count made-up arrays, one of each of `sizes` for each required input."""
        for spec, shape in zip(signature.required, sizes, strict=True):
            what = f"a made-up input `{spec.name}` {spec.dtype} {shape_text(tuple(shape))}"
            self.take(copies * math.prod(shape) * _item_bytes(spec), what)


@contextmanager
def memory_for(what: str) -> Iterator[None]:
    """Turn a MemoryError in the block into RESOURCE_EXHAUSTED, with a message about `what`."""
    try:
        yield
    except MemoryError as error:
        raise system_error(error, f"{what} cannot be read into memory") from None


def _item_bytes(spec: TensorSpec) -> int:
    """Return the memory of one generated value: 8 bytes in numpy's generator, before it has the input's dtype."""
    return 3 * TEXT_BYTES if spec.dtype is DataType.BYTES else 8 + spec.dtype.numpy.itemsize


def _shown(size: int) -> str:
    return f"{size / 2**30:.3g} GiB" if size >= 2**27 else f"{size} bytes"
