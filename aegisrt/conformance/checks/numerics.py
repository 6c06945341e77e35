"""Numbers: within the stated tolerance of a double-precision reference, and special values passed through."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from aegisrt.conformance import verdict
from aegisrt.conformance.check import check, declares_dtype
from aegisrt.conformance.subject import Subject
from aegisrt.core.tensor import Array, DataType

_FIX = (
    "Compare `_execute` with the engine used bare on the same file. If the engine is less exact by design "
    "(an fp16 engine), state it: `conformance.tolerances.FP32=0.01`."
)
_FLOATS = (DataType.FP16, DataType.FP32, DataType.FP64)


def _affine(subject: Subject, dtype: DataType) -> None:
    name = "affine" if dtype is DataType.FP32 else f"affine-{dtype.lower()}"
    backend = subject.loaded(name)
    for seed in range(5):
        subject.serves(backend, name, seed)


for _dtype in (*_FLOATS, DataType.INT32, DataType.INT64):
    check(
        f"numerics.{_dtype.lower()}",
        rule=f"{_dtype} arithmetic agrees with the reference, within a few units in the last place.",
        why="A wrong number is worse than an error. Reduced precision that the user did not choose shows here.",
        fix=_FIX,
        needs=[declares_dtype(_dtype)],
    )(functools.partial(_affine, dtype=_dtype))


@check(
    "numerics.conv-net", why="Layout, padding and fusion go wrong in ways that one operator does not show.", fix=_FIX
)
def conv_net(subject: Subject) -> None:
    """A small convolutional net agrees with the reference, and its probabilities add up to 1."""
    backend = subject.loaded("conv-net")
    for seed in range(5):
        inputs = subject.inputs("conv-net", seed)
        got = subject.call(backend, inputs).outputs
        subject.matches("conv-net", inputs, got)
        total = float(np.sum(got["probabilities"], dtype=np.float64))
        verdict.that(abs(total - 1) < 1e-2, f"probabilities add up to {total}")


_PASS = "Turn off the engine's fast-math flags (TVM: `TVM_CUDA_NVCC_NO_FAST_MATH=1`), and copy bits, not values."  # noqa: S105
_WHY = "A NaN or an infinity is how a model reports that it failed; an engine that swallows it hides the failure. "


@check("numerics.nan", why=_WHY, fix=_PASS)
def nan(subject: Subject) -> None:
    """Outputs are NaN at the positions of NaN inputs, and at no others."""
    _special(subject, "nan", lambda _: [np.nan, 1.0, -np.nan, 2.0])
    backend = subject.loaded("affine")
    x = subject.inputs("affine")["x"]
    x[0, 1] = np.nan
    got = subject.call(backend, {"x": x}).outputs["y"]
    verdict.that(np.array_equal(np.isnan(got), np.isnan(x)), f"NaN at [0,1] went in, {got} came out")


@check("numerics.infinity", why=_WHY, fix=_PASS)
def infinity(subject: Subject) -> None:
    """Infinities pass with their sign, and a sum that overflows is infinite."""
    _special(subject, "infinity", lambda _: [np.inf, -np.inf, 1.0, -1.0])
    backend = subject.loaded("affine")
    x = np.asarray([[np.inf, -np.inf, 3e38], [1, -3e38, 0]], np.float32)
    got = subject.call(backend, {"x": x}).outputs["y"]
    want = np.asarray([[np.inf, -np.inf, np.inf], [1.25, -np.inf, -1.25]], np.float32)
    verdict.that(np.array_equal(got, want), f"wanted {want.tolist()}, got {got.tolist()}")


@check(
    "numerics.denormals",
    why="A copy that flushes denormals to zero is not exact; audio and log-probabilities have them.",
    fix=_PASS,
)
def denormals(subject: Subject) -> None:
    """Denormal numbers pass through an identity model bit for bit."""
    _special(subject, "denormals", _denormals)


@check(
    "numerics.signed-zero",
    why="The sign of zero shows from which side a limit was reached; bit-exact caches see the difference.",
    fix=_PASS,
)
def signed_zero(subject: Subject) -> None:
    """Negative zero passes through an identity model with its sign."""
    _special(subject, "signed zero", lambda _: [0.0, -0.0, -0.0, 0.0])


def _denormals(dtype: np.dtype[Any]) -> list[float]:
    info = np.finfo(dtype)
    smallest, normal = float(info.smallest_subnormal), float(info.smallest_normal)
    return [smallest, -smallest, normal - smallest, 3 * smallest]


def _special(subject: Subject, what: str, values: Callable[[np.dtype[Any]], list[float]]) -> None:
    """Fail unless an identity model of each declared float dtype passes the values."""
    tried = 0
    for dtype in _FLOATS:
        name = f"identity-{dtype.lower()}"
        if dtype not in subject.can.dtypes:
            continue
        x = np.asarray(values(dtype.numpy) * 4).astype(dtype.numpy).reshape(4, 4)
        got = subject.call(subject.loaded(name), {"x": x}, f"{what} in {dtype}").outputs["y"]
        tried += 1
        verdict.that(_same_values(got, x), f"{what} in {dtype}: wanted {x[0].tolist()}, got {got[0].tolist()}")
    if not tried:
        raise verdict.Skipped("declares no FP16, FP32 or FP64")


def _same_values(got: Array, want: Array) -> bool:
    """Return whether the arrays are equal with the signs of their zeros; a NaN equals any NaN."""
    numbers = ~np.isnan(want)
    return bool(
        np.array_equal(got, want, equal_nan=True)
        and np.array_equal(np.signbit(got)[numbers], np.signbit(want)[numbers])
    )
