"""`difference`: compares an output with its golden, and describes the difference in one sentence."""

from __future__ import annotations

from typing import Any

import numpy as np

from aegisrt.core.tensor import Array

ELEMENTWISE = {"float64": 1e-13, "float32": 1e-6, "float16": 2e-3, "bfloat16": 1.6e-2}
"""Two roundings, relative to the largest value: a few units in the last place of each dtype."""
ACCUMULATED = {"float64": 1e-10, "float32": 2e-3, "float16": 1e-2, "bfloat16": 5e-2}
"""Sums of products. FP32 leaves room for TF32, which has 10 bits of mantissa and is what cuDNN's convolutions and
TensorRT use unless configured otherwise (https://docs.nvidia.com/deeplearning/tensorrt/latest/)."""


def difference(got: Any, want: Array, tolerance: float = 0.0) -> str | None:
    """Return what differs, or None. `tolerance` is relative to the largest value wanted; 0 asks for equal bits."""
    if not isinstance(got, np.ndarray):
        return f"wanted a numpy array, got a {type(got).__name__}"
    if got.dtype != want.dtype:
        return f"wanted dtype {want.dtype}, got {got.dtype}"
    if got.shape != want.shape:
        return f"wanted shape {want.shape}, got {got.shape}"
    if want.dtype.hasobject:
        return _first(got, want, np.asarray([_text(g) != _text(w) for g, w in zip(got.flat, want.flat, strict=True)]))
    if tolerance == 0 or want.dtype.kind in "biu":
        return _first(got, want, (_bytes(got) != _bytes(want)).any(axis=1))
    return _beyond(got, want, tolerance)


def _beyond(got: Array, want: Array, tolerance: float) -> str | None:
    got64, want64 = got.astype(np.float64), want.astype(np.float64)
    finite = np.isfinite(want64)
    bound = tolerance * float(np.abs(want64[finite]).max(initial=0.0))
    with np.errstate(invalid="ignore"):
        same = (got64 == want64) | (np.isnan(got64) & np.isnan(want64)) | (finite & (np.abs(got64 - want64) <= bound))
    return _first(got, want, ~same.ravel(), f" (tolerance {bound:.3g})")


def _first(got: Array, want: Array, wrong: Array, more: str = "") -> str | None:
    count = int(np.count_nonzero(wrong))
    if not count:
        return None
    at = np.unravel_index(int(np.flatnonzero(wrong)[0]), want.shape)
    where = ",".join(str(int(index)) for index in at)
    values = f"wanted {_show(want[at])}, got {_show(got[at])}{more}"
    return f"{values} at [{where}]; {count} of {want.size} elements differ"


def _bytes(array: Array) -> Array:
    """Return the bytes of each element, one row for each element."""
    return np.frombuffer(array.tobytes(), np.uint8).reshape(array.size, array.dtype.itemsize)


def _text(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value


def _show(value: Any) -> str:
    return repr(value.item() if isinstance(value, np.generic) else value)
