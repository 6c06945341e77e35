"""`execute` on an idle model: the caller's own thread, and few steps. How long they take is `bench.dispatch`'s."""

import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import aegisrt
from aegisrt import ExecutionRequest, deploy
from tests.runtime.models import affine

PACKAGE = str(Path(aegisrt.__file__).parent)
MOST_CALLS = 19


@pytest.fixture
def context(tmp_path):
    manifest = {"models": {"one": {"path": str(affine(tmp_path, "one", 2.0)), "backend": "mock"}}}
    with deploy(manifest).unwrap() as context:
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
    assert "InputCheck.__call__" in calls
    assert len(calls) <= MOST_CALLS, "\n".join(calls)


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
