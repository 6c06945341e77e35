"""`shared_names`: the dimension names of a shape that can be relied on to mean one size."""

from __future__ import annotations

import re
from collections.abc import Sequence

from aegisrt.core.tensor import Dim

_PLACEHOLDERS = frozenset({"none", "null", "unk", "unknown", "dynamic", "any"})
_LETTER = re.compile(r"[^\W\d_]")


def shared_names(shape: Sequence[Dim]) -> list[str | None]:
    """Return each dimension's name, and None for a fixed size or a name that does not mean one size.

    Exporters write `?`, `None` or `-1` for every dimension without a name, and some write one name for the height and
    the width: ONNX Runtime accepts other sizes for each. To TensorRT all dimensions of one name are equal, in the
    profiles and at each call (`ITensor::setDimensionName`).
    """
    names = [dim if isinstance(dim, str) and _is_name(dim) else None for dim in shape]
    return [name if names.count(name) == 1 else None for name in names]


def _is_name(text: str) -> bool:
    return _LETTER.search(text) is not None and text.lower() not in _PLACEHOLDERS
