"""`compare_tensors`: how an output differs from the one that is wanted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from aegisrt.comparison.tolerance import Tolerance
from aegisrt.core.tensor import Array, DataType, shape_text

_CHUNK = 1 << 20
"""Elements that are compared at a time, so that a comparison needs little memory beside the tensors."""

Index = tuple[int, ...]


@dataclass(slots=True)
class TensorComparison:
    """How one output differs from the one that is wanted."""

    tolerance: Tolerance
    size: int = 0
    """Number of elements."""
    problem: str | None = None
    """What cannot be compared: no output of this name, another dtype or another shape."""
    max_abs: float | None = None
    """The largest absolute difference of two finite elements; None for texts, and if nothing was compared."""
    max_abs_at: Index | None = None
    max_rel: float | None = None
    """The largest absolute difference relative to the element that is wanted; elements wanted to be 0 are left out."""
    max_rel_at: Index | None = None
    wrong: int = 0
    """Number of elements that are not close: beyond the tolerance, or not finite in one tensor alone."""
    wrong_at: Index | None = None
    """The first of them."""
    top1: float | None = None
    """Share of rows with the largest value at the same place; None unless the values are floating-point and the last
    dimension has classes."""

    @property
    def ok(self) -> bool:
        """Whether the output is as wanted."""
        return self.problem is None and self.wrong == 0

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "ok": self.ok,
            "max_abs": self.max_abs,
            "max_abs_at": None if self.max_abs_at is None else list(self.max_abs_at),
            "max_rel": self.max_rel,
            "max_rel_at": None if self.max_rel_at is None else list(self.max_rel_at),
            "top1": self.top1,
            "wrong": self.wrong,
            "wrong_at": None if self.wrong_at is None else list(self.wrong_at),
            "elements": self.size,
            "atol": self.tolerance.atol,
            "rtol": self.tolerance.rtol,
            "problem": self.problem,
        }


def compare_tensors(got: Any, wanted: Array, tolerance: Tolerance, *, bits: bool = False) -> TensorComparison:
    """Compare an output with the one that is wanted, element by element.

    NaN equals NaN, and an infinity equals itself. `bits` compares the bytes of each element instead of its value, so
    that -0.0 differs from 0.0. Strings are compared as their UTF-8 bytes, and 64-bit integers exactly.
    """
    result = TensorComparison(tolerance, wanted.size, _mismatch(got, wanted))
    if result.problem is not None:
        return result
    numeric = wanted.dtype.kind not in "OSU"
    if numeric and wanted.size:
        result.max_abs, result.max_rel = 0.0, None if wanted.dtype.kind == "b" else 0.0
    flat, flat_wanted = got.ravel(), wanted.ravel()
    for start in range(0, wanted.size, _CHUNK):
        chunk = slice(start, start + _CHUNK)
        if numeric:
            _add(result, start, flat[chunk], flat_wanted[chunk], bits=bits, shape=wanted.shape)
        else:
            _count(result, start, _texts_differ(flat[chunk], flat_wanted[chunk]), wanted.shape)
    if wanted.dtype.kind in "fV" and wanted.size and wanted.ndim and wanted.shape[-1] > 1:
        result.top1 = _top1(got.reshape(-1, wanted.shape[-1]), wanted.reshape(-1, wanted.shape[-1]))
    return result


def _mismatch(got: Any, wanted: Array) -> str | None:
    if not isinstance(got, np.ndarray):
        return f"wanted a numpy array, got a {type(got).__name__}"
    if got.dtype != wanted.dtype and not (got.dtype.kind in "OSU" and wanted.dtype.kind in "OSU"):
        return f"wanted dtype {_dtype(wanted)}, got {_dtype(got)}"
    if got.shape != wanted.shape:
        return f"wanted shape {shape_text(wanted.shape)}, got {shape_text(got.shape)}"
    return None


def _dtype(array: Array) -> str:
    return DataType.of(array.dtype) or str(array.dtype)


def _add(result: TensorComparison, start: int, got: Array, wanted: Array, *, bits: bool, shape: Index) -> None:
    """Add a chunk of numbers, which begins at the element `start`."""
    with np.errstate(all="ignore"):
        same, distance, size = _distances(got, wanted)
        near = distance <= result.tolerance.atol + result.tolerance.rtol * size
        finite = np.isfinite(distance)
        relative = np.where(finite & (size > 0), distance / size, 0.0)
    distance = np.where(finite, distance, 0.0)
    close = _same_bytes(got, wanted) if bits else same | (near & finite)
    _count(result, start, ~close, shape)
    at = int(distance.argmax())
    if result.max_abs is not None and (result.max_abs_at is None or distance[at] > result.max_abs):
        result.max_abs, result.max_abs_at = float(distance[at]), _index(start + at, shape)
    at = int(relative.argmax())
    if result.max_rel is not None and (result.max_rel_at is None or relative[at] > result.max_rel):
        result.max_rel, result.max_rel_at = float(relative[at]), _index(start + at, shape)


def _distances(got: Array, wanted: Array) -> tuple[Array, Array, Array]:
    """Return where elements are the same, their distances, and the sizes of the wanted ones, as FP64."""
    if wanted.dtype.kind in "iu":  # FP64 has 53 bits: the difference of two 64-bit integers is exact modulo 2**64
        larger, smaller = np.maximum(got, wanted), np.minimum(got, wanted)
        distance = larger.astype(np.uint64) - smaller.astype(np.uint64)
        return np.equal(got, wanted), distance.astype(np.float64), np.abs(wanted.astype(np.float64))
    got64, wanted64 = got.astype(np.float64), wanted.astype(np.float64)
    same = (got64 == wanted64) | (np.isnan(got64) & np.isnan(wanted64))
    return same, np.where(same, 0.0, np.abs(got64 - wanted64)), np.abs(wanted64)


def _count(result: TensorComparison, start: int, wrong: Array, shape: Index) -> None:
    count = int(np.count_nonzero(wrong))
    if count and result.wrong_at is None:
        result.wrong_at = _index(start + int(wrong.argmax()), shape)
    result.wrong += count


def _index(at: int, shape: Index) -> Index:
    return tuple(int(index) for index in np.unravel_index(at, shape)) if shape else ()


def _same_bytes(got: Array, wanted: Array) -> Array:
    equal: Array = (_bytes(got) == _bytes(wanted)).all(axis=1)
    return equal


def _bytes(array: Array) -> Array:
    """Return the bytes of each element, one row for each element."""
    return np.frombuffer(array.tobytes(), np.uint8).reshape(array.size, array.dtype.itemsize)


def _texts_differ(got: Array, wanted: Array) -> Array:
    return np.fromiter((_utf8(one) != _utf8(other) for one, other in _pairs(got, wanted)), bool, wanted.size)


def _pairs(got: Array, wanted: Array) -> Iterator[tuple[Any, Any]]:
    return zip(got.flat, wanted.flat, strict=True)


def _utf8(value: Any) -> Any:
    return value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value


def _top1(got: Array, wanted: Array) -> float:
    """Return the share of rows whose largest value has a largest value of the wanted row at the same place.

    A row of equal values has several largest ones, and an engine may put any of them first. A row with a NaN in one
    tensor alone does not agree.
    """
    agree = 0
    for start in range(0, len(wanted), max(1, _CHUNK // wanted.shape[1])):
        rows = slice(start, start + max(1, _CHUNK // wanted.shape[1]))
        ours, theirs = got[rows], wanted[rows]
        nan, their_nan = (ours != ours).any(axis=1), (theirs != theirs).any(axis=1)
        chosen = np.take_along_axis(theirs, ours.argmax(axis=1)[:, None], axis=1)[:, 0]
        agree += int(np.count_nonzero(np.where(nan | their_nan, nan & their_nan, chosen == theirs.max(axis=1))))
    return agree / len(wanted)
