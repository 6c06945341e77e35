"""`RowProbe`: runs rows of a model alone, together, in another order and beside rows of another scale."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from aegisrt.backends.base.backend import RuntimeBackend
from aegisrt.core.request import ExecutionRequest
from aegisrt.core.result import Err, ErrorCode, ResultError, fail
from aegisrt.core.tensor import Array, DataType
from aegisrt.manifest.queueing import BatchingOptions
from aegisrt.runtime.scheduling.batch import miscount

ROWS = 4
"""The most rows of a batch that is tried: larger batches show no more, and cost more."""
TOLERANCE = {DataType.FP64: 1e-5, DataType.FP32: 5e-3, DataType.FP16: 1e-2, DataType.BF16: 5e-2}
"""Relative to an output's range. Five to ten times the largest difference that was measured between sizes of batches
(docs/PERFORMANCE.md): kernels add in another order, and an FP32 output may be computed in TF32 or in FP16."""

_SAME_SIZE = 0.1
"""The part of a default tolerance that is allowed if only the other rows of a batch differ. No difference was measured
there, on any engine: the same kernels run."""
_GENERATED_SLACK = 20
"""How much more a generated row may differ between sizes of batches: magika's differed by 6e-3 of the range for rows of
zeros and ones, and by 1e-7 for rows of bytes."""

Row: TypeAlias = Mapping[str, Array]
_Place: TypeAlias = tuple[Mapping[str, Array], int]
"""The outputs of a call, and a row of them."""


@dataclass(frozen=True, slots=True)
class Mismatch:
    """An answer that a batch changed."""

    text: str
    is_count: bool
    """Whether the outputs of a call had another number of rows than its inputs; no tolerance allows that."""


class RowProbe:
    """Compares the outputs of one loaded model for the same rows beside different other rows.

    The reference of a row is the row among copies of itself, at the same place of a batch of the same size: the engine
    runs the same kernels then, so a difference is caused by the other rows. Alone, a row may differ a little more:
    kernels for another size add in another order, and some models magnify that for inputs unlike those they were made
    for.
    """

    def __init__(self, backend: RuntimeBackend[Any], batching: BatchingOptions, *, generated: bool) -> None:
        self._backend = backend
        self._size = min(batching.max_batch_size, ROWS)
        self._tolerance = batching.tolerance
        self._across_sizes = _GENERATED_SLACK if generated else 1
        self._in_size = _SAME_SIZE if batching.tolerance is None else 1
        signature = backend.signature
        self._outputs = {} if signature is None else {spec.name: spec.dtype for spec in signature.outputs}
        self._scales: dict[str, float] = {}
        self._worst: tuple[float, str] = (0.0, "")

    def mismatch(self, rows: Sequence[Row]) -> Mismatch | None:
        """Return the largest difference, if it is beyond the tolerance; raise ResultError if a row is refused."""
        self._worst = (0.0, "")
        dark = [_sixteenth(row) for row in rows[: self._size // 2] if any(map(_is_whole, row.values()))]
        rows = [*rows[: self._size - len(dark)], *dark]
        try:
            alone = [self._run(row, 1) for row in rows[: len(rows) - len(dark)]]
            self._scales = {name: _scale([outputs[name] for outputs in alone]) for name in self._outputs}
            copies = [self._run(_joined([row] * self._size), self._size) for row in rows]
            for one, many in zip(alone, copies, strict=False):
                for place in range(self._size):
                    self._compare((many, place), (one, 0), "among copies of itself", self._across_sizes)
            for others, batch, places in self._batches(rows):
                outputs = self._among(batch, others)
                for place, index in places if outputs else ():
                    self._compare((outputs, place), (copies[index], place), others, self._in_size)
        except _MiscountError as error:
            return Mismatch(str(error), is_count=True)
        return Mismatch(self._worst[1], is_count=False) if self._worst[1] else None

    def _among(self, batch: Sequence[Row], others: str) -> dict[str, Array]:
        """Return a batch's outputs; none if the model refuses the other rows, so that no request can bring them."""
        try:
            return self._run(_joined(batch), len(batch))
        except ResultError:
            if others in ("together", "in another order"):
                raise
            return {}

    def _batches(self, rows: Sequence[Row]) -> Iterator[tuple[str, list[Row], list[tuple[int, int]]]]:
        """Yield what the rows are among, the batch, and the place in it of each row that is compared."""
        size, count = self._size, len(rows)
        order = [index % count for index in range(size)]
        yield "together", [rows[index] for index in order], list(enumerate(order))
        yield "in another order", [rows[index] for index in order[::-1]], list(enumerate(order[::-1]))
        for others, other in (("beside rows of 1000 times their size", _thousandfold), ("beside zeros", _zeros)):
            batch = [rows[index] if place % 2 == 0 else other(rows[index]) for place, index in enumerate(order)]
            yield others, batch, [(place, index) for place, index in enumerate(order) if place % 2 == 0]

    def _run(self, inputs: Row, rows: int) -> dict[str, Array]:
        result = self._backend.execute(ExecutionRequest(inputs=inputs))
        if isinstance(result, Err):
            raise ResultError(result.error)
        outputs: dict[str, Array] = result.value.outputs
        if not all(isinstance(value, np.ndarray) for value in outputs.values()):
            raise fail(ErrorCode.UNIMPLEMENTED, "the outputs are not arrays on the host")
        wrong = miscount(outputs, rows)
        if wrong:
            raise _MiscountError(wrong)
        return outputs

    def _compare(self, got: _Place, wanted: _Place, others: str, factor: float) -> None:
        """Compare two rows with `factor` of the tolerance; keep the worst difference."""
        for name, dtype in self._outputs.items():
            left, right = got[0][name][got[1]], wanted[0][name][wanted[1]]
            if dtype not in TOLERANCE:
                if left.shape != right.shape or not np.array_equal(left, right):
                    text = f"`{name}` {dtype} of a row differs {others}, and must be equal"
                    self._worst = max(self._worst, (float("inf"), text))
                continue
            allowed = min(1.0, factor * (self._tolerance or TOLERANCE[dtype]))
            difference = _difference(left, right, self._scales[name])
            if not difference <= allowed:
                size = f"by {difference:.2g} of its range" if np.isfinite(difference) else "by a NaN or an infinity"
                text = f"`{name}` {dtype} of a row differs {size} {others}"
                self._worst = max(self._worst, (difference / allowed, f"{text}, and {allowed:g} is allowed"))


class _MiscountError(Exception):
    """The outputs of a call had another number of rows than its inputs."""


def _joined(rows: Sequence[Row]) -> dict[str, Array]:
    return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}


def _thousandfold(row: Row) -> Row:
    """Return the row with floating-point inputs 1000 times as large; values that overflow are a valid test too."""
    with np.errstate(over="ignore", invalid="ignore"):
        return {name: value * value.dtype.type(1000) if _is_float(value) else value for name, value in row.items()}


def _sixteenth(row: Row) -> Row:
    """Return the row with integer inputs a sixteenth as large: they are in every range that contains the row's own.

    It stands for rows of another scale: a dark picture beside a bright one.
    """
    return {name: value // value.dtype.type(16) if _is_whole(value) else value for name, value in row.items()}


def _zeros(row: Row) -> Row:
    return {name: value if value.dtype.hasobject else np.zeros_like(value) for name, value in row.items()}


def _is_whole(value: Array) -> bool:
    return value.dtype.kind in "iu"


def _is_float(value: Array) -> bool:
    return value.dtype.kind == "f" or value.dtype.name == "bfloat16"


def _scale(values: Sequence[Array]) -> float:
    """Return the range of an output's finite values: of their sizes, or between the least and the greatest."""
    if not _is_float(values[0]):
        return 0.0
    finite = [value[np.isfinite(value)].astype(np.float64) for value in (v.astype(np.float64) for v in values)]
    every = np.concatenate([value.ravel() for value in finite])
    return float(max(np.abs(every).max(), every.max() - every.min())) if every.size else 0.0


def _difference(got: Array, wanted: Array, scale: float) -> float:
    """Return the largest difference relative to `scale`, if that is not 0; infinite if NaNs or infinities differ."""
    if got.shape != wanted.shape:
        return float("inf")
    left, right = got.astype(np.float64), wanted.astype(np.float64)
    same = (left == right) | (np.isnan(left) & np.isnan(right))
    if same.all():
        return 0.0
    with np.errstate(invalid="ignore"):
        gap = np.abs(left - right)[~same].max()
    return float(gap / (scale or 1)) if np.isfinite(gap) else float("inf")
