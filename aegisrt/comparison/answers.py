"""`compare_answers`: how the outputs of one call differ from those of another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aegisrt.comparison.tensors import TensorComparison, compare_tensors
from aegisrt.comparison.tolerance import Tolerance, tolerance_for
from aegisrt.core.suggest import quoted
from aegisrt.core.tensor import Array


def compare_answers(
    got: Mapping[str, Any], wanted: Mapping[str, Array], atol: float | None = None, rtol: float | None = None
) -> dict[str, TensorComparison]:
    """Return the comparison of each output by name, those of `wanted` first.

    None for `atol` or `rtol` takes the default of each output's dtype (`tolerance_for`). An output that only one of the
    two has is a `problem`.
    """
    compared = {}
    for name, value in wanted.items():
        tolerance = tolerance_for(value, atol, rtol)
        if name in got:
            compared[name] = compare_tensors(got[name], value, tolerance)
        else:
            compared[name] = TensorComparison(tolerance, value.size, f"no output is named {quoted(name)}")
    for name in got.keys() - wanted.keys():
        compared[name] = TensorComparison(Tolerance(), 0, f"the reference has no output {quoted(name)}")
    return compared
