"""Every declared dtype passes through an identity model bit for bit, one check for each dtype."""

from __future__ import annotations

import functools

import numpy as np

from aegisrt.conformance.check import check, declares_dtype
from aegisrt.conformance.subject import Subject
from aegisrt.core.tensor import Array, DataType

_FIX = (
    "Pass the dtype through staging without a cast; or remove it from `capabilities.dtypes`, and the base "
    "class answers UNIMPLEMENTED for it."
)


def _bit_for_bit(subject: Subject, dtype: DataType) -> None:
    name = f"identity-{dtype.lower()}"
    backend = subject.loaded(name)
    for turn, values in enumerate(extremes(dtype, subject.settings.seed)):
        inputs = {"x": values}
        got = subject.call(backend, inputs, f"execute on {dtype} values").outputs
        subject.matches(name, inputs, got, f"{dtype} values, array {turn}")


def extremes(dtype: DataType, seed: int) -> list[Array]:
    """Return arrays (4, 4) that hold the dtype's smallest, largest and odd values, and random ones; no NaN."""
    random = np.random.default_rng(seed)
    if dtype is DataType.BYTES:
        words = ["", "a", "ü", "日本語", "🙂", " leading", "trailing ", "new\nline", "tab\t", "quote\"'", "x" * 300]
        return [np.asarray((words + [str(number) for number in range(5)]), object).reshape(4, 4)]
    if dtype is DataType.BOOL:
        return [np.zeros((4, 4), bool), np.ones((4, 4), bool), random.random((4, 4)) < 0.5]
    kind = dtype.numpy
    if kind.kind in "iu":
        info = np.iinfo(kind)
        edges = [info.min, info.max, 0, 1, info.max - 1, info.min + 1, info.max // 2, info.max // 3]
        drawn = random.integers(info.min, info.max, 16, dtype=kind, endpoint=True)
        return [np.asarray(edges * 2).astype(kind).reshape(4, 4), drawn.reshape(4, 4)]
    wide = np.asarray([0.0, -0.0, 1.0, -1.0, 1 / 3, -1 / 3, 1e-3, 255.0, 2.5, 1e4, -1e4, 3.14159, 0.1, 7.0, -2.0, 0.5])
    patterns = random.integers(0, 256, (16, kind.itemsize), dtype=np.uint8).view(kind).reshape(4, 4)
    usable = np.isfinite(patterns.astype(np.float64)) & (np.abs(patterns.astype(np.float64)) > 1e-30)
    return [wide.astype(kind).reshape(4, 4), np.where(usable, patterns, kind.type(1.0)).astype(kind)]


for _dtype in DataType:
    check(
        f"dtypes.{_dtype.lower()}",
        rule=f"{_dtype} values pass through an identity model bit for bit, with the extremes of the dtype.",
        why=f"The backend declares {_dtype}. A cast on the way (to float32, to int32, to UTF-8) loses bits silently.",
        fix=_FIX,
        needs=[declares_dtype(_dtype)],
    )(functools.partial(_bit_for_bit, dtype=_dtype))
