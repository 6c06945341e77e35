import sys
import threading
import time
from types import ModuleType

import pytest

from aegisrt.backends.mock import MockBackend
from aegisrt.conformance import run
from tests.conformance import backends

PAIR = ["lifecycle.execute-after-load", "lifecycle.not-loaded-before-load"]


@pytest.mark.parametrize(
    ("backend", "reason"),
    [
        (backends.Segfaults, "the process died of SIGSEGV: in `_execute` at backends.py:"),
        (backends.Aborts, "the process died of SIGABRT: in `_load` at backends.py:"),
        (backends.Killed, "the process died of SIGKILL"),
        (backends.Exits, "the process ended with exit code 3"),
        (backends.RaisesSystemExit, "an exception was raised instead of a returned Result: SystemExit: 0"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_death_is_a_failed_check_and_the_run_goes_on(backend, reason):
    report = run(backend, checks=PAIR)
    assert report.result(PAIR[0]).status == "failed"
    assert report.result(PAIR[0]).reason.startswith(reason)
    assert len(report.results) == 2
    if backend is not backends.RaisesSystemExit:
        assert report.result(PAIR[1]).status == "passed"


def test_the_last_words_of_the_engine_are_kept():
    reason = run(backends.Segfaults, checks=PAIR[0]).results[0].reason
    assert reason.endswith("the engine's last words")


@pytest.mark.parametrize("backend", [backends.Hangs, backends.HangsWithTheGil], ids=lambda value: value.__name__)
def test_a_hang_is_a_failed_check_that_says_where(backend):
    started = time.monotonic()
    report = run(backend, checks=PAIR, time_limit_s=0.5)
    assert report.result(PAIR[0]).reason.startswith("did not return within 0.5 s: in `_execute` at backends.py:")
    assert report.result(PAIR[1]).status == "passed"
    assert time.monotonic() - started < 10


def test_what_a_check_builds_itself_has_the_time_of_builds():
    report = run(backends.BuildsSlowly, checks="capabilities.build", time_limit_s=1.0)
    assert [result.reason for result in report.failed] == []
    assert report.counts.passed == 1


def test_a_build_that_hangs_is_a_failed_check():
    limits = {"time_limit_s": 0.5, "build_limit_s": 0.1}
    result = run(backends.BuildsForever, checks="capabilities.build", **limits).results[0]
    assert result.reason.startswith("did not return within 0.5 s: in `_build` at backends.py:")


def test_what_kills_an_isolated_check_leaves_the_others_alone():
    report = run(backends.CrashesOnDamage, checks=["model-files.*"], cycles=2)
    dead = {result.check for result in report.failed if "SIGABRT" in result.reason}
    assert {"model-files.truncated", "model-files.corrupted", "model-files.one-byte-damaged"} <= dead
    assert report.result("model-files.empty").status == "passed"
    assert report.result("model-files.odd-path").status == "passed"


def test_what_an_engine_prints_does_not_reach_the_terminal(capfd):
    assert run(backends.Prints, checks=PAIR[0]).counts.passed == 1
    assert capfd.readouterr() == ("", "")


def test_a_class_that_cannot_be_imported_is_judged_in_this_process():
    threads = set()

    class Local(MockBackend):
        def _load(self, path):
            threads.add(threading.get_ident())
            return super()._load(path)

    report = run(Local, checks=["lifecycle.load-valid-model", "model-files.truncated"])
    assert report.result("lifecycle.load-valid-model").status == "passed"
    assert threads - {threading.get_ident()}
    isolated = report.result("model-files.truncated")
    assert isolated.status == "skipped"
    assert isolated.reason.endswith("Local` is defined inside a function: put it at the top of a module")


def test_a_hang_in_this_process_is_a_failed_check():
    release = threading.Event()

    class Local(MockBackend):
        def _execute(self, slot, inputs, outputs):
            release.wait(60)
            return super()._execute(slot, inputs, outputs)

    try:
        result = run(Local, checks=PAIR[0], time_limit_s=0.3).results[0]
    finally:
        release.set()
    assert result.status == "failed"
    assert result.reason.startswith("did not return within 0.3 s")


def test_a_class_whose_module_is_gone_fails_with_the_import_error(monkeypatch):
    module = ModuleType("gone_since")
    module.Gone = type("Gone", (MockBackend,), {"__module__": "gone_since", "__qualname__": "Gone"})
    monkeypatch.setitem(sys.modules, "gone_since", module)
    result = run(module.Gone, checks=PAIR[1]).results[0]
    assert result.status == "failed"
    assert result.reason.endswith("ModuleNotFoundError: No module named 'gone_since'")
