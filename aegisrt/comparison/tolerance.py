"""`Tolerance`: how far an element may be from the one that is wanted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from aegisrt.core.tensor import Array


@dataclass(frozen=True, slots=True)
class Tolerance:
    """An element is close if `|got - wanted| <= atol + rtol * |wanted|`, as in `numpy.allclose`."""

    atol: float = 0.0
    rtol: float = 0.0


_BY_DTYPE = {
    "float64": Tolerance(1e-7, 1e-6),
    "float32": Tolerance(1e-4, 1e-3),
    "float16": Tolerance(1e-2, 1e-2),
    "bfloat16": Tolerance(4e-2, 4e-2),
}
"""`atol` is relative to the largest finite value that is wanted."""


def tolerance_for(wanted: Array, atol: float | None = None, rtol: float | None = None) -> Tolerance:
    """Return the tolerance for an output, with the default of its dtype for each of `atol` and `rtol` that is None.

    The default `atol` is a share of the largest finite value that is wanted: logits of 20 have larger errors than
    probabilities, and values of 1e-6 must not all pass. Integers, booleans and texts must be equal by default.
    """
    default = _BY_DTYPE.get(wanted.dtype.name)
    if default is None:
        return Tolerance(atol or 0.0, rtol or 0.0)
    if atol is None:
        atol = default.atol * largest(wanted)
    return Tolerance(atol, default.rtol if rtol is None else rtol)


def largest(values: Array) -> float:
    """Return the largest finite absolute value of floating-point values, 0 if there is none."""
    if values.size == 0:
        return 0.0
    magnitudes = np.abs(values)
    return float(magnitudes.max(initial=0, where=np.isfinite(magnitudes)))
