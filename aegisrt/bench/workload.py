"""`Workload`: the requests that a benchmark sends to one model, and the bare engine's calls of the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any, Literal

from aegisrt.bench.shapes import Shapes, has_free_rows, zeros_shapes
from aegisrt.core.request import ExecutionRequest
from aegisrt.core.result import ErrorCode, fail
from aegisrt.core.tensor import Array, DataType, Signature
from aegisrt.runtime.building.input_budget import InputBudget
from aegisrt.runtime.building.sample import read_sample, zeros
from aegisrt.runtime.context import ExecutionContext
from aegisrt.runtime.scheduling.batch import count_rows

_MOST = 64
"""Distinct requests; they are sent in turn."""


@dataclass(frozen=True, slots=True)
class Workload:
    """One model of a running context, and the requests for it."""

    context: ExecutionContext
    requests: tuple[ExecutionRequest, ...]
    bare: tuple[Callable[[], object], ...]
    """The engine's own call of each request."""

    source: Literal["sample", "zeros"]
    """Where the inputs are from."""

    @staticmethod
    def of(context: ExecutionContext, model: str, rows: int = 1, shapes: Shapes | None = None) -> Workload:
        """Return requests of `rows` rows, cut from the model's sample; zeros of `shapes`, or if it has no sample.

        INVALID_ARGUMENT: if the model's first dimension is fixed and `rows` is not 1; or if the model has no sample,
        and a dimension of unknown size.
        RESOURCE_EXHAUSTED: if a request needs more memory than `limits.input_bytes`.
        Other codes: the backend's error, if it has no bare call of such a request.
        """
        backend = context.backend(model)
        signature = backend.signature
        assert signature is not None
        options = context.graph.manifest.models[model].sample
        budget = InputBudget(context.graph.manifest.limits.input_bytes)
        if options is not None and not shapes:
            inputs = _cut(read_sample(options, signature, budget).inputs, signature, rows, budget)
        else:
            if rows != 1 and not (signature.required and has_free_rows(signature)):
                raise _no_rows(rows)
            sizes = zeros_shapes(model, signature, shapes or {}, rows)
            inputs = [zeros(signature, budget, sizes)]
        requests = tuple(ExecutionRequest(model=model, inputs=part) for part in inputs)
        bare = tuple(backend.bare(request).unwrap() for request in requests)
        return Workload(context, requests, bare, "zeros" if shapes or options is None else "sample")

    @property
    def model(self) -> str:
        """The model's name."""
        model = self.requests[0].model
        assert model is not None
        return model

    @property
    def inputs(self) -> list[dict[str, Any]]:
        """Return name, dtype and shape of each input that is sent; all requests have the same shapes."""
        return [
            {"name": name, "dtype": str(DataType.of(value.dtype) or value.dtype), "shape": list(value.shape)}
            for name, value in self.requests[0].inputs.items()
        ]

    def in_turn(self) -> tuple[Callable[[], ExecutionRequest], Callable[[], Callable[[], object]]]:
        """Return functions that return the next request, and the next bare call, in an endless cycle."""
        return cycle(self.requests).__next__, cycle(self.bare).__next__


def _cut(sample: dict[str, Array], signature: Signature, rows: int, budget: InputBudget) -> Sequence[dict[str, Array]]:
    found = count_rows(sample)
    if not has_free_rows(signature) or not found:
        if rows != 1:
            raise _no_rows(rows)
        return [sample]
    if rows > found:
        repeats = -(-rows // found)
        budget.take(repeats * sum(value.nbytes for value in sample.values()), f"a request of {rows} rows")
        sample = {name: value.repeat(repeats, axis=0) for name, value in sample.items()}
        found = rows
    starts = range(0, found - rows + 1, rows)[:_MOST]
    return [{name: value[start : start + rows].copy() for name, value in sample.items()} for start in starts]


def _no_rows(rows: int) -> Exception:
    message = f"requests of {rows} rows need a model whose inputs have a dynamic first dimension"
    return fail(ErrorCode.INVALID_ARGUMENT, message, "leave --rows out")
