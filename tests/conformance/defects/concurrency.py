"""Defects under many threads. Short sleeps stand for the time that an engine takes without the GIL."""

from __future__ import annotations

import ctypes
import threading
import time

from aegisrt.backends.mock import MockBackend
from aegisrt.core.result import Err, Error, ErrorCode, Ok
from tests.conformance.defects.defect import defect
from tests.conformance.defects.seams import Answering


@defect("concurrency.right-answers", "in thread")
class StagesInTheBackend(MockBackend):
    def _execute(self, slot, inputs, outputs):
        self.staged = inputs
        time.sleep(0.0005)
        return super()._execute(slot, self.staged, outputs)


@defect("concurrency.right-answers", "an exception was raised instead of a returned Result: RuntimeError")
class TakesOneThreadOnly(MockBackend):
    thread = None

    def execute(self, request):
        self.thread = self.thread or threading.get_ident()
        if self.thread != threading.get_ident():
            raise RuntimeError("called from another thread")
        return super().execute(request)


@defect("concurrency.first-calls", "wanted Ok, got INTERNAL")
class PreparesAtTheFirstCall(MockBackend):
    def _execute(self, slot, inputs, outputs):
        if not hasattr(self, "prepared"):
            self.prepared = None
            time.sleep(0.002)
            self.prepared = super()._execute
        if self.prepared is None:
            raise RuntimeError("half prepared")
        return super()._execute(slot, inputs, outputs)

    def _unload(self, engine):
        self.__dict__.pop("prepared", None)


@defect("concurrency.more-calls-than-instances", "wanted Ok, got RESOURCE_EXHAUSTED")
class RefusesTheCallsThatWait(MockBackend):
    def __init__(self, *arguments, **more):
        super().__init__(*arguments, **more)
        self.free = threading.Semaphore(self.instances)

    def execute(self, request):
        if not self.free.acquire(blocking=False):
            return Err(Error(ErrorCode.RESOURCE_EXHAUSTED, "every instance is busy"))
        try:
            return super().execute(request)
        finally:
            self.free.release()

    def _execute(self, slot, inputs, outputs):
        time.sleep(0.001)
        return super()._execute(slot, inputs, outputs)


@defect("concurrency.more-calls-than-instances", "of `multi-io`")
class SharesASlot(MockBackend):
    """Has one more instance than slots."""

    def __init__(self, *arguments, instances=1, **more):
        super().__init__(*arguments, instances=instances + 1, **more)

    def _open(self, engine, stream):
        self.slot = super()._open(engine, stream)
        return self.slot

    def _execute(self, slot, inputs, outputs):
        self.slot.inputs = inputs
        time.sleep(0.001)
        return super()._execute(slot, self.slot.inputs, outputs)


@defect("concurrency.many-backends", "wanted Ok, got INTERNAL")
class LoadsThroughAGlobal(MockBackend):
    def _load(self, path):
        type(self).loading = path
        time.sleep(0.005)
        if type(self).loading != path:
            raise RuntimeError("another load came between")
        return super()._load(path)


@defect("concurrency.many-backends", "in thread")
class HasOneModelForAll(MockBackend):
    def _load(self, path):
        type(self).engine = super()._load(path)
        time.sleep(0.005)
        return type(self).engine


@defect("concurrency.unload-races-execute", "a call during load and unload")
class FreesUnderACall(MockBackend):
    """Does not wait for the calls in the model."""

    def unload(self):
        loaded, self._loaded = self._loaded, None
        if loaded:
            self._release(loaded.engine, loaded.slots)
        return Ok(None)

    def _execute(self, slot, inputs, outputs):
        time.sleep(0.001)
        if slot.outputs is None:
            raise RuntimeError("the model was freed")
        return super()._execute(slot, inputs, outputs)

    def _close(self, slot):
        slot.outputs = None


@defect("concurrency.load-races-execute", "a call during load and unload: wanted Ok, got NOT_LOADED")
class UnloadsBeforeItLoads(MockBackend):
    def load(self, path):
        self.unload()
        return super().load(path)

    def _load(self, path):
        time.sleep(0.002)
        return super()._load(path)


@defect("concurrency.lifecycle-from-many-threads", "wanted Ok, got FAILED_PRECONDITION")
class RefusesALoadDuringALoad(MockBackend):
    def __init__(self, *arguments, **more):
        super().__init__(*arguments, **more)
        self.busy = threading.Lock()

    def load(self, path):
        if not self.busy.acquire(blocking=False):
            return Err(Error(ErrorCode.FAILED_PRECONDITION, "a load is running"))
        try:
            return super().load(path)
        finally:
            self.busy.release()

    def _load(self, path):
        time.sleep(0.005)
        return super()._load(path)


@defect("concurrency.lifecycle-from-many-threads", "did not return within 3 s", time_limit_s=3.0)
class LocksInTwoOrders(MockBackend):
    """`load` takes the first lock and then the second, `unload` the other way round."""

    def __init__(self, *arguments, **more):
        super().__init__(*arguments, **more)
        self.first, self.second = threading.Lock(), threading.Lock()

    def load(self, path):
        with self.first:
            time.sleep(0.005)
            with self.second:
                return super().load(path)

    def unload(self):
        with self.second:
            time.sleep(0.005)
            with self.first:
                return super().unload()


@defect("concurrency.unload-waits", "unload returned")
class DoesNotWait(MockBackend):
    def unload(self):
        self._loaded = None
        return Ok(None)


@defect("concurrency.unload-waits", "a call during unload: wanted Ok, got CANCELLED")
class CancelsWhatRuns(Answering):
    def execute(self, request):
        result = super().execute(request)
        return result if self._loaded else Err(Error(ErrorCode.CANCELLED, "the model was unloaded"))


@defect("concurrency.python-runs-meanwhile", "another thread ran")
class KeepsTheGil(MockBackend):
    def _execute(self, slot, inputs, outputs):
        delay_ms, slot.delay_ms = slot.delay_ms, 0.0
        ctypes.PyDLL(None).usleep(int(delay_ms * 1e3))
        values = super()._execute(slot, inputs, outputs)
        slot.delay_ms = delay_ms
        return values
