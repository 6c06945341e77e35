"""`check_fits`: for an engine that computes a dtype in a narrower one (`Capabilities.narrowed`)."""

from __future__ import annotations

from typing import Any

import numpy as np

from aegisrt.core.result import ErrorCode, fail
from aegisrt.core.tensor import Array


def check_fits(value: Array, dtype: np.dtype[Any], name: str, engine: str, hint: str | None = None) -> None:
    """Check that the input `name`, of integers, fits in the integer type `dtype` that `engine` computes with.

    INVALID_ARGUMENT: if a value does not fit.
    """
    limits = np.iinfo(dtype)
    if value.size and (value.min() < limits.min or value.max() > limits.max):
        message = f"input `{name}` holds values outside {dtype.name}, the type that {engine} computes with"
        raise fail(ErrorCode.INVALID_ARGUMENT, message, hint)
