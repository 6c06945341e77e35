"""`InFlight`: how many requests, and how many bytes of them, the server holds at once."""

from __future__ import annotations

import math
import random

from aegisrt.core.result import Error, ErrorCode
from aegisrt.manifest.server import ServerLimitOptions

_LONGEST_S = 30


class InFlight:
    """Counts what is not answered yet. It belongs to the loop's thread."""

    def __init__(self, limits: ServerLimitOptions) -> None:
        self._limits = limits
        self.requests = 0
        self.bytes = 0

    def enter(self, size: int) -> Error | None:
        """Count a request of `size` bytes; return RESOURCE_EXHAUSTED if it is too much, and count nothing."""
        if self.requests >= self._limits.requests_in_flight:
            return _full(f"{self.requests} requests are in flight, the most that the server accepts")
        if self.bytes + size > self._limits.bytes_in_flight and self.bytes:
            return _full(f"the requests in flight have {self.bytes} bytes, and this one {size}")
        self.requests += 1
        self.bytes += size
        return None

    def add(self, more: int, held: int) -> Error | None:
        """Count `more` bytes of a request of `held` bytes; return RESOURCE_EXHAUSTED if it is too much."""
        others = self.bytes - held
        if self.bytes + more > self._limits.bytes_in_flight and others:
            return _full(f"the other requests in flight have {others} bytes, and this one {held + more}")
        self.bytes += more
        return None

    def leave(self, size: int) -> None:
        """Release a request that was counted."""
        self.requests -= 1
        self.bytes -= size


class Held:
    """What one request holds of the server's limits, from its beginning to the end of its answer."""

    __slots__ = ("_in_flight", "_is_in", "_size", "received")

    def __init__(self, in_flight: InFlight) -> None:
        self._in_flight = in_flight
        self._is_in = False
        self._size = 0
        self.received = 0
        """Bytes of the body that arrived, as they were sent."""

    def enter(self, size: int) -> Error | None:
        """Count the request; return RESOURCE_EXHAUSTED if it is too much."""
        full = self._in_flight.enter(size)
        if full is None:
            self._is_in, self._size = True, size
        return full

    def grow(self, size: int) -> Error | None:
        """Hold `size` bytes if that is more than now; return RESOURCE_EXHAUSTED if it is too much."""
        more = size - self._size
        if more <= 0:
            return None
        full = self._in_flight.add(more, self._size)
        if full is None:
            self._size = size
        return full

    def leave(self) -> None:
        """Release all."""
        if self._is_in:
            self._in_flight.leave(self._size)
            self._is_in = False


def _full(message: str) -> Error:
    return Error(ErrorCode.RESOURCE_EXHAUSTED, message, "send it again a little later", retry=True)


def retry_after_s(queued: int, mean_call_ns: float | None, instances: int) -> int:
    """Return after how many seconds a refused request may be sent again, from 1 to 30.

    The time that the waiting requests need, with up to half of it at random, so that not all clients return at once.
    """
    wait_s = queued * (mean_call_ns or 0.0) / max(instances, 1) / 1e9
    spread_s = wait_s * (1 + random.random() / 2)  # noqa: S311  (a delay, not a secret)
    return max(1, min(_LONGEST_S, math.ceil(spread_s)))
