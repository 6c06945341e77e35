"""A child has limits, its error is the caller's, and its death is an error too."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from aegisrt.backends.process.job import Limits, run_child
from aegisrt.core.result import ErrorCode, ResultError

MODULE = "tests.backends.process.child_jobs"


@pytest.fixture
def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).resolve().parents[3]))

    def run(what, timeout_s=20.0, silence_s=math.inf, progress=None, environment=(), **job):
        limits = Limits(timeout_s, 2**30, silence_s)
        job, log = {"what": what, **job}, tmp_path / "log"
        return run_child(MODULE, job, tmp_path, limits=limits, log=log, environment=environment, progress=progress)

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


def test_an_error_of_the_child_is_raised_with_the_log(ask, tmp_path):
    found = error(ask, "fail")
    assert found.code is ErrorCode.UNIMPLEMENTED
    assert found.message == "no such operator"
    assert found.log == str(tmp_path / "log")
    assert str(tmp_path) not in (found.hint or "")
    assert f"the log is {tmp_path / 'log'}" in str(found)


def test_an_exception_of_the_child_is_internal_and_says_what_it_was(ask):
    found = error(ask, "raise")
    assert found.code is ErrorCode.INTERNAL
    assert found.cause == "ZeroDivisionError: by nothing"
    assert error(ask, "raise with a mark").cause == "ValueError: of two\nlines"


def test_the_cause_of_a_death_is_the_end_of_the_log_without_marks(ask):
    assert error(ask, "crash with a mark").cause == "compiling\nit is too large"


def test_a_crash_is_internal_and_names_the_signal(ask):
    assert "SIGSEGV" in error(ask, "crash").message


def test_a_full_disk_is_told_apart_from_a_crash(ask, tmp_path):
    found = error(ask, "fill")
    assert found.code is ErrorCode.RESOURCE_EXHAUSTED
    assert "No space left on device" in found.cause
    assert f"free space in {tmp_path} and in {tempfile.gettempdir()}" in found.hint


def test_temporary_files_of_a_child_that_died_are_deleted(ask, tmp_path, monkeypatch):
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setenv("TMPDIR", str(folder))
    error(ask, "litter")
    assert list(folder.iterdir()) == []


def test_a_hang_is_stopped_at_the_limit_with_all_that_it_started(ask, tmp_path):
    started = time.monotonic()
    assert error(ask, "hang", timeout_s=1.5, folder=str(tmp_path)).code is ErrorCode.DEADLINE_EXCEEDED
    assert time.monotonic() - started < 10
    assert_ends(int((tmp_path / "pid").read_text()))


def test_a_child_that_says_nothing_is_stopped(ask, tmp_path):
    found = error(ask, "hang", silence_s=1.5, folder=str(tmp_path))
    assert found.code is ErrorCode.DEADLINE_EXCEEDED
    assert "no output for 1.5 s" in found.message


def test_a_child_ends_with_its_parent_even_one_that_is_killed(tmp_path):
    program = (
        "from pathlib import Path; from aegisrt.backends.process.job import Limits, run_child; folder = Path({0!r});"
        "job = dict(what='hang', folder={0!r});"
        "run_child({1!r}, job, folder, limits=Limits(60, 2**30), log=folder / 'log')"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", program.format(str(tmp_path), MODULE)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[3])},
    )
    deadline = time.monotonic() + 20
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
        assert time.monotonic() < deadline, "the child did not start"
        time.sleep(0.05)
    parent.kill()
    parent.wait()
    assert_ends(int((tmp_path / "pid").read_text()))


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_DATA counts mappings on Linux alone")
@pytest.mark.parametrize(
    "what", ["eat", "eat in C++", "eat below another error", "eat and hold on", "crash on a refused allocation"]
)
def test_memory_is_limited_and_the_limit_s_option_named(ask, what, tmp_path):
    found = error(ask, what)
    assert found.code is ErrorCode.RESOURCE_EXHAUSTED
    assert "1 GiB, which `build.memory_bytes` sets" in found.message
    assert (found.hint, found.log) == ("raise `build.memory_bytes`", str(tmp_path / "log"))


def assert_ends(pid: int) -> None:
    deadline = time.monotonic() + 5
    while alive(pid):
        assert time.monotonic() < deadline, "the child's own child lives on"
        time.sleep(0.05)


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_the_environment_is_an_allow_list(ask, monkeypatch):
    for name in ("MY_TOKEN", "AWS_SECRET_ACCESS_KEY", "GITHUB_TOKEN", "LICENSE_FILE", "CXX", "OMP_NUM_THREADS"):
        monkeypatch.setenv(name, "1")
    answer = ask("environment", environment=["LICENSE_FILE"])
    assert {"PATH", "PYTHONPATH", "CXX", "OMP_NUM_THREADS", "LICENSE_FILE"} <= set(answer["names"])
    assert not {"MY_TOKEN", "AWS_SECRET_ACCESS_KEY", "GITHUB_TOKEN"} & set(answer["names"])
    assert "aegisrt-" in answer["temporary"]


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "7",
        "{",
        "[" * 100_000,
        '{"error": 1}',
        '{"error": {"code": "OWNED", "message": "m", "hint": null, "cause": null}}',
        '{"error": {"code": ["INTERNAL"], "message": "m", "hint": null, "cause": null}}',
        '{"error": {"code": "INTERNAL"}}',
        '{"a": "%s"}' % ("x" * (1 << 24)),
        "\ud800",
    ],
)
def test_an_answer_of_another_form_is_internal(ask, text):
    assert error(ask, "answer", text=text).code is ErrorCode.INTERNAL


def test_the_texts_of_an_error_are_texts(ask):
    fields = '"code": "INTERNAL", "message": {"a": 1}, "hint": 2, "cause": [3]'
    found = error(ask, "answer", text=f'{{"error": {{{fields}}}}}')
    assert (found.message, found.cause) == ("{'a': 1}", "[3]")


def test_output_without_an_end_fills_neither_memory_nor_disk(ask, tmp_path):
    assert ask("endless line", timeout_s=120.0) == {}
    assert (tmp_path / "log").stat().st_size <= (1 << 26) + (1 << 16)
