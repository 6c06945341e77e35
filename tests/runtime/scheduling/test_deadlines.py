"""Deadlines over the whole request: on time, whatever the engine does."""

import threading
import time
from concurrent.futures import wait

import pytest

from aegisrt import ErrorCode
from aegisrt.runtime.scheduling.deadlines import DeadlineWatch
from aegisrt.runtime.scheduling.pending import Answers, Pending
from tests.runtime.serving import busy, request, served, until

LATE_MS = 1000
"""What a shared, loaded machine may add to a deadline before a test fails; the benchmark holds the real bound."""


def timed_ms(call):
    started = time.perf_counter()
    value = call()
    return value, (time.perf_counter() - started) * 1e3


def test_execute_returns_at_the_deadline_while_the_engine_runs_and_serves_again(tmp_path):
    with served(tmp_path) as (model, probe):
        probe.gate.clear()
        result, took_ms = timed_ms(lambda: model.intake.execute(request(1, timeout_ms=30)))
        assert result.unwrap_err().code is ErrorCode.DEADLINE_EXCEEDED
        assert 30 <= took_ms < 30 + LATE_MS
        result, took_ms = timed_ms(lambda: model.intake.execute(request(2, timeout_ms=30)))
        assert "waited" in result.unwrap_err().message
        assert 30 <= took_ms < 30 + LATE_MS
        probe.gate.set()
        assert model.intake.execute(request(3)).unwrap().outputs["y"][0] == 6
        assert model.intake.execute(request(4, timeout_ms=5000)).unwrap().outputs["y"][0] == 8
        assert [int(x[0]) for x in probe.calls] == [1, 3, 4]
        assert model.life.metrics().requests == {"DEADLINE_EXCEEDED": 2, "OK": 2}


def test_submitted_requests_are_answered_at_their_deadlines(tmp_path):
    with served(tmp_path) as (model, probe):
        running = busy(model, probe)
        futures = [model.intake.submit(request(1, timeout_ms=limit)) for limit in (60, 20, 40)]
        assert wait(futures, 1).not_done == set()
        assert {future.result().unwrap_err().code for future in futures} == {ErrorCode.DEADLINE_EXCEEDED}
        assert model.life.metrics().queued == 0
        probe.gate.set()
        assert running.result(5).is_ok()
        assert len(probe.calls) == 1


def test_a_late_result_is_dropped_and_its_answer_is_the_first_one(tmp_path):
    with served(tmp_path) as (model, probe):
        probe.gate.clear()
        future = model.intake.submit(request(1, timeout_ms=20))
        assert future.result(1).unwrap_err().code is ErrorCode.DEADLINE_EXCEEDED
        probe.gate.set()
        assert model.intake.submit(request(2)).result(5).is_ok()
        assert future.result().unwrap_err().code is ErrorCode.DEADLINE_EXCEEDED
        assert model.life.metrics().requests == {"DEADLINE_EXCEEDED": 1, "OK": 1}


@pytest.mark.parametrize(("timeout", "code"), [(0, "DEADLINE_EXCEEDED"), (-1, "DEADLINE_EXCEEDED"),
                                               (float("nan"), "INVALID_ARGUMENT"), ("5", "INVALID_ARGUMENT"),
                                               (True, "INVALID_ARGUMENT")])  # fmt: skip
def test_what_is_no_time_left_or_no_number_is_refused(tmp_path, timeout, code):
    with served(tmp_path) as (model, probe):
        assert model.intake.execute(request(1, timeout_ms=timeout)).unwrap_err().code == code
        assert model.intake.submit(request(1, timeout_ms=timeout)).result(1).unwrap_err().code == code
        assert probe.calls == []


def test_an_endless_timeout_is_no_timeout(tmp_path):
    with served(tmp_path) as (model, _):
        assert model.intake.execute(request(1, timeout_ms=float("inf"))).is_ok()
        assert model.intake.submit(request(1, timeout_ms=1e300)).result(5).is_ok()


def test_a_model_may_declare_a_timeout_for_requests_without_one(tmp_path):
    with served(tmp_path, queue={"default_timeout_ms": 20.0}) as (model, probe):
        probe.gate.clear()
        assert model.intake.execute(request(1)).unwrap_err().code is ErrorCode.DEADLINE_EXCEEDED


def test_many_callers_leave_on_time_together(tmp_path):
    with served(tmp_path) as (model, probe):
        probe.gate.clear()
        took: list[float] = []

        def client() -> None:
            result, took_ms = timed_ms(lambda: model.intake.execute(request(1, timeout_ms=50)))
            took.append(took_ms if result.is_err() else 0)

        threads = [threading.Thread(target=client) for _ in range(32)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(5)
        assert len(took) == 32
        assert min(took) >= 50
        assert max(took) < 50 + 2 * LATE_MS


def test_the_watch_forgets_what_was_answered_in_time():
    watch = DeadlineWatch()
    far = time.perf_counter_ns() + 3_600_000_000_000
    for _ in range(5000):
        pending = Pending(request(1), 0, Answers())
        pending.deadline_ns = far
        pending.set_result(None)
        watch.add(pending, lambda pending: None)
    assert len(watch._heap) <= 1024
    watch.close()
    until(lambda: not any(thread.name == "aegisrt-deadlines" for thread in threading.enumerate()))
