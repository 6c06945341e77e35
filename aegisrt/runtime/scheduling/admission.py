"""`Admission`: what a checked request needs before it may wait: its priority, and the key of its batch."""

from __future__ import annotations

from collections.abc import Mapping
from time import perf_counter_ns
from typing import Any

from aegisrt.backends.base.backend import RuntimeBackend
from aegisrt.backends.base.call import Call
from aegisrt.core.priority import priority_level
from aegisrt.manifest.schema import ModelOptions
from aegisrt.runtime.scheduling.batch import batch_key, equal_rows, refuse_oversized
from aegisrt.runtime.scheduling.pending import Queued


class Admission:
    """The rules of one model. Thread-safe: it holds no state."""

    def __init__(self, backend: RuntimeBackend[Any], options: ModelOptions) -> None:
        self._batching = options.batching
        signature = backend.signature
        self._optional = (
            frozenset(spec.name for spec in signature.inputs if spec.optional) if signature else frozenset()
        )

    def admit(self, pending: Queued, call: Call[Any, Any]) -> None:
        """Make a request ready to wait; raise `ResultError` if its number of rows is wrong."""
        pending.call = call
        if call.deadline_ns is not None:
            pending.deadline_ns = call.deadline_ns
        if call.request.priority != "normal":
            pending.level = priority_level(call.request.priority)
        if self._batching is not None:
            pending.rows = self.rows(call)
            if self._optional.isdisjoint(call.inputs):
                pending.may_join, pending.key = True, batch_key(call)
            else:
                # An optional input stands for a weight: it has no rows to join, and may differ between requests.
                pending.key = object()
        pending.ready_ns = perf_counter_ns()

    def rows(self, call: Call[Any, Any]) -> int:
        """Return the number of rows of a request, 1 without batching.

        INVALID_ARGUMENT: raised if its inputs differ in it, or if it has more rows than a batch may have.
        """
        if self._batching is None:
            return 1
        rows = equal_rows(self._with_rows(call.inputs))
        refuse_oversized(rows, self._batching)
        return rows

    def _with_rows(self, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the inputs without optional ones."""
        if not self._optional:
            return inputs
        return {name: value for name, value in inputs.items() if name not in self._optional}
