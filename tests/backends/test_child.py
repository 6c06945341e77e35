"""A child has limits, its error is the caller's, and its death is an error too."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from aegisrt.backends.child import Limits, run_child
from aegisrt.core.result import ErrorCode, ResultError

MODULE = "tests.backends.child_jobs"


@pytest.fixture
def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).resolve().parents[2]))

    def run(what, timeout_s=20.0, progress=None, **job):
        limits = Limits(timeout_s, 2**30)
        log = tmp_path / "log"
        return run_child(MODULE, {"what": what, **job}, tmp_path, limits=limits, log=log, progress=progress)

    return run


def error(ask, *args, **kwargs):
    with pytest.raises(ResultError) as caught:
        ask(*args, **kwargs)
    return caught.value.error


def test_the_answer_comes_back_and_progress_is_told(ask, tmp_path):
    told = []
    assert ask("echo", value=7, progress=told.append) == {"value": 7}
    assert told == ["half way"]
    assert (tmp_path / "log").read_text() == "a word for the log\n"


def test_an_error_of_the_child_is_raised_with_the_log_in_its_hint(ask, tmp_path):
    found = error(ask, "fail")
    assert found.code is ErrorCode.UNIMPLEMENTED
    assert found.message == "no such operator"
    assert str(tmp_path / "log") in found.hint


def test_an_exception_of_the_child_is_internal_and_says_what_it_was(ask):
    found = error(ask, "raise")
    assert found.code is ErrorCode.INTERNAL
    assert "ZeroDivisionError" in found.cause


def test_a_crash_is_internal_and_names_the_signal(ask):
    assert "SIGSEGV" in error(ask, "crash").message


def test_a_hang_is_stopped_at_the_limit_with_all_that_it_started(ask, tmp_path):
    started = time.monotonic()
    assert error(ask, "hang", timeout_s=1.5, folder=str(tmp_path)).code is ErrorCode.DEADLINE_EXCEEDED
    assert time.monotonic() - started < 10
    grandchild = int((tmp_path / "pid").read_text())
    deadline = time.monotonic() + 5
    while alive(grandchild):
        assert time.monotonic() < deadline, "the child's own child lives on"
        time.sleep(0.05)


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_DATA counts mappings on Linux alone")
def test_memory_is_limited(ask):
    assert error(ask, "eat").code is ErrorCode.RESOURCE_EXHAUSTED


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"
