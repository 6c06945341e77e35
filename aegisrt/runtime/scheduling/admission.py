"""`Admission`: what a request needs before it may wait: its priority, its deadline and the key of its batch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aegisrt.backends.base.backend import RuntimeBackend
from aegisrt.core.deadline import deadline_ns
from aegisrt.core.priority import priority_level
from aegisrt.core.request import ExecutionRequest
from aegisrt.manifest.schema import ModelOptions
from aegisrt.runtime.scheduling.batch import batch_key, count_rows, equal_rows, refuse_oversized
from aegisrt.runtime.scheduling.pending import Pending


class Admission:
    """The rules of one model. Thread-safe: it holds no state."""

    def __init__(self, backend: RuntimeBackend[Any], options: ModelOptions) -> None:
        self._backend = backend
        self._batching = options.batching
        self.timeout_ms = options.queue.default_timeout_ms
        """The time limit of a request that has none of its own; None if it may take any time."""
        signature = backend.signature
        self._optional = (
            frozenset(spec.name for spec in signature.inputs if spec.optional) if signature else frozenset()
        )
        self._is_plain = self._batching is None and self.timeout_ms is None

    def is_trivial(self, request: ExecutionRequest) -> bool:
        """Return whether a request can wait as it is: `prepare` would change nothing."""
        return self._is_plain and request.timeout_ms is None and request.priority == "normal"

    def prepare(self, pending: Pending) -> None:
        """Set the priority, the deadline and the batch key of a request; raise ResultError if one is wrong."""
        request = pending.request
        pending.level = priority_level(request.priority)
        timeout_ms = self.timeout_ms if request.timeout_ms is None else request.timeout_ms
        if timeout_ms is not None:
            pending.deadline_ns = deadline_ns(timeout_ms, pending.entered_ns)
        if self._batching is not None:
            inputs = self._backend.check(request).unwrap()
            rows = equal_rows(self._with_rows(inputs))
            refuse_oversized(rows, self._batching)
            pending.rows = rows
            if self._optional.isdisjoint(inputs):
                pending.inputs, pending.key = inputs, batch_key(inputs, request)
            else:
                # An optional input stands for a weight: it has no rows to join, and may differ between requests.
                pending.key = object()

    def _with_rows(self, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the inputs without optional ones."""
        if not self._optional:
            return inputs
        return {name: value for name, value in inputs.items() if name not in self._optional}

    def check_rows(self, request: ExecutionRequest) -> int:
        """Return the number of rows of a request, 1 without batching; raise as `prepare` does.

        The inputs are checked only if their number of rows is unclear.
        """
        if self._batching is None:
            return 1
        try:
            rows = count_rows(self._with_rows(request.inputs))
        except (AttributeError, TypeError):
            rows = None
        if rows is None:
            rows = equal_rows(self._with_rows(self._backend.check(request).unwrap()))
        refuse_oversized(rows, self._batching)
        return rows
