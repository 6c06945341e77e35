"""`Bounds`: refuses a request whose indices into a tensor are out of range.

TVM checks no index: one that is out of range reads or writes foreign memory, and may end the process. The code that
is built keeps indices inside (build/indices.py); ONNX leaves such an index undefined, and ONNX Runtime answers an
error (https://onnx.ai/onnx/operators/onnx__Gather.html), so those that a request itself holds are refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from aegisrt.core.result import ErrorCode, fail
from aegisrt.core.tensor import Array


@dataclass(frozen=True, slots=True)
class Bounds:
    """The range of an input whose values are indices."""

    input: str
    size: int | None
    """Entries of the tensor that the indices point into; None: as many as the `axis` of the input `of` has."""
    of: str | None
    axis: int


def check_bounds(bounds: Sequence[Bounds], inputs: Mapping[str, Array]) -> None:
    """Return None if all indices of a request are in range.

    INVALID_ARGUMENT: if one is out of range.
    Indices on a GPU are not read here; the code keeps them inside.
    """
    for bound in bounds:
        indices = inputs[bound.input]
        if not isinstance(indices, np.ndarray) or not indices.size:
            continue
        size = (bound.size or 0) if bound.of is None else int(inputs[bound.of].shape[bound.axis])
        low, high = int(indices.min()), int(indices.max())
        if low < -size or high >= size:
            wrong = high if high >= size else low
            message = (
                f"input `{bound.input}` has the index {wrong}, but the axis that it selects from has {size} entries"
            )
            raise fail(ErrorCode.INVALID_ARGUMENT, message, f"indices are from {-size} to {size - 1}")
