"""Defects of deadlines."""

from __future__ import annotations

import time
from dataclasses import replace

from aegisrt.core.result import Err, Error, ErrorCode
from tests.conformance.defects.defect import defect
from tests.conformance.defects.seams import Answering


def number(value):
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value


class Limiting(Answering):
    """Passes the timeout of a request, if it is a number, through `limit`."""

    def ask(self, request):
        return replace(request, timeout_ms=self.limit(request.timeout_ms)) if number(request.timeout_ms) else request

    def limit(self, timeout_ms):
        return timeout_ms


@defect("deadlines.expired", "timeout_ms=0: wanted DEADLINE_EXCEEDED, got Ok")
class ZeroMeansNoLimit(Limiting):
    def limit(self, timeout_ms):
        return None if timeout_ms == 0 else timeout_ms


@defect("deadlines.expired", "timeout_ms=-1: wanted DEADLINE_EXCEEDED, got Ok")
class NegativeMeansNoLimit(Limiting):
    def limit(self, timeout_ms):
        return None if timeout_ms < 0 else timeout_ms


@defect("deadlines.expired", "wanted DEADLINE_EXCEEDED, got CANCELLED")
class ExpiredIsCancelled(Answering):
    def refuse(self, error):
        late = error.code is ErrorCode.DEADLINE_EXCEEDED
        return replace(error, code=ErrorCode.CANCELLED) if late else error


@defect("deadlines.engine-not-started", "timeout_ms=0: refused after")
class LooksAtTheDeadlineAfterwards(Answering):
    def execute(self, request):
        if number(request.timeout_ms):
            super().execute(replace(request, timeout_ms=None))
        return super().execute(request)


@defect("deadlines.late-answer", "a slow call with a quarter of its time: wanted DEADLINE_EXCEEDED, got Ok")
class LooksAtTheDeadlineBeforeOnly(Limiting):
    def limit(self, timeout_ms):
        return timeout_ms if timeout_ms < 1 else None


@defect("deadlines.late-answer", "after a late answer")
class ALateAnswerIsTheNextOnes(Answering):
    late = None

    def execute(self, request):
        result = super().execute(replace(request, timeout_ms=None))
        earlier, self.late = self.late, None
        if number(request.timeout_ms):
            self.late = {name: value + 1 for name, value in result.unwrap().outputs.items()}
            return Err(Error(ErrorCode.DEADLINE_EXCEEDED, "late"))
        if earlier:
            result.unwrap().outputs.update(earlier)
        return result


@defect("deadlines.long-enough", "with timeout_ms=2000: wanted Ok, got DEADLINE_EXCEEDED")
class TakesMicroseconds(Limiting):
    def limit(self, timeout_ms):
        return timeout_ms / 1e3


@defect("deadlines.long-enough", "timeout_ms=inf: wanted Ok, got INVALID_ARGUMENT")
class RefusesInfinity(Answering):
    def execute(self, request):
        if request.timeout_ms == float("inf"):
            return Err(Error(ErrorCode.INVALID_ARGUMENT, "timeout_ms is not finite"))
        return super().execute(request)


@defect("deadlines.long-enough", "an exception was raised instead of a returned Result: OverflowError")
class CountsInWholeNanoseconds(Limiting):
    def limit(self, timeout_ms):
        return int(timeout_ms * 1e6) / 1e6


@defect("deadlines.not-a-number", "timeout_ms='50': wanted INVALID_ARGUMENT, got Ok")
class ParsesTheTimeout(Answering):
    def ask(self, request):
        text = isinstance(request.timeout_ms, str)
        return replace(request, timeout_ms=float(request.timeout_ms)) if text else request


@defect("deadlines.not-a-number", "timeout_ms=nan: wanted INVALID_ARGUMENT, got Ok")
class NanMeansNoLimit(Answering):
    def ask(self, request):
        return replace(request, timeout_ms=None) if request.timeout_ms != request.timeout_ms else request


@defect("deadlines.not-a-number", "timeout_ms=True: wanted INVALID_ARGUMENT, got Ok")
class TrueIsOneMillisecond(Answering):
    def ask(self, request):
        return replace(request, timeout_ms=1000) if request.timeout_ms is True else request


@defect("deadlines.counted-anew", "again after 450 ms: wanted Ok, got DEADLINE_EXCEEDED")
class CountsFromTheFirstSight(Answering):
    seen = None

    def ask(self, request):
        self.seen = self.seen or time.monotonic()
        return replace(request, timeout_ms=request.timeout_ms - (time.monotonic() - self.seen) * 1e3)
