"""`tensor_text` and `tensor_row`: a tensor at a prompt, and in a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aegisrt.core.suggest import escaped
from aegisrt.core.tensor import DataType, shape_text

_MOST_VALUES = 6


def tensor_text(name: str, value: Any) -> str:
    """Return name, dtype and shape of an array, on any device: `probabilities FP32[2,3]`; never its values."""
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    if not isinstance(shape, tuple) or dtype is None:
        return escaped(f"{name} ({type(value).__name__})")
    return escaped(f"{name} {_dtype_text(dtype)}{shape_text(shape)}")


def tensors_text(tensors: object) -> str:
    """Return all tensors of a request or a result, as `tensor_text` shows each."""
    if not isinstance(tensors, Mapping):
        return f"({type(tensors).__name__})"
    return ", ".join(tensor_text(str(name), value) for name, value in tensors.items()) or "none"


def short_repr(name: str, tensors: str, facts: Mapping[str, object]) -> str:
    """Return `<NAME: TENSORS; FACT VALUE, ...>` without the facts that are None."""
    shown = ", ".join(escaped(f"{key} {value}") for key, value in facts.items() if value is not None)
    return f"<{name}: {tensors}{f'; {shown}' if shown else ''}>"


def tensor_row(name: str, value: Any) -> tuple[str, str, str, str]:
    """Return name, dtype, shape and first values of an array; values of an array on a device are not copied."""
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    if not isinstance(shape, tuple) or dtype is None:
        return name, type(value).__name__, "", ""
    return name, _dtype_text(dtype), shape_text(shape), _first_values(value)


def _dtype_text(dtype: Any) -> str:
    known = DataType.of(dtype) if hasattr(dtype, "kind") and hasattr(dtype, "name") else None
    return str(known or dtype)


def _first_values(value: Any) -> str:
    flat = getattr(value, "flat", None)
    if flat is None:
        return ""
    values = [_value_text(flat[index]) for index in range(min(_MOST_VALUES, value.size))]
    return ", ".join(values) + (", ..." if value.size > _MOST_VALUES else "")


def _value_text(value: Any) -> str:
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if isinstance(value, str):
        return repr(value if len(value) <= 20 else value[:20] + "...")
    return f"{value:.4g}" if getattr(getattr(value, "dtype", None), "kind", "") == "f" else str(value)
