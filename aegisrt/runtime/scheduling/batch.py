"""Join requests into one call of the engine, and split its outputs into their answers."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from aegisrt.backends.base.call import Call
from aegisrt.core.request import ExecutionRequest, ExecutionResult, wants_model_metadata
from aegisrt.core.result import ErrorCode, fail
from aegisrt.core.tensor import Array, Signature, TensorSpec
from aegisrt.manifest.queueing import BatchingOptions
from aegisrt.runtime.scheduling.pending import Queued
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


def batch_key(call: Call[Any, Any]) -> Hashable:
    """Return a key that is equal for requests that may share a batch."""
    shapes = tuple(value.shape[1:] for value in call.inputs.values())
    return tuple(call.inputs), shapes, call.outputs, wants_model_metadata(call.request)


def is_joinable(batch: Sequence[Queued]) -> bool:
    """Return whether all inputs have rows, and are by name all on the host or all on the GPU.

    Also, whether all were checked for the same loaded model.
    """
    calls = [pending.call for pending in batch if pending.call is not None and pending.may_join]
    if len(calls) < len(batch) or any(call.loaded is not calls[0].loaded for call in calls):
        return False
    return are_joinable([call.inputs for call in calls])


def joined(batch: Sequence[Queued], options: BatchingOptions, started_ns: int) -> tuple[Call[Any, Any], int]:
    """Return one call of all rows in order, padded if the options ask for it, and the number of its rows.

    Its deadline is the last one of the requests: none, if one of them has none.
    """
    rows = sum(pending.rows for pending in batch)
    padding = _padding(rows, options)
    calls = [pending.call for pending in batch if pending.call is not None]
    inputs = {name: joined_rows([call.inputs[name] for call in calls], padding) for name in calls[0].inputs}
    first = calls[0].request
    request = ExecutionRequest(inputs=inputs, outputs=first.outputs, parameters=first.parameters)
    deadlines = [call.deadline_ns for call in calls if call.deadline_ns is not None]
    last = max(deadlines) if len(deadlines) == len(calls) else None
    return calls[0].joined(request, inputs, started_ns, last), rows + padding


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


def split(result: ExecutionResult, batch: Sequence[Queued]) -> list[ExecutionResult] | None:
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
