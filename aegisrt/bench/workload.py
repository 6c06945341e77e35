"""`Workload`: the requests that a benchmark sends to one model, and the bare engine's calls of the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import cycle

from aegisrt.core.request import ExecutionRequest
from aegisrt.core.result import ErrorCode, fail
from aegisrt.core.tensor import Array, Signature
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

    @staticmethod
    def of(context: ExecutionContext, model: str, rows: int = 1) -> Workload:
        """Return requests of `rows` rows, cut from the model's sample if it has one, else of zeros.

        INVALID_ARGUMENT: if the model's first dimension is fixed and `rows` is not 1.
        RESOURCE_EXHAUSTED: if a request needs more memory than `limits.input_bytes`.
        Other codes: the backend's error, if it has no bare call of such a request.
        """
        backend = context.backend(model)
        signature = backend.signature
        assert signature is not None
        options = context.graph.manifest.models[model].sample
        budget = InputBudget(context.graph.manifest.limits.input_bytes)
        sample = read_sample(options, signature, budget).inputs if options is not None else zeros(signature, budget)
        inputs = _cut(sample, signature, rows, budget)
        requests = tuple(ExecutionRequest(model=model, inputs=part) for part in inputs)
        return Workload(context, requests, tuple(backend.bare(request).unwrap() for request in requests))

    def in_turn(self) -> tuple[Callable[[], ExecutionRequest], Callable[[], Callable[[], object]]]:
        """Return functions that return the next request, and the next bare call, in an endless cycle."""
        return cycle(self.requests).__next__, cycle(self.bare).__next__


def _cut(sample: dict[str, Array], signature: Signature, rows: int, budget: InputBudget) -> Sequence[dict[str, Array]]:
    dynamic = all(spec.shape and not isinstance(spec.shape[0], int) for spec in signature.required)
    found = count_rows(sample)
    if not dynamic or not found:
        if rows != 1:
            message = f"requests of {rows} rows need a model whose inputs have a dynamic first dimension"
            raise fail(ErrorCode.INVALID_ARGUMENT, message, "leave --rows out")
        return [sample]
    if rows > found:
        repeats = -(-rows // found)
        budget.take(repeats * sum(value.nbytes for value in sample.values()), f"a request of {rows} rows")
        sample = {name: value.repeat(repeats, axis=0) for name, value in sample.items()}
        found = rows
    starts = range(0, found - rows + 1, rows)[:_MOST]
    return [{name: value[start : start + rows].copy() for name, value in sample.items()} for start in starts]
