"""`Traffic`: what the server counts of its answers: statuses, times and bytes."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from itertools import accumulate

from aegisrt.runtime.metrics import TIME_BOUNDS_US, Histogram

_BOUNDS_NS = tuple(bound * 1000 for bound in TIME_BOUNDS_US)


class Traffic:
    """Counts of one server. It belongs to the loop's thread; another thread may read it, and sees a recent state."""

    def __init__(self) -> None:
        self.bytes_in = self.bytes_out = 0
        self._statuses: dict[tuple[str, str, str], int] = defaultdict(int)
        self._counts: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0] * (len(_BOUNDS_NS) + 1))
        self._sums_ns: dict[tuple[str, str], int] = defaultdict(int)

    def answered(self, protocol: str, endpoint: str, status: int, elapsed_ns: int, size: tuple[int, int]) -> None:
        """Count an answer; `size` is the bytes of the request's body and of the answer's."""
        key = (protocol, endpoint)
        self._statuses[protocol, endpoint, str(status)] += 1
        self._counts[key][bisect_left(_BOUNDS_NS, elapsed_ns)] += 1
        self._sums_ns[key] += elapsed_ns
        self.bytes_in += size[0]
        self.bytes_out += size[1]

    def statuses(self) -> dict[tuple[str, str, str], int]:
        """Return the number of answers by protocol, endpoint and status."""
        return dict(self._statuses)

    def times(self) -> dict[tuple[str, str], Histogram]:
        """Return the times of answers in microseconds by protocol and endpoint."""
        return {
            key: Histogram(TIME_BOUNDS_US, tuple(accumulate(counts)), self._sums_ns[key] / 1000)
            for key, counts in dict(self._counts).items()
        }
