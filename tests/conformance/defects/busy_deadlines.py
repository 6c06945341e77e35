"""Defects of deadlines while the engine is busy."""

from __future__ import annotations

import threading
from dataclasses import replace

from aegisrt.backends.mock import MockBackend
from aegisrt.core.result import Err, Error, ErrorCode, Ok
from tests.conformance.defects.concurrency import KeepsTheGil
from tests.conformance.defects.defect import defect


@defect("deadlines.busy-engine", "were abandoned")
class NobodyRunsMeanwhile(KeepsTheGil):
    """Keeps the caller past its deadline."""


@defect("deadlines.busy-engine", "a call after those abandoned: output `y` of")
class TheNextGetsTheLateAnswer(MockBackend):
    late = None

    def execute(self, request):
        result = super().execute(replace(request, timeout_ms=None))
        earlier, self.late = self.late, result if request.timeout_ms is not None else None
        return earlier or result


@defect("deadlines.busy-engine", "a call after those abandoned: wanted Ok, got CANCELLED")
class ALateCallSpoilsTheInstance(MockBackend):
    spoiled = False

    def execute(self, request):
        if self.spoiled:
            return Err(Error(ErrorCode.CANCELLED, "the context was cancelled"))
        result = super().execute(request)
        self.spoiled = isinstance(result, Err)
        return result


@defect("deadlines.busy-instances", "after it was free again")
class WaitsInALine(MockBackend):
    """Takes one lock around every call before the deadline is checked."""

    def __init__(self, *arguments, **more):
        super().__init__(*arguments, **more)
        self.line = threading.Lock()

    def execute(self, request):
        with self.line:
            return super().execute(request)


@defect("deadlines.busy-instances", "a call while the only instance is busy: wanted DEADLINE_EXCEEDED, got UNAVAILABLE")
class TurnsAwayWhoWouldWait(MockBackend):
    def execute(self, request):
        result = super().execute(request)
        late = isinstance(result, Err) and result.error.code is ErrorCode.DEADLINE_EXCEEDED
        return Err(Error(ErrorCode.UNAVAILABLE, "no free instance")) if late else result


@defect("deadlines.busy-instances", "the call that another waited for: wanted Ok, got CANCELLED")
class WhoGivesUpEndsTheOther(MockBackend):
    ended = False

    def execute(self, request):
        result = super().execute(request)
        if isinstance(result, Err):
            self.ended = True
        elif self.ended and isinstance(result, Ok):
            return Err(Error(ErrorCode.CANCELLED, "the stream was cancelled"))
        return result
