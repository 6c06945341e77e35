"""`check_batching`: whether a loaded model may batch: shown by measuring it, refused if it mixes rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

import numpy as np

from aegisrt.backends.base.backend import RuntimeBackend
from aegisrt.core.result import ErrorCode, ResultError, fail
from aegisrt.core.shown.log import Log
from aegisrt.core.tensor import Array, DataType, Signature
from aegisrt.graph.batching import rows_in_file
from aegisrt.manifest.queueing import BatchingOptions
from aegisrt.manifest.schema import ModelOptions
from aegisrt.runtime.building.input_budget import InputBudget
from aegisrt.runtime.building.row_probe import ROWS, Mismatch, Row, RowProbe
from aegisrt.runtime.building.sample import read_sample
from aegisrt.runtime.scheduling.batch import count_rows, refuse_unbatchable

_SIZES = (16, 32, 64, 224, 1)
"""Tried in turn for dynamic dimensions other than the batch, until the model takes the generated rows."""
_LARGEST = (100, 1)
"""The largest generated integer, tried in turn: bytes and most vocabularies have 100, masks and kinds of tokens have 1.

On a GPU 100 is not tried: no index is checked there, and one that is out of range may cost the process its GPU."""
_HINT = "leave `batching` out, or export a model whose rows do not depend on each other"
_TRUST = "give the model a `sample`; or, if its rows are independent, set `batching.rows: trust`"
_log = Log(__name__)


def check_batching(name: str, model: ModelOptions, backend: RuntimeBackend[Any], limit_bytes: int) -> str | None:
    """Return why the model must not batch, which is logged too; None if it may.

    `limit_bytes` is the manifest's `limits.input_bytes`.

    Raise ResultError:

    FAILED_PRECONDITION: if a first dimension is not dynamic, or if the model mixes rows: shown by its sample, or by
    generated rows if an output has too many or too few, or if the file names an operator that mixes them.
    """
    batching, signature = model.batching, backend.signature
    if batching is None or signature is None:
        return None
    refuse_unbatchable(signature)
    if batching.rows == "trust" or batching.max_batch_size == 1:
        return None
    found, doubt = _measured(model, batching, backend, signature, limit_bytes)
    if found is not None and _is_certain(found, model):
        raise _refusal(found, model)
    if found is not None:
        doubt = f"generated rows affect each other in a batch: {found.text}"
    if doubt is not None:
        _log.warning("model `%s` runs its requests one by one: %s; %s", name, doubt, _TRUST, model=name)
    return doubt


def _measured(
    model: ModelOptions,
    batching: BatchingOptions,
    backend: RuntimeBackend[Any],
    signature: Signature,
    limit_bytes: int,
) -> tuple[Mismatch | None, str | None]:
    """Return the mismatch, or why it could not be measured."""
    refused: ResultError | None = None
    probe = RowProbe(backend, batching, generated=model.sample is None)
    largest = _LARGEST if backend.device.kind == "cpu" else _LARGEST[1:]
    sample, generated = _sample_rows, _generated(signature, largest, limit_bytes)
    for rows in sample(model, signature, limit_bytes) if model.sample else generated:
        if isinstance(rows, ResultError):
            refused = refused or rows
            continue
        try:
            return probe.mismatch(rows), None
        except ResultError as failure:
            refused = refused or failure
    what = "its sample" if model.sample else "generated rows"
    why = f": {refused.error.message}" if refused else ""
    return None, f"it could not be checked with {what} that rows do not affect each other{why}"


def _is_certain(found: Mismatch, model: ModelOptions) -> bool:
    """Return whether a mismatch is caused by the model, not by rows that it was never made for."""
    rows = rows_in_file(model)
    return model.sample is not None or found.is_count or (rows is not None and bool(rows.mixing))


def _refusal(found: Mismatch, model: ModelOptions) -> ResultError:
    rows = rows_in_file(model)
    named = f"; operators that may mix rows: {', '.join(rows.mixing)}" if rows is not None and rows.mixing else ""
    hint = _HINT if found.is_count else f"{_HINT}; or allow more by `batching.tolerance`"
    message = f"the rows of a batch affect each other: {found.text}{named}"
    return fail(ErrorCode.FAILED_PRECONDITION, message, hint)


def _sample_rows(model: ModelOptions, signature: Signature, limit_bytes: int) -> Iterator[Sequence[Row]]:
    assert model.sample is not None
    sample = read_sample(model.sample, signature, InputBudget(limit_bytes)).inputs
    inputs = {spec.name: sample[spec.name] for spec in signature.required if spec.name in sample}
    count = count_rows(inputs)
    if count:
        yield [{name: value[row : row + 1] for name, value in inputs.items()} for row in range(min(count, ROWS))]


def _generated(signature: Signature, largest: Sequence[int], limit_bytes: int) -> Iterator[Sequence[Row] | ResultError]:
    """Yield rows of random values, in a few sizes of the dimensions that are dynamic; the same in each run.

    Sizes that need more memory than `limit_bytes` are yielded as the error.
    """
    shapes = [spec.shape or () for spec in signature.required]
    is_fixed = all(isinstance(dim, int) for shape in shapes for dim in shape[1:])
    is_whole = any(spec.dtype.numpy.kind in "iu" for spec in signature.required)
    for size, most in product(_SIZES[:1] if is_fixed else _SIZES, largest if is_whole else largest[:1]):
        random = np.random.default_rng(0)
        sizes = [(1, *(dim if isinstance(dim, int) else size for dim in shape[1:])) for shape in shapes]
        try:
            InputBudget(limit_bytes).take_made_up(signature, sizes, ROWS)
        except ResultError as failure:
            yield failure
            continue
        yield [
            {
                spec.name: _random(random, spec.dtype, row, most)
                for spec, row in zip(signature.required, sizes, strict=True)
            }
            for _ in range(ROWS)
        ]


def _random(random: np.random.Generator, dtype: DataType, sizes: Sequence[int], largest: int) -> Array:
    """Return one row of values that most models take: floating point from 0 to 1, integers from 0 to `largest`."""
    if dtype is DataType.BYTES:
        return random.integers(0, largest, sizes, endpoint=True).astype(str).astype(object)
    if dtype is DataType.BOOL:
        return random.random(sizes) < 0.5
    if dtype.numpy.kind in "iu":
        return random.integers(0, largest, sizes, endpoint=True).astype(dtype.numpy)
    return random.random(sizes).astype(dtype.numpy)
