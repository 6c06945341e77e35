"""`is_name` and `shared_names`: the dimension names of a model that can be relied on to mean one size."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TypeGuard

from aegisrt.core.tensor import Dim

_PLACEHOLDERS = frozenset({"none", "null", "unk", "unknown", "dynamic", "any"})
_LETTER = re.compile(r"[^\W\d_]")


def is_name(dim: Dim) -> TypeGuard[str]:
    """Return whether a dimension has a name; exporters write `?`, `None` or `-1` for each one without a name."""
    return isinstance(dim, str) and _LETTER.search(dim) is not None and dim.lower() not in _PLACEHOLDERS


def shared_names(shape: Sequence[Dim]) -> list[str | None]:
    """Return each dimension's name, and None for a fixed size or a name that does not mean one size.

    Some exporters write one name for the height and the width: ONNX Runtime accepts other sizes for each. To TensorRT
    all dimensions of one name are equal, in the profiles and at each call (`ITensor::setDimensionName`).
    """
    names = [dim if is_name(dim) else None for dim in shape]
    return [name if names.count(name) == 1 else None for name in names]
