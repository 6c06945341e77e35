"""`StepTimes`: how long each step of one request took."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

Moments: TypeAlias = tuple[int, int, int, int]
"""What is measured of a call: when it entered, how long it waited, when the engine started, and when it had ended.

In nanoseconds of `time.perf_counter_ns`.
"""


class StepTimes(NamedTuple):
    """Nanoseconds on a monotonic clock (`time.perf_counter_ns`); their sum is at most the wall time of the call."""

    queue: int = 0
    """Waiting for a free instance."""
    host_to_device: int = 0
    """Checking the inputs, and copying them to the memory that the engine reads."""
    compute: int = 0
    """Inside the engine: also its own copies."""
    device_to_host: int = 0
    """Copying the outputs to memory that the caller reads, if that is done outside the engine's call."""

    @staticmethod
    def of(moments: Moments) -> StepTimes:
        """Return the steps between the moments of a call."""
        entered, waited, started, ended = moments
        return StepTimes(waited, started - entered - waited, ended - started)
