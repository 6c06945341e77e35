"""Rows of tensors, on the host or on a GPU: joined into one input, and taken out of one output."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


def are_joinable(tensors: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether the inputs of several calls can be joined: by name, all on the host or all on the GPU."""
    return all(_have_one_kind([each[name] for each in tensors]) for name in tensors[0])


def have_rows(tensors: Mapping[str, Any]) -> bool:
    """Return whether rows can be taken out of each tensor: it is on the host, or a `DeviceArray`."""
    return all(isinstance(value, np.ndarray) or hasattr(value, "rows") for value in tensors.values())


def joined_rows(parts: Sequence[Any], padding: int) -> Any:
    """Return tensors of one kind as one, its last row repeated `padding` times.

    Those on a GPU are not copied here: a `JoinedArray` names them, and the instance copies them on its own stream.
    """
    if isinstance(parts[0], np.ndarray):
        whole = np.concatenate(parts)
        return np.concatenate([whole, np.repeat(whole[-1:], padding, axis=0)]) if padding else whole
    if padding:
        last = next(part for part in reversed(parts) if part.shape[0])
        parts = [*parts, *[last.rows(last.shape[0] - 1, last.shape[0])] * padding]
    return type(parts[0]).joined(parts)


def rows_of(value: Any, start: int, end: int) -> Any:
    """Return some rows of an output: a copy, or on a GPU the same memory, which lives as long as any of its rows."""
    return value[start:end].copy() if isinstance(value, np.ndarray) else value.rows(start, end)


def _have_one_kind(parts: Sequence[Any]) -> bool:
    if isinstance(parts[0], np.ndarray):
        return all(isinstance(part, np.ndarray) for part in parts)
    return hasattr(parts[0], "joined") and all(type(part) is type(parts[0]) for part in parts)
