"""`BatchRule`: when waiting requests become a batch, and how many of them: Triton's rule."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from aegisrt.manifest.queueing import BatchingOptions
from aegisrt.runtime.scheduling.pending import Queued


@dataclass(frozen=True, slots=True)
class BatchRule:
    """The rule of one model. Without batching options, each request is a batch of its own."""

    max_rows: int
    preferred: frozenset[int]
    delay_ns: int
    is_single: bool = False
    """Whether each request is a batch at once."""

    @staticmethod
    def of(options: BatchingOptions | None) -> BatchRule:
        """Return the rule that a manifest declares."""
        if options is None:
            return replace(ALONE, is_single=True)
        return BatchRule(
            options.max_batch_size, frozenset(options.preferred_batch_sizes), options.max_queue_delay_us * 1000
        )

    def count(self, waiting: Iterable[Queued], *, overdue: bool) -> int:
        """Return how many of the first waiting requests form a batch now; 0 to wait for more.

        The largest preferred size that can be formed; else all that fit, if they fill a batch or one of them is
        overdue. Requests are taken in order: none is passed over for a smaller one behind it.
        """
        rows = count = preferred = 0
        full = False
        for pending in waiting:
            if count and rows + pending.rows > self.max_rows:
                full = True
                break
            rows += pending.rows
            count += 1
            if rows in self.preferred:
                preferred = count
            if rows >= self.max_rows:
                full = True
                break
        return preferred or (count if full or overdue else 0)


ALONE = BatchRule(1, frozenset(), 0)
"""The rule of a model with batching that must not batch: its requests have keys, and each is run at once."""
