"""Join requests into one call of the engine, and split its outputs into their answers."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from aegisrt.core.request import ExecutionRequest, ExecutionResult, wants_model_metadata
from aegisrt.core.result import ErrorCode, fail
from aegisrt.core.tensor import Array, Signature, TensorSpec
from aegisrt.manifest.queueing import BatchingOptions
from aegisrt.runtime.scheduling.pending import Pending
from aegisrt.runtime.scheduling.rows import are_joinable, have_rows, joined_rows, rows_of


def refuse_unbatchable(signature: Signature) -> None:
    """Raise FAILED_PRECONDITION if the first dimension of an input or output is not dynamic."""
    for side, specs in (("input", signature.required), ("output", signature.outputs)):
        for spec in specs:
            if not _is_batchable(spec):
                message = f"`batching` needs a dynamic first dimension, and {side} `{spec}` has none"
                hint = "leave `batching` out, or export the model with a dynamic batch dimension"
                raise fail(ErrorCode.FAILED_PRECONDITION, message, hint)
    if not signature.required:
        raise fail(ErrorCode.FAILED_PRECONDITION, "`batching` needs an input to count rows of, and the model has none")


def _is_batchable(spec: TensorSpec) -> bool:
    return spec.shape is not None and spec.shape != () and not isinstance(spec.shape[0], int)


def count_rows(inputs: Mapping[str, Any]) -> int | None:
    """Return the size of the first dimension that all inputs share; None if they differ."""
    sizes = {value.shape[0] if getattr(value, "shape", None) else None for value in inputs.values()}
    rows = sizes.pop() if len(sizes) == 1 else None
    return rows if isinstance(rows, int) else None


def equal_rows(inputs: Mapping[str, Array]) -> int:
    """Return the rows of checked inputs; raise INVALID_ARGUMENT if the inputs differ."""
    rows = count_rows(inputs)
    if rows is None:
        message = "the inputs of a request must have equally many rows, and these do not"
        raise fail(ErrorCode.INVALID_ARGUMENT, message, "the first dimension of each input is the batch")
    return rows


def refuse_oversized(rows: int, options: BatchingOptions) -> None:
    """Raise INVALID_ARGUMENT if a request has more rows than a batch may have."""
    if rows > options.max_batch_size:
        message = f"the request has {rows} rows, and `max_batch_size` of the model is {options.max_batch_size}"
        raise fail(ErrorCode.INVALID_ARGUMENT, message, "split the request, or raise `batching.max_batch_size`")


def batch_key(inputs: Mapping[str, Array], request: ExecutionRequest) -> Hashable:
    """Return a key that is equal for requests that may share a batch."""
    shapes = tuple(value.shape[1:] for value in inputs.values())
    outputs = None if request.outputs is None else tuple(request.outputs)
    return tuple(inputs), shapes, outputs, wants_model_metadata(request)


def is_joinable(batch: Sequence[Pending]) -> bool:
    """Return whether all inputs have rows, and are by name all on the host or all on the GPU."""
    inputs = [pending.inputs for pending in batch if pending.inputs is not None]
    return len(inputs) == len(batch) and are_joinable(inputs)


def joined(batch: Sequence[Pending], options: BatchingOptions) -> tuple[ExecutionRequest, int]:
    """Return one request of all rows in order, padded if the options ask for it, and the number of its rows."""
    rows = sum(pending.rows for pending in batch)
    padding = _padding(rows, options)
    parts = [pending.inputs for pending in batch if pending.inputs is not None]
    inputs = {name: joined_rows([part[name] for part in parts], padding) for name in parts[0]}
    first = batch[0].request
    return ExecutionRequest(inputs=inputs, outputs=first.outputs, parameters=first.parameters), rows + padding


def _padding(rows: int, options: BatchingOptions) -> int:
    if not options.pad_to_preferred or not rows:
        return 0
    return next((size - rows for size in options.preferred_batch_sizes if size >= rows), 0)


def miscount(outputs: Mapping[str, Any], rows: int) -> str | None:
    """Return a sentence if an output, on the host or a GPU, has another number of rows than the inputs; else None."""
    for name, value in outputs.items():
        if tuple(value.shape[:1]) != (rows,):
            found = value.shape[0] if value.shape else "no"
            return f"output `{name}` had {found} rows for {rows} in the inputs"
    return None


def split(result: ExecutionResult, batch: Sequence[Pending]) -> list[ExecutionResult] | None:
    """Return the result of each request: its own rows. The outputs have all of the batch's rows.

    On the host each result is in memory of its own. None if an output has no rows that can be taken out.
    """
    if not have_rows(result.outputs):
        return None
    total = sum(pending.rows for pending in batch)
    parts, start = [], 0
    for pending in batch:
        end = start + pending.rows
        outputs = {name: rows_of(value, start, end) for name, value in result.outputs.items()}
        metadata = {**result.metadata, "batch_size": total}
        if pending.request.id is not None:
            metadata["request_id"] = pending.request.id
        parts.append(replace(result, outputs=outputs, metadata=metadata))
        start = end
    return parts
