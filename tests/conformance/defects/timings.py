"""Defects of the step times."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

from aegisrt.backends.mock import MockBackend
from aegisrt.core.timing import StepTimes
from tests.conformance.defects.defect import defect
from tests.conformance.defects.seams import Answering


class Timing(Answering):
    """Passes the step times through `timed`."""

    def answer(self, result):
        return replace(result, timings=self.timed(result.timings))

    def timed(self, times):
        return times


@defect("timings.present", "`queue` is 0.0")
class TellsSeconds(Timing):
    def timed(self, times):
        return StepTimes(*(step / 1e9 if step else 0.0 for step in times))._replace(queue=0.0)


@defect("timings.present", "`host_to_device` is -1")
class TellsNegativeTimes(Timing):
    def timed(self, times):
        return times._replace(host_to_device=-1)


@defect("timings.present", "`device_to_host` is None")
class LeavesAStepOut(Timing):
    def timed(self, times):
        return times._replace(device_to_host=None)


@defect("timings.present", "`compute` is 0")
class TellsNoTimeAtAll(Timing):
    def timed(self, times):
        return StepTimes()


@defect("timings.within-the-wall", "the steps add up to")
class CountsComputeTwice(Timing):
    def timed(self, times):
        return times._replace(queue=times.queue + 2 * sum(times) + 1_000_000)


@defect("timings.within-the-wall", "the steps add up to")
class TellsTicksOfAnotherClock(Timing):
    def timed(self, times):
        return times._replace(compute=time.time_ns())


@defect("timings.compute-holds-the-work", "`compute` holds")
class EnqueuesOnly(Timing):
    def timed(self, times):
        return times._replace(compute=1, device_to_host=times.device_to_host + times.compute)


@defect("timings.queue-holds-the-wait", "`queue` is")
class WaitsInsideTheEngine(MockBackend):
    """Starts more calls than there are instances; they wait for a lock of the engine."""

    def __init__(self, *arguments, instances=1, **more):
        super().__init__(*arguments, instances=instances + 1, **more)
        self.lock = threading.Lock()

    def _execute(self, slot, inputs, outputs):
        with self.lock:
            return super()._execute(slot, inputs, outputs)
