"""`deadline_ns`: a request's time limit as a moment on the monotonic clock; `left_s`: the time until it."""

from __future__ import annotations

import threading
from numbers import Real
from time import perf_counter_ns

from aegisrt.core.result import Err, Error, ErrorCode, fail


def deadline_ns(timeout_ms: float, entered_ns: int) -> int:
    """Return the absolute deadline in ns of `time.perf_counter_ns`, for a request that entered at `entered_ns`.

    INVALID_ARGUMENT: if `timeout_ms` is not a number.
    DEADLINE_EXCEEDED: if it is 0 or less.
    """
    if isinstance(timeout_ms, bool) or not isinstance(timeout_ms, Real) or timeout_ms != timeout_ms:
        raise fail(ErrorCode.INVALID_ARGUMENT, f"timeout_ms is {timeout_ms!r}, not a number of milliseconds")
    if timeout_ms <= 0:
        raise fail(ErrorCode.DEADLINE_EXCEEDED, "the deadline had passed before the engine started")
    return entered_ns + int(min(timeout_ms, 1e12) * 1e6)


def left_s(deadline: int) -> float:
    """Return the seconds until a deadline: 0 if it has passed, and at most what a lock can wait."""
    return min(max(0, deadline - perf_counter_ns()) / 1e9, threading.TIMEOUT_MAX)


def late(when: str, hint: str | None = None) -> Err:
    """Return DEADLINE_EXCEEDED: the deadline passed `when`."""
    return Err(Error(ErrorCode.DEADLINE_EXCEEDED, f"the deadline passed {when}", hint))
