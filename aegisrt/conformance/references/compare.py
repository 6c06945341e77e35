"""`difference`: compares an output with its golden, and describes the difference in one sentence."""

from __future__ import annotations

from typing import Any

import numpy as np

from aegisrt.comparison.tensors import compare_tensors
from aegisrt.comparison.tolerance import Tolerance, largest
from aegisrt.core.tensor import Array

ELEMENTWISE = {"float64": 1e-13, "float32": 1e-6, "float16": 2e-3, "bfloat16": 1.6e-2}
"""Two roundings, relative to the largest value: a few units in the last place of each dtype."""
ACCUMULATED = {"float64": 1e-10, "float32": 2e-3, "float16": 1e-2, "bfloat16": 5e-2}
"""Sums of products. FP32 leaves room for TF32, which has 10 bits of mantissa and is what cuDNN's convolutions and
TensorRT use unless configured otherwise (https://docs.nvidia.com/deeplearning/tensorrt/latest/)."""


def difference(got: Any, want: Array, tolerance: float = 0.0) -> str | None:
    """Return what differs, or None. `tolerance` is relative to the largest value wanted; 0 asks for equal bits."""
    bits = tolerance == 0 or want.dtype.kind in "biu"
    atol = 0.0 if bits or want.dtype.hasobject else tolerance * largest(want.astype(np.float64))
    result = compare_tensors(got, want, Tolerance(atol), bits=bits)
    if result.problem is not None:
        return result.problem
    at = result.wrong_at
    if at is None:
        return None
    bound = "" if bits or want.dtype.hasobject else f" (tolerance {atol:.3g})"
    values = f"wanted {_show(want[at])}, got {_show(got[at])}{bound}"
    return f"{values} at [{','.join(map(str, at))}]; {result.wrong} of {want.size} elements differ"


def _show(value: Any) -> str:
    return repr(value.item() if isinstance(value, np.generic) else value)
