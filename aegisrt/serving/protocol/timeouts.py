"""`shortest_ms`: the time limit of a request, the smallest of what its client sent."""

from __future__ import annotations

import math
import re

from aegisrt.core.result import ErrorCode, fail
from aegisrt.core.suggest import quoted

TIMEOUT_HEADER = "aegisrt-timeout-ms"
_GRPC_TIMEOUT = re.compile(r"([0-9]{1,8})([HMSmun])")
_UNIT_MS = {"H": 3_600_000.0, "M": 60_000.0, "S": 1000.0, "m": 1.0, "u": 1e-3, "n": 1e-6}


def shortest_ms(*, parameter_us: int | None = None, header: str | None = None) -> float | None:
    """Return the time limit of a request in milliseconds; None without one.

    `parameter_us` is the `timeout` parameter, and `header` the value of `aegisrt-timeout-ms`.
    INVALID_ARGUMENT: if the header is not a number above 0.
    """
    limits = [] if parameter_us is None else [parameter_us / 1e3]
    if header is not None:
        limits.append(_milliseconds(header))
    return min(limits, default=None)


def _milliseconds(header: str) -> float:
    try:
        value = float(header)
    except ValueError:
        value = math.nan
    if not (value > 0 and math.isfinite(value)):
        message = f"the header `{TIMEOUT_HEADER}` is {quoted(header)}"
        raise fail(ErrorCode.INVALID_ARGUMENT, message, "give a number of milliseconds above 0")
    return value


def grpc_timeout_ms(header: str) -> float:
    """Return the value of a `grpc-timeout` header in milliseconds.

    https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md: up to 8 digits, and a unit.
    INVALID_ARGUMENT: if it is not of that form.
    """
    match = _GRPC_TIMEOUT.fullmatch(header)
    if match is None:
        raise fail(ErrorCode.INVALID_ARGUMENT, f"the header `grpc-timeout` is {quoted(header)}, not a time")
    return int(match[1]) * _UNIT_MS[match[2]]
