"""`execute` on an idle model: the caller's own thread, and few steps. How long they take is `bench.dispatch`'s."""

import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import aegisrt
from aegisrt import ExecutionRequest, deploy
from tests.runtime.models import affine

PACKAGE = str(Path(aegisrt.__file__).parent)
MOST_CALLS = 11
MOST_LOCKS = 2


class CountingLock:
    """A lock that counts how often any lock of its class was acquired, by the caller that turned counting on."""

    acquired: list[str] | None = None
    _new = threading.Lock

    def __init__(self) -> None:
        self._lock = type(self)._new()

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        if self.acquired is not None:
            self.acquired.append(sys._getframe(1).f_code.co_qualname)
        return self._lock.acquire(blocking, timeout)

    def release(self) -> None:
        self._lock.release()

    def locked(self) -> bool:
        return self._lock.locked()

    def __enter__(self) -> bool:
        if self.acquired is not None:
            self.acquired.append(sys._getframe(1).f_code.co_qualname)
        return self._lock.acquire()

    def __exit__(self, *error: object) -> None:
        self._lock.release()


class CountingRLock(CountingLock):
    _new = threading.RLock

    def locked(self) -> bool:
        return False


@pytest.fixture
def context(tmp_path, monkeypatch):
    manifest = {"models": {"one": {"path": str(affine(tmp_path, "one", 2.0)), "backend": "mock"}}}
    with monkeypatch.context() as patch:
        patch.setattr(threading, "Lock", CountingLock)
        patch.setattr(threading, "RLock", CountingRLock)
        deployed = deploy(manifest).unwrap()
    with deployed as context:
        yield context


def calls_of(call) -> list[str]:
    """Return the functions of AegisRT, but for the mock's own, that a call enters."""
    seen: list[str] = []

    def note(frame, event, argument):
        code = frame.f_code
        ours = code.co_filename.startswith(PACKAGE) or code.co_name == "__init__"
        if event == "call" and ours and not code.co_filename.endswith("mock.py"):
            seen.append(code.co_qualname)

    sys.setprofile(note)
    try:
        call()
    finally:
        sys.setprofile(None)
    return seen


def test_a_request_takes_few_calls(context):
    request = ExecutionRequest(inputs={"x": np.ones((2, 4), np.float32)})
    context.execute(request).unwrap()
    calls = calls_of(lambda: context.execute(request))
    assert "ExecutionContext.execute" in calls
    assert calls.count("InputCheck.__call__") == 1
    assert len(calls) <= MOST_CALLS, "\n".join(calls)


def test_a_request_takes_two_locks_and_starts_no_wait_in_c(context, monkeypatch):
    request = ExecutionRequest(inputs={"x": np.ones((2, 4), np.float32)})
    for _ in range(40):
        context.execute(request).unwrap()
    monkeypatch.setattr(CountingLock, "acquired", locks := [])
    context.execute(request).unwrap()
    monkeypatch.setattr(CountingLock, "acquired", None)
    assert "RequestQueue.enter" in locks, "the locks of the deployment must be those that count"
    assert len(locks) <= MOST_LOCKS, "\n".join(locks)
    in_c: list[str] = []

    def note(frame, event, argument):
        if event == "c_call":
            in_c.append(argument.__name__)

    sys.setprofile(note)
    try:
        context.execute(request)
    finally:
        sys.setprofile(None)
    assert in_c.count("acquire") == len(locks), "those of the two locks alone"
    assert not {"put", "wait"} & set(in_c)
    assert in_c.count("perf_counter_ns") == 3, "the times of a call are taken once"


def test_the_metadata_is_copied_where_it_is_read(context, monkeypatch):
    class Noted(dict):
        copies = 0

        def copy(self):
            type(self).copies += 1
            return super().copy()

    loaded = context.backend("one")._loaded
    monkeypatch.setattr(loaded, "origin", replace(loaded.origin, metadata=Noted(engine="1")))
    request = ExecutionRequest(inputs={"x": np.ones((2, 4), np.float32)})
    result = context.execute(request).unwrap()
    assert Noted.copies == 0
    assert (result.metadata, result.metadata is result.metadata) == ({"engine": "1"}, True)
    assert Noted.copies == 1
    result.metadata["engine"] = "mine"
    assert context.execute(request).unwrap().metadata == {"engine": "1"}


def test_a_request_runs_in_the_callers_thread_and_starts_none(context, monkeypatch):
    backend, ran_in = context.backend("one"), []
    execute = type(backend)._execute

    def noted(self, *arguments):
        ran_in.append(threading.get_ident())
        return execute(self, *arguments)

    monkeypatch.setattr(type(backend), "_execute", noted)
    before = set(threading.enumerate())
    context.execute(ExecutionRequest(inputs={"x": np.ones((2, 4), np.float32)})).unwrap()
    assert ran_in == [threading.get_ident()]
    assert set(threading.enumerate()) == before
