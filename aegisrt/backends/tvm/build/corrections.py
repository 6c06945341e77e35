"""`corrected`: parameters with which TVM 0.27 computes an operator correctly, in place of the model's own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


def corrected(operator: str, inputs: Any) -> list[Any]:
    """Return the inputs of each step of the operator; from the second step on, the first is the last result.

    They are lists of the importer's own kind, which has None for every input that is left out.
    """
    if operator == "Tile":
        return _one_axis_at_a_time(inputs)
    if operator == "NonMaxSuppression":
        return [_beyond_the_threshold(inputs)]
    return [inputs]


def _one_axis_at_a_time(inputs: Any) -> list[Any]:
    """TVM simplifies the index of some repetitions of several axes wrongly: 6 and 4 times of 2 x 3 x 4 x 5, say."""
    from tvm import relax

    repeats = constant(inputs, 1)
    axes = [] if repeats is None else np.flatnonzero(repeats != 1).tolist()
    if repeats is None or len(axes) < 2:
        return [inputs]
    single = [np.where(np.arange(repeats.size) == axis, repeats, 1) for axis in axes]
    return [type(inputs)([inputs[0], relax.const(values, "int64")]) for values in single]


def _beyond_the_threshold(inputs: Any) -> Any:
    """TVM suppresses a box whose overlap equals the threshold, ONNX one whose overlap is more."""
    from tvm import relax

    threshold, changed = constant(inputs, 3), type(inputs)(inputs)
    if threshold is not None:
        changed[3] = relax.const(np.nextafter(threshold.astype(np.float32), np.float32(np.inf)), "float32")
    return changed


def constant(inputs: Sequence[Any], index: int) -> np.ndarray[Any, Any] | None:
    """Return the value of an input that is a constant, else None."""
    from tvm import ir

    value = inputs[index] if index < len(inputs) else None
    return np.asarray(value.value.numpy()) if isinstance(value, ir.GenericConst) else None
