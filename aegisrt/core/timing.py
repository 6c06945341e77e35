"""`StepTimes`: where the time of one request went."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple


class StepTimes(NamedTuple):
    """Nanoseconds on a monotonic clock (`time.perf_counter_ns`); their sum is at most the wall time of the call."""

    queue: int = 0
    """Waiting for a free instance."""
    host_to_device: int = 0
    """Checking the inputs, and bringing them to where the engine reads them."""
    compute: int = 0
    """Inside the engine."""
    device_to_host: int = 0
    """Bringing the outputs to where the caller reads them."""


step_times: Callable[[tuple[int, int, int, int]], StepTimes] = partial(tuple.__new__, StepTimes)
"""Return `StepTimes` of four numbers in half the time of `StepTimes(...)`; each request makes them once or twice."""
