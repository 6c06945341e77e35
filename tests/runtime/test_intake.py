"""What happens to a request below `execute`: it is checked once, has one deadline, and may be posted."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from aegisrt import ErrorCode, ExecutionRequest
from aegisrt.backends.base.call import Call
from aegisrt.core.inputs import InputCheck
from aegisrt.core.result import Err, Ok
from aegisrt.core.tensor import DataType, Signature, TensorSpec
from aegisrt.runtime.executable import Executable
from tests.backends.probe import Probe
from tests.runtime.serving import busy, request, served, until

WAYS = {
    "execute": lambda intake, request: intake.execute(request),
    "deadline": lambda intake, request: intake.execute(ExecutionRequest(inputs=request.inputs, timeout_ms=60_000)),
    "submit": lambda intake, request: intake.submit(request).result(5),
    "post": lambda intake, request: posted(intake, request),
    "if-idle": lambda intake, request: intake.execute_if_idle(request),
}


def posted(intake, request):
    answers, answered = [], threading.Event()
    intake.post(request, lambda answer: (answers.append(answer), answered.set()))
    assert answered.wait(5)
    (answer,) = answers
    return answer


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("options", [{}, {"batching": {"max_batch_size": 4}}], ids=["plain", "batched"])
def test_a_request_is_checked_once_on_every_way(tmp_path, way, options):
    with served(tmp_path, **options) as (model, probe):
        checked, check = [], probe._loaded.check
        probe._loaded.check = lambda inputs: (checked.append(inputs), check(inputs))[1]
        assert WAYS[way](model.intake, request(1, 2)).unwrap().outputs["y"].tolist() == [2, 4]
        assert len(checked) == 1


@pytest.mark.parametrize("way", WAYS)
def test_a_wrong_request_is_refused_before_it_waits(tmp_path, way):
    with served(tmp_path) as (model, probe):
        wrong = ExecutionRequest(inputs={"x": np.zeros(2, np.float64)})
        assert WAYS[way](model.intake, wrong).unwrap_err().code is ErrorCode.INVALID_ARGUMENT
        busy(model, probe)
        assert WAYS[way](model.intake, wrong).unwrap_err().code is ErrorCode.INVALID_ARGUMENT
        assert model.parts.queue.load() == (1, 0)
        assert model.life.metrics().requests == {"INVALID_ARGUMENT": 2}


@pytest.mark.parametrize("timeout", ["request", "model"])
def test_the_deadline_reaches_the_wait_for_a_slot(tmp_path, timeout):
    """A direct call has the only slot, so that the worker waits in the backend: it too gives up at the deadline."""
    options = {"queue": {"default_timeout_ms": 60}} if timeout == "model" else {}
    with served(tmp_path, **options) as (model, probe), ThreadPoolExecutor(1) as pool:
        probe.gate.clear()
        direct = pool.submit(probe.execute, request(1))
        assert probe.running.acquire(timeout=5)
        late = request(2, timeout_ms=60) if timeout == "request" else request(2)
        assert model.intake.execute(late).unwrap_err().code is ErrorCode.DEADLINE_EXCEEDED
        until(lambda: model.parts.queue.load() == (0, 0))
        assert not direct.done()
        probe.gate.set()
        assert direct.result(5).is_ok()
        assert model.intake.execute(request(3)).is_ok()


def test_the_deadline_does_not_start_again_below_the_queue(tmp_path):
    with served(tmp_path) as (model, probe):
        seen, run_call = [], probe.run_call
        probe.run_call = lambda call: (seen.append(call), run_call(call))[1]
        first = busy(model, probe)
        entered = time.perf_counter_ns()
        waiting = model.intake.submit(request(1, timeout_ms=2_000))
        time.sleep(0.05)
        probe.gate.set()
        assert first.result(5).is_ok()
        assert waiting.result(5).is_ok()
        assert isinstance(seen[1], Call)
        assert 0 <= seen[1].deadline_ns - entered - 2_000_000_000 < 40_000_000


def test_a_request_that_waits_while_its_model_is_replaced_is_checked_again(tmp_path):
    class Changing(Probe):
        def _signature(self, engine):
            x, y, z = (TensorSpec(name, DataType.FP32, ("n",) if engine.name == "m" else (2,)) for name in "xyz")
            return Signature((x,), (y, z))

    with served(tmp_path, backend=Changing) as (model, probe):
        running = busy(model, probe)
        fits, does_not = model.intake.submit(request(1, 2)), model.intake.submit(request(1, 2, 3))
        other = tmp_path / "other.probe"
        other.write_bytes(b"probe")
        load = threading.Thread(target=probe.load, args=(other,))
        load.start()
        until(lambda: probe.signature.inputs[0].shape == (2,))
        probe.gate.set()
        load.join(5)
        assert running.result(5).is_ok()
        assert fits.result(5).unwrap().metadata == {"name": "other"}
        assert does_not.result(5).unwrap_err().code is ErrorCode.INVALID_ARGUMENT
        assert model.intake.execute(request(1, 2)).unwrap().metadata == {"name": "other"}


@pytest.mark.parametrize("options", [{}, {"batching": {"max_batch_size": 4}}], ids=["plain", "batched"])
def test_an_answered_request_keeps_neither_the_model_nor_its_slot(tmp_path, options):
    with served(tmp_path, queue={"max_queue_size": 2}, **options) as (model, probe):
        running = busy(model, probe)
        waiting, late = model.intake.submit(request(1)), model.intake.submit(request(2, timeout_ms=20))
        refused = model.intake.submit(request(3))
        assert late.result(5).is_err()
        assert waiting.cancel()
        probe.gate.set()
        assert running.result(5).is_ok()
        assert [future.call for future in (running, waiting, late, refused)] == [None] * 4


class TestPost:
    def test_it_is_answered_in_a_worker_and_refused_in_the_caller(self, tmp_path):
        with served(tmp_path) as (model, _):
            threads, answered = [], threading.Event()
            model.intake.post(request(1), lambda _: (threads.append(threading.current_thread()), answered.set()))
            assert answered.wait(5)
            assert threads[0].name.startswith("aegisrt-m")
            model.intake.post(request(1, priority="most"), lambda _: threads.append(threading.current_thread()))
            assert threads[1] is threading.current_thread()

    def test_a_waiting_one_can_be_canceled_and_then_calls_nothing(self, tmp_path):
        with served(tmp_path) as (model, probe):
            running = busy(model, probe)
            answers = []
            first = model.intake.post(request(1), answers.append)
            second = model.intake.post(request(2), answers.append)
            assert (first.cancel(), first.cancel()) == (True, True)
            probe.gate.set()
            assert running.result(5).is_ok()
            until(lambda: len(answers) == 1)
            assert not second.cancel()
            assert answers[0].unwrap().outputs["y"][0] == 4
            assert model.life.metrics().requests == {"OK": 2, "CANCELLED": 1}

    def test_a_full_queue_is_an_answer_and_blocks_nobody(self, tmp_path):
        with served(tmp_path, queue={"max_queue_size": 1, "when_full": "wait"}) as (model, probe):
            futures = [busy(model, probe), model.intake.submit(request(1))]
            answers = []
            model.intake.post(request(2), answers.append)
            assert [answer.unwrap_err().code for answer in answers] == [ErrorCode.RESOURCE_EXHAUSTED]
            probe.gate.set()
            assert all(future.result(5).is_ok() for future in futures)

    def test_a_deadline_and_a_close_answer_too(self, tmp_path):
        with served(tmp_path, queue={"on_close": "cancel"}) as (model, probe):
            busy(model, probe)
            late, closed = [], []
            model.intake.post(request(1, timeout_ms=20), late.append)
            model.intake.post(request(2), closed.append)
            until(lambda: late)
            model.life.stop()
            assert late[0].unwrap_err().code is ErrorCode.DEADLINE_EXCEEDED
            assert closed[0].unwrap_err().code is ErrorCode.CANCELLED
            after = []
            model.intake.post(request(3), after.append)
            assert after[0].unwrap_err().code is ErrorCode.NOT_LOADED

    def test_what_the_function_raises_costs_no_worker(self, tmp_path, caplog):
        def leave(answer):
            raise SystemExit

        with served(tmp_path) as (model, _):
            model.intake.post(request(1), leave)
            assert model.intake.submit(request(2)).result(5).is_ok()
            until(lambda: "posted request failed" in caplog.text)


class TestIfIdle:
    def test_it_runs_in_the_callers_thread_or_not_at_all(self, tmp_path):
        with served(tmp_path) as (model, probe):
            assert model.intake.is_idle
            assert model.intake.mean_call_ns is None
            answer = model.intake.execute_if_idle(request(1, timeout_ms=60_000))
            assert answer.unwrap().outputs["y"][0] == 2
            assert model.parts.workers.threads == []
            assert model.intake.mean_call_ns == answer.value.timings.compute
            assert probe.running.acquire(timeout=5)
            running = busy(model, probe)
            assert not model.intake.is_idle
            assert model.intake.execute_if_idle(request(1)) is None
            assert model.parts.queue.load() == (1, 0)
            probe.gate.set()
            assert running.result(5).is_ok()
            until(lambda: model.intake.is_idle)
            assert model.life.metrics().requests == {"OK": 2}

    def test_a_deadline_that_passes_in_the_engine_is_late(self, tmp_path):
        with served(tmp_path) as (model, probe):
            probe.gate.clear()
            timer = threading.Timer(0.05, probe.gate.set)
            timer.start()
            answer = model.intake.execute_if_idle(request(1, timeout_ms=10))
            timer.join()
            assert answer.unwrap_err().code is ErrorCode.DEADLINE_EXCEEDED
            assert model.intake.is_idle


class Overriding(Probe):
    """Has an `execute` of its own: whatever serves it must call that."""

    def execute(self, request):
        self.timeouts = [*getattr(self, "timeouts", ()), request.timeout_ms]
        result = super().execute(request)
        if isinstance(result, Ok):
            result.value.metadata["by"] = "execute"
        return result


@pytest.mark.parametrize("way", ["execute", "deadline", "submit", "post"])
def test_an_execute_that_a_class_overrides_is_what_runs(tmp_path, way):
    with served(tmp_path, backend=Overriding) as (model, probe):
        assert not model.intake.is_idle
        result = WAYS[way](model.intake, request(1)).unwrap()
        assert result.metadata == {"name": "m", "by": "execute"}
        assert result.timings.queue > 0
        (timeout_ms,) = probe.timeouts
        assert timeout_ms is None if way != "deadline" else 0 < timeout_ms < 60_000
        assert model.intake.execute_if_idle(request(1)) is None


def test_a_context_hands_out_what_answers_a_model(tmp_path):
    from tests.runtime.models import affine, manifest
    from tests.runtime.test_context import context_of

    with context_of(manifest({"a": {"path": affine(tmp_path)}, "b": {"path": affine(tmp_path)}})) as context:
        executable: Executable = context.executable("a").unwrap()
        x = np.ones((1, 4), np.float32)
        assert executable.execute(ExecutionRequest(inputs={"x": x})).unwrap().model == "a"
        assert context.executable().unwrap_err().code is ErrorCode.INVALID_ARGUMENT
        assert context.executable("c").unwrap_err().code is ErrorCode.NOT_FOUND
    assert executable.execute(ExecutionRequest(inputs={"x": x})).unwrap_err().code is ErrorCode.NOT_LOADED


class TestWhatWasCheckedLast:
    SPECS = (TensorSpec("a", DataType.FP32, ("n", 3)), TensorSpec("b", DataType.INT64, (None,), optional=True))

    def test_a_good_request_lets_no_wrong_one_through(self):
        check = InputCheck(self.SPECS)
        a, b = np.ones((2, 3), np.float32), np.arange(4)
        wrong = [
            {}, {"b": b}, {"a": a, "c": b}, {"a": a, "b": b, "c": b}, {"a": a.astype(np.float64), "b": b},
            {"a": a.T, "b": b}, {"a": a[0], "b": b}, {"a": a.tolist(), "b": b}, {"a": a, "b": b[None]},
            {"a": None, "b": b},
        ]  # fmt: skip
        for good in ({"a": a}, {"a": a, "b": b}):
            for inputs in wrong:
                for _ in range(2):
                    assert check(good) == good
                with pytest.raises(Exception, match=r"input|mapping"):
                    check(inputs)

    def test_inputs_that_need_a_copy_get_one_beside_those_that_do_not(self):
        check = InputCheck(self.SPECS)
        a = np.arange(6, dtype=np.float32).reshape(2, 3)
        odd = [np.asfortranarray(a), a.astype(">f4"), np.repeat(a, 2, axis=1)[:, ::2], a.view(np.recarray)]
        for value in odd:
            assert check({"a": a})["a"] is a
            made = check({"a": value})["a"]
            assert type(made) is np.ndarray
            assert made.flags.c_contiguous
            assert made.dtype.isnative
            np.testing.assert_array_equal(made, a)

    def test_a_model_without_inputs_takes_none(self):
        check = InputCheck(())
        assert [check({}), check({})] == [{}, {}]
        with pytest.raises(Exception, match="not an input"):
            check({"a": 1})

    def test_threads_with_other_shapes_get_their_own_arrays(self):
        check, wrong = InputCheck(self.SPECS), []

        def work(rows: int) -> None:
            good = np.full((rows, 3), rows, np.float32)
            bad = np.full((rows, 4), rows, np.float32)
            for _ in range(2_000):
                if check({"a": good})["a"] is not good:
                    wrong.append(rows)
                try:
                    wrong.append(check({"a": bad}))
                except Exception:  # noqa: BLE001  (as it must)
                    continue

        with ThreadPoolExecutor(6) as pool:
            list(pool.map(work, range(1, 7)))
        assert wrong == []


def test_outputs_that_were_requested_last_let_no_wrong_ones_through(tmp_path):
    with served(tmp_path) as (model, _):

        def outputs(wanted):
            answer = model.intake.execute(ExecutionRequest(inputs={"x": np.ones(1, np.float32)}, outputs=wanted))
            return answer.error.code if isinstance(answer, Err) else list(answer.value.outputs)

        for wanted in (["z"], ("z",), ["z", "y"], ["z"], ["y", "z"], None):
            assert outputs(wanted) == list(wanted or ["y", "z"])
            for bad in ([], (), "z", ["z", "z"], ["w"], {"z"}, [["z"]], 5):
                assert outputs(bad) is ErrorCode.INVALID_ARGUMENT
