"""Defects of memory, files and threads."""

from __future__ import annotations

import os
import threading

from aegisrt.backends.mock import MockBackend
from aegisrt.core.result import Err, Error, ErrorCode, Ok
from tests.conformance.defects.defect import defect
from tests.conformance.defects.sound import OnGpu

kept = []
weights = bytearray()


def touched(size):
    """Return `size` bytes that are resident: pages of zeros cost nothing until they are written."""
    return bytearray(b"x") * size


@defect("memory.load-cycles", "resident memory grew")
class KeepsTheWeights(MockBackend):
    def _load(self, path):
        weights.extend(b"x" * 1_000_000)
        return super()._load(path)


@defect("memory.load-cycles", "Python holds")
class KeepsAnEntryForEachLoad(MockBackend):
    def _load(self, path):
        kept.append(object())
        return super()._load(path)


@defect("memory.calls", "Python holds")
class KeepsAnEntryForEachCall(MockBackend):
    def _execute(self, slot, inputs, outputs):
        kept.append(object())
        return super()._execute(slot, inputs, outputs)


@defect("memory.calls", "resident memory grew")
class KeepsTheWorkspaceOfEachCall(MockBackend):
    size = 0

    def _execute(self, slot, inputs, outputs):
        if slot.calls % 100 == 0:
            kept.append(touched(400_000))
        return super()._execute(slot, inputs, outputs)


@defect("memory.fresh-backends", "backends dropped without unload: Python holds")
class RegistersItself(MockBackend):
    def __init__(self, *arguments, **more):
        super().__init__(*arguments, **more)
        kept.append(self)


@defect("memory.files-and-threads", "more files are open")
class LeavesTheFileOpen(MockBackend):
    def _load(self, path):
        kept.append(os.open(path, os.O_RDONLY))
        return super()._load(path)


@defect("memory.files-and-threads", "more threads run")
class LeavesAThreadRunning(MockBackend):
    def _load(self, path):
        threading.Thread(target=threading.Event().wait, daemon=True).start()
        return super()._load(path)


@defect("memory.device-cycles", "device memory grew by", device="cuda")
class KeepsDeviceMemory(OnGpu):
    def _unload(self, engine):
        pass


@defect("memory.told", "memory() is 0, wanted bytes")
class GuessesNothing(MockBackend):
    def _memory(self):
        return 0


@defect("memory.told", "memory() is 1048576.0, wanted bytes")
class TellsAFraction(MockBackend):
    def _memory(self):
        return (1 << 20) / 1


@defect("memory.told", "memory() after unload: wanted NOT_LOADED, got Ok")
class HoldsMemoryAfterUnload(MockBackend):
    loads = 0

    def load(self, path):
        self.loads += 1
        return super().load(path)

    def memory(self):
        return Ok(1 << 20) if self.loads else super().memory()


@defect("memory.told", "memory() of a loaded model: wanted UNIMPLEMENTED, got INTERNAL")
class FailsToTell(MockBackend):
    def memory(self):
        return Err(Error(ErrorCode.INTERNAL, "no driver")) if self.signature else super().memory()
