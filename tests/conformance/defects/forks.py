"""Defects of a process that is forked after a load."""

from __future__ import annotations

import atexit
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor

from aegisrt.backends.mock import MockBackend
from tests.conformance.defects.defect import defect

CHECK = "lifecycle.fork-after-load"


class Pool:
    """The threads of an engine: they exist only in the process that started them."""

    def __init__(self):
        self.owner = os.getpid()

    def __del__(self):
        if self.owner != os.getpid():
            time.sleep(600)  # for a thread that is not there


@defect(CHECK, "a child that was forked after load and keeps the backend did not end within 1 s", time_limit_s=4.0)
class WaitsForItsThreadsWhenItIsDestroyed(MockBackend):
    def _load(self, path):
        self.pool = Pool()
        return super()._load(path)


@defect(CHECK, "keeps the backend died of SIGSEGV")
class CrashesAtExit(MockBackend):
    def _load(self, path):
        atexit.register(self._end, os.getpid())
        return super()._load(path)

    def _end(self, owner):
        if os.getpid() != owner:
            os.kill(os.getpid(), signal.SIGSEGV)


@defect(CHECK, "keeps the backend ended with exit code 0, wanted 7")
class TakesTheExitCode(MockBackend):
    def _load(self, path):
        atexit.register(self._end, os.getpid())
        return super()._load(path)

    def _end(self, owner):
        if os.getpid() != owner:
            os._exit(0)


class NativeObject:
    """Aborts if a fork frees it before the interpreter ends."""

    def __init__(self, owner):
        self.owner = owner

    def __del__(self):
        if self.owner != os.getpid() and not _ending:
            os.abort()


_ending: list[bool] = []
atexit.register(_ending.append, True)


@defect(CHECK, "drops the backend died of SIGABRT")
class CrashesWhenItIsDropped(MockBackend):
    def _load(self, path):
        self.native = NativeObject(os.getpid())
        return super()._load(path)


@defect(CHECK, "calls the backend failed: execute: wanted FAILED_PRECONDITION, got Ok")
class ServesTheParentsModel(MockBackend):
    """The engine need not work in a child, even if this one does."""

    def _become_copy(self):
        pass


@defect(CHECK, "loads a model of its own did not end within 1 s", time_limit_s=4.0)
class HasOnePoolOfThreadsForEver(MockBackend):
    pool = ThreadPoolExecutor(1)

    def _execute(self, slot, inputs, outputs):
        return self.pool.submit(super()._execute, slot, inputs, outputs).result()


@defect(CHECK, "after forks: output `y` of `affine`")
class AnswersOtherwiseAfterAFork(MockBackend):
    """Fails only after the first forks, which the check makes before it measures."""

    forks = 0

    def _execute(self, slot, inputs, outputs):
        results = super()._execute(slot, inputs, outputs)
        return [value + (1 if AnswersOtherwiseAfterAFork.forks > 3 else 0) for value in results]


def _count_forks() -> None:
    AnswersOtherwiseAfterAFork.forks += 1


os.register_at_fork(after_in_parent=_count_forks)
