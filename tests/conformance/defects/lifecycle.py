"""Defects of load, execute and unload."""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import replace
from types import MappingProxyType

from aegisrt.backends.mock import MockBackend, _MockSlot
from aegisrt.core.result import Err, Error, ErrorCode, Ok
from tests.conformance.defects.defect import defect
from tests.conformance.defects.seams import Answering


def refused(code, message="refused"):
    return Err(Error(code, message))


@defect("lifecycle.load-valid-model", "wanted Ok, got INTERNAL")
class RefusesAGoodFile(MockBackend):
    def _load(self, path):
        raise RuntimeError("not today")


@defect("lifecycle.load-valid-model", "load answers Ok(None), got Ok(True)")
class LoadAnswersAValue(MockBackend):
    def load(self, path):
        super().load(path)
        return Ok(True)


@defect("lifecycle.load-valid-model", "wanted a Result, got None")
class LoadAnswersNothing(MockBackend):
    def load(self, path):
        super().load(path)


@defect("lifecycle.execute-after-load", "`metadata` lacks the `request_id`")
class ForgetsTheRequestId(Answering):
    def answer(self, result):
        return replace(result, metadata={})


@defect("lifecycle.execute-after-load", "`backend` is ''")
class LeavesTheBackendEmpty(Answering):
    def answer(self, result):
        return replace(result, backend="")


@defect("lifecycle.execute-after-load", "`device` is 'gpu'")
class NamesAnotherDevice(Answering):
    def answer(self, result):
        return replace(result, device="gpu")


@defect("lifecycle.execute-after-load", "`outputs` is a mappingproxy")
class OutputsAreNoDict(Answering):
    def answer(self, result):
        return replace(result, outputs=MappingProxyType(result.outputs))


@defect("lifecycle.execute-after-load", "`timings` is a tuple")
class TimingsArePlainTuple(Answering):
    def answer(self, result):
        return replace(result, timings=tuple(result.timings))


@defect("lifecycle.execute-after-load", "wanted an ExecutionResult, got a dict")
class AnswersTheOutputsAlone(Answering):
    def answer(self, result):
        return result.outputs


@defect("lifecycle.not-loaded-before-load", "wanted NOT_LOADED, got FAILED_PRECONDITION")
class AnotherCodeBeforeLoad(Answering):
    def refuse(self, error):
        return replace(error, code=ErrorCode.FAILED_PRECONDITION) if self.signature is None else error


@defect("lifecycle.not-loaded-before-load", "an exception was raised instead of a returned Result: RuntimeError")
class RaisesBeforeLoad(MockBackend):
    def execute(self, request):
        if self.signature is None:
            raise RuntimeError("load a model first")
        return super().execute(request)


@defect("lifecycle.unload-any-number-of-times", "unload before any load: wanted Ok, got NOT_LOADED")
class UnloadNeedsAModel(MockBackend):
    def unload(self):
        return super().unload() if self.signature else refused(ErrorCode.NOT_LOADED)


@defect("lifecycle.unload-any-number-of-times", "second unload: wanted Ok, got INTERNAL")
class UnloadsOnce(MockBackend):
    loads = unloads = 0

    def load(self, path):
        self.loads += 1
        return super().load(path)

    def unload(self):
        self.unloads += self.loads > 0
        return refused(ErrorCode.INTERNAL) if self.unloads > self.loads else super().unload()


@defect("lifecycle.load-after-unload", "load after unload: wanted Ok, got FAILED_PRECONDITION")
class LoadsOnce(MockBackend):
    used = False

    def load(self, path):
        return refused(ErrorCode.FAILED_PRECONDITION) if self.used else super().load(path)

    def unload(self):
        self.used = self.signature is not None
        return super().unload()


@defect("lifecycle.load-after-unload", "load after unload: wanted Ok, got RESOURCE_EXHAUSTED")
class LoadsThreeTimes(MockBackend):
    """Takes one of three places at each load, and releases none."""

    places = 3

    def load(self, path):
        self.places -= 1
        return super().load(path) if self.places >= 0 else refused(ErrorCode.RESOURCE_EXHAUSTED)


@defect("lifecycle.errors-are-results", "an exception was raised instead of a returned Result: TypeError")
class TrustsTheInputs(Answering):
    def ask(self, request):
        return replace(request, inputs=dict(request.inputs))


@defect("lifecycle.errors-are-results", "an exception was raised instead of a returned Result: SystemExit")
class LeavesAtAFileOfJunk(MockBackend):
    def _load(self, path):
        if path.name.startswith("junk"):
            sys.exit(3)
        return super()._load(path)


@defect("lifecycle.errors-are-results", "the process died of SIGSEGV: in `_load` at lifecycle.py")
class CrashesAtAFileOfJunk(MockBackend):
    def _load(self, path):
        if path.name.startswith("junk"):
            os.kill(os.getpid(), signal.SIGSEGV)
        return super()._load(path)


@defect("lifecycle.errors-are-results", "the process ended with exit code 3: fatal: bad file")
class EndsTheProcessAtAFileOfJunk(MockBackend):
    def _load(self, path):
        if path.name.startswith("junk"):
            print("fatal: bad file", file=sys.stderr, flush=True)
            os._exit(3)
        return super()._load(path)


@defect("lifecycle.errors-are-results", "memory() did not return a Result")
class MemoryAnswersANumber(MockBackend):
    def memory(self):
        return 4096


@defect("lifecycle.not-loaded-after-unload", "execute after unload: wanted NOT_LOADED, got Ok")
class ServesAfterUnload(MockBackend):
    def unload(self):
        return Ok(None)


@defect("lifecycle.load-replaces-the-model", "of `affine-other`")
class KeepsTheFirstModel(MockBackend):
    first = None

    def _load(self, path):
        self.first = self.first or super()._load(path)
        return self.first


@defect("lifecycle.load-replaces-the-model", "over a loaded model: wanted Ok, got ALREADY_EXISTS")
class RefusesASecondLoad(MockBackend):
    def load(self, path):
        return refused(ErrorCode.ALREADY_EXISTS) if self.signature else super().load(path)


@defect("lifecycle.load-same-file-twice", "second load of the same file: wanted Ok, got ALREADY_EXISTS")
class RefusesTheSameFile(MockBackend):
    loaded_from = None

    def load(self, path):
        if self.signature and path == self.loaded_from:
            return refused(ErrorCode.ALREADY_EXISTS)
        self.loaded_from = path
        return super().load(path)


@defect("lifecycle.load-same-file-twice", "execute after two loads and one unload: wanted NOT_LOADED, got Ok")
class CountsItsLoads(MockBackend):
    loads = 0

    def load(self, path):
        self.loads += 1
        return super().load(path)

    def unload(self):
        self.loads = max(0, self.loads - 1)
        return Ok(None) if self.loads else super().unload()


@defect("lifecycle.reload-changed-file", "after the file was replaced and loaded again: output `y` of `affine-other`")
class CachesByPath(MockBackend):
    cache = {}  # noqa: RUF012

    def _load(self, path):
        if path not in self.cache:
            self.cache[path] = super()._load(path)
        return self.cache[path]


@defect("lifecycle.two-backends-are-independent", "beside another backend")
class KeepsTheModelInTheClass(MockBackend):
    def _load(self, path):
        engine = super()._load(path)
        type(self).current = engine
        return engine

    def _execute(self, slot, inputs, outputs):
        return super()._execute(_MockSlot(self.current), inputs, outputs)


@defect("lifecycle.two-backends-are-independent", "after another backend was unloaded: wanted Ok, got INTERNAL")
class UnloadsTheEngineOfAll(MockBackend):
    unloaded = False

    def _load(self, path):
        type(self).unloaded = False
        return super()._load(path)

    def _unload(self, engine):
        type(self).unloaded = True

    def _execute(self, slot, inputs, outputs):
        if self.unloaded:
            raise RuntimeError("the engine was shut down")
        return super()._execute(slot, inputs, outputs)


@defect("lifecycle.construction-opens-nothing", "memory() before load: wanted NOT_LOADED, got Ok")
class HoldsMemoryFromTheStart(MockBackend):
    def memory(self):
        return Ok(1 << 20)


@defect("lifecycle.construction-opens-nothing", "`signature` is not None before load")
class HasASignatureFromTheStart(MockBackend):
    @property
    def signature(self):
        return super().signature or ()
