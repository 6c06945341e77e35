from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import perf_counter_ns

import numpy as np
import pytest

from aegisrt import MockBackend, ONNXBackend
from aegisrt.backends.base.backend import Names, RuntimeBackend
from aegisrt.backends.registry import backend_class
from aegisrt.core.optional import Requirement
from aegisrt.core.options import BackendOptions
from aegisrt.core.request import ExecutionRequest
from aegisrt.core.resources import configs_dir
from aegisrt.core.result import Err, Error, ErrorCode, ResultError, fail
from aegisrt.devices.base import Device
from tests.backends.probe import Probe
from tests.fakes.builder import FakeBackend
from tests.interrupts import ends_before
from tests.runtime.serving import until

X = np.array([1, 2, 3], np.float32)


def request(**fields) -> ExecutionRequest:
    return ExecutionRequest(**{"inputs": {"x": X}, **fields})


def code_of(result) -> ErrorCode:
    assert isinstance(result, Err), f"got {result}, want an Err"
    return result.error.code


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "first.probe"
    path.write_bytes(b"model")
    return path


@pytest.fixture
def other(tmp_path: Path) -> Path:
    path = tmp_path / "second.probe"
    path.write_bytes(b"model")
    return path


@pytest.fixture
def probe(model: Path) -> Probe:
    backend = Probe()
    backend.load(model).unwrap()
    return backend


class TestLifecycle:
    def test_nothing_is_served_before_load(self):
        backend = Probe()
        assert code_of(backend.execute(request())) is ErrorCode.NOT_LOADED
        assert backend.signature is None
        assert code_of(backend.memory()) is ErrorCode.NOT_LOADED

    def test_nothing_is_served_after_unload(self, probe):
        probe.execute(request()).unwrap()
        probe.unload().unwrap()
        assert code_of(probe.execute(request())) is ErrorCode.NOT_LOADED
        assert probe.signature is None

    def test_unload_may_be_called_any_number_of_times(self, probe):
        for _ in range(3):
            assert probe.unload().is_ok()
        assert probe.log.count("unload first") == 1

    def test_unload_without_load_is_ok(self):
        backend = Probe()
        assert backend.unload().is_ok()
        assert backend.log == []

    def test_slots_are_closed_before_the_engine_is_unloaded(self, model):
        backend = Probe(instances=3)
        backend.load(model).unwrap()
        backend.unload().unwrap()
        assert backend.log[-4:] == ["close first"] * 3 + ["unload first"]

    def test_a_second_load_replaces_the_model_once_it_is_ready(self, probe, other):
        probe.load(other).unwrap()
        assert probe.log.index("open second") < probe.log.index("close first") < probe.log.index("unload first")
        assert probe.execute(request()).unwrap().metadata["name"] == "second"

    @pytest.mark.parametrize("hook", ["load", "signature", "open"])
    def test_after_a_failed_load_the_old_model_still_serves(self, probe, other, hook):
        probe.fail[hook] = lambda: RuntimeError("broken")
        assert code_of(probe.load(other)) is ErrorCode.INTERNAL
        assert probe.execute(request()).unwrap().metadata["name"] == "first"
        assert "unload first" not in probe.log

    def test_what_a_failed_load_took_is_given_back(self, model):
        backend = Probe(instances=3)
        backend.fail["open-second"] = lambda: MemoryError()
        assert code_of(backend.load(model)) is ErrorCode.RESOURCE_EXHAUSTED
        assert backend.log == ["load first", "signature first", "open first", "open-second first", "close first",
                               "unload first"]  # fmt: skip

    def test_a_failed_load_leaves_an_unloaded_backend_unloaded(self, model):
        backend = Probe()
        backend.fail["load"] = lambda: RuntimeError("broken")
        assert backend.load(model).is_err()
        assert code_of(backend.execute(request())) is ErrorCode.NOT_LOADED

    @pytest.mark.parametrize("hook", ["close", "unload"])
    def test_a_failing_release_is_reported_and_nothing_stays_loaded(self, probe, hook):
        probe.fail[hook] = lambda: RuntimeError("stuck")
        result = probe.unload()
        assert "stuck" in result.unwrap_err().message
        assert "unload first" in probe.log, "a failing close must not keep the engine"
        assert probe.signature is None
        assert probe.unload().is_ok()

    def test_unload_waits_for_the_call_that_runs(self, probe):
        probe.gate.clear()
        with ThreadPoolExecutor(2) as pool:
            call = pool.submit(probe.execute, request())
            probe.running.acquire(timeout=5)
            unload = pool.submit(probe.unload)
            with pytest.raises(TimeoutError):
                unload.result(timeout=0.05)
            assert "unload first" not in probe.log
            probe.gate.set()
            assert call.result(5).is_ok()
            assert unload.result(5).is_ok()
        assert "unload first" in probe.log

    def test_a_call_after_unload_began_is_not_loaded(self, probe):
        probe.gate.clear()
        with ThreadPoolExecutor(2) as pool:
            call = pool.submit(probe.execute, request())
            probe.running.acquire(timeout=5)
            unload = pool.submit(probe.unload)
            while probe.signature is not None:
                pass
            assert code_of(probe.execute(request())) is ErrorCode.NOT_LOADED
            probe.gate.set()
            assert call.result(5).is_ok()
            assert unload.result(5).is_ok()

    def test_calls_loads_and_unloads_from_many_threads(self, probe, model, other):
        codes: set[ErrorCode] = set()
        stop = threading.Event()

        def call() -> None:
            while not stop.is_set():
                result = probe.execute(request())
                if result.is_err():
                    codes.add(result.error.code)
                else:
                    np.testing.assert_array_equal(result.value.outputs["y"], X * 2)

        with ThreadPoolExecutor(6) as pool:
            callers = [pool.submit(call) for _ in range(6)]
            for _ in range(60):
                probe.load(other).unwrap()
                probe.load(model).unwrap()
                probe.unload().unwrap()
            stop.set()
            for caller in callers:
                caller.result(10)
        assert codes <= {ErrorCode.NOT_LOADED}
        loads = sum(entry.startswith("load ") for entry in probe.log)
        assert loads == 121
        assert sum(entry.startswith("unload ") for entry in probe.log) == loads


class TestConstruction:
    @pytest.mark.parametrize("instances", [0, -1, "2", 1.5, None])
    def test_instances_count_from_one(self, instances):
        with pytest.raises(ResultError, match="instances"):
            Probe(instances=instances)

    def test_options_of_another_backend_are_refused(self):
        with pytest.raises(ResultError, match="ProbeOptions"):
            Probe(BackendOptions(kind="mock"))

    def test_an_unknown_option_is_refused(self):
        with pytest.raises(ValueError, match="depth"):
            Probe({"depth": 1})

    def test_a_device_that_the_backend_does_not_run_on(self, model):
        error = Probe(device="cuda:1").load(model).unwrap_err()
        assert (error.code, error.hint) == (ErrorCode.UNIMPLEMENTED, "it runs on cpu")

    def test_a_device_that_does_not_exist(self):
        with pytest.raises(ResultError, match="`tpu` is not a device"):
            Probe(device="tpu")

    def test_names_stand_in_the_result(self, model):
        backend = Probe(device=Device("host"), names=Names("digits", "fast"))
        backend.load(model).unwrap()
        result = backend.execute(request()).unwrap()
        assert (result.model, result.backend, result.device) == ("digits", "fast", "host")

    def test_direct_use_has_the_kind_and_no_model(self, probe):
        result = probe.execute(request()).unwrap()
        assert (result.model, result.backend, result.device) == (None, "probe", "cpu")

    def test_availability_names_the_package_and_the_command(self):
        class Absent(Probe):
            requirement = Requirement("no_such_module", ("no-such-package",), "absent")

        state = Absent.availability()
        assert not state.available
        assert state.reason == "Python module `no_such_module` is not installed"
        assert state.install == "pip install 'aegisrt-runtime[absent]'"
        assert Probe.availability().available


class TestModelFile:
    def test_missing(self, tmp_path):
        assert code_of(Probe().load(tmp_path / "none.probe")) is ErrorCode.NOT_FOUND

    def test_directory(self, tmp_path):
        assert code_of(Probe().load(tmp_path)) is ErrorCode.INVALID_ARGUMENT

    def test_empty(self, tmp_path):
        (tmp_path / "empty.probe").touch()
        assert code_of(Probe().load(tmp_path / "empty.probe")) is ErrorCode.DATA_LOSS

    @pytest.mark.parametrize("path", [None, 5, b"x", "a\0b"])
    def test_no_path_at_all(self, path):
        assert code_of(Probe().load(path)) is ErrorCode.INVALID_ARGUMENT

    def test_a_path_may_be_text(self, model):
        assert Probe().load(str(model)).is_ok()

    def test_neighbours_are_named(self, model):
        error = Probe().load(model.with_name("frist.probe")).unwrap_err()
        assert error.hint == "the folder has first.probe"


class TestInputs:
    @pytest.mark.parametrize("inputs", [None, 5, [X], X, "x", {1: X}, {"x": None}, {}, {"x": X, "y": X}, {"X": X}])
    def test_what_is_no_mapping_of_the_inputs_is_an_invalid_argument(self, probe, inputs):
        assert code_of(probe.execute(request(inputs=inputs))) is ErrorCode.INVALID_ARGUMENT

    @pytest.mark.parametrize("value", [None, {"inputs": {}}, "x"])
    def test_not_a_request(self, probe, value):
        error = probe.execute(value).unwrap_err()
        assert error.code is ErrorCode.INVALID_ARGUMENT
        assert "ExecutionRequest" in error.message

    def test_a_request_can_be_used_again(self, probe):
        again = request(timeout_ms=5000)
        for _ in range(3):
            assert probe.execute(again).is_ok()


class TestOutputs:
    def test_all_in_the_models_order(self, probe):
        assert list(probe.execute(request()).unwrap().outputs) == ["y", "z"]

    @pytest.mark.parametrize("wanted", [["z"], ("z", "y"), ["y", "z"]])
    def test_a_subset_in_the_order_of_the_request(self, probe, wanted):
        outputs = probe.execute(request(outputs=wanted)).unwrap().outputs
        assert list(outputs) == list(wanted)
        np.testing.assert_array_equal(outputs["z"], -X)

    @pytest.mark.parametrize("wanted", [[], "y", 5, ["y", "y"], ["w"], [None], [["y"]], {"y"}, iter(["y"]), {"y": 1}])
    def test_what_names_no_outputs(self, probe, wanted):
        assert code_of(probe.execute(request(outputs=wanted))) is ErrorCode.INVALID_ARGUMENT

    def test_an_unknown_output_gets_a_suggestion(self, model):
        class Named(Probe):
            def _signature(self, engine):
                signature = super()._signature(engine)
                y, z = signature.outputs
                return type(signature)(signature.inputs, (type(y)("logits", y.dtype, y.shape), z))

        backend = Named()
        backend.load(model).unwrap()
        assert backend.execute(request(outputs=["logit"])).unwrap_err().hint == "did you mean `logits`?"

    def test_one_that_is_no_tensor_is_unimplemented(self, probe):
        error = probe.execute(request(outputs=["pairs"])).unwrap_err()
        assert error.code is ErrorCode.UNIMPLEMENTED
        assert "map(int64,float)" in error.message

    def test_metadata_belongs_to_the_result(self, probe):
        first = probe.execute(request(id="a")).unwrap()
        assert first.metadata == {"name": "first", "request_id": "a"}
        first.metadata["name"] = "changed"
        assert probe.execute(request()).unwrap().metadata == {"name": "first"}


class TestTime:
    @pytest.mark.parametrize("timeout", ["5", True, float("nan"), object()])
    def test_a_timeout_that_is_no_number(self, probe, timeout):
        assert code_of(probe.execute(request(timeout_ms=timeout))) is ErrorCode.INVALID_ARGUMENT

    @pytest.mark.parametrize("timeout", [0, -1, -float("inf"), 1e-6])
    def test_one_that_has_passed_already(self, probe, timeout):
        assert code_of(probe.execute(request(timeout_ms=timeout))) is ErrorCode.DEADLINE_EXCEEDED

    @pytest.mark.parametrize("timeout", [60_000, 1e30, float("inf"), 10**400, np.float32(60_000), np.int64(60_000)])
    def test_one_that_is_long_enough(self, probe, timeout):
        assert probe.execute(request(timeout_ms=timeout)).is_ok()

    def test_waiting_for_an_instance_ends_at_the_deadline(self, probe):
        probe.gate.clear()
        with ThreadPoolExecutor(1) as pool:
            call = pool.submit(probe.execute, request())
            probe.running.acquire(timeout=5)
            started = perf_counter_ns()
            error = probe.execute(request(timeout_ms=30)).unwrap_err()
            waited_ms = (perf_counter_ns() - started) / 1e6
            probe.gate.set()
            assert call.result(5).is_ok()
        assert error.code is ErrorCode.DEADLINE_EXCEEDED
        assert "free instance" in error.message
        assert 29 <= waited_ms < 2000

    def test_a_call_that_ends_too_late_is_late(self, probe):
        probe.gate.clear()
        timer = threading.Timer(0.05, probe.gate.set)
        timer.start()
        error = probe.execute(request(timeout_ms=10)).unwrap_err()
        timer.join()
        assert (error.code, error.message) == (ErrorCode.DEADLINE_EXCEEDED, "the deadline passed while the engine ran")
        assert probe.execute(request()).is_ok(), "the slot must be free again"

    def test_steps_add_up_to_no_more_than_the_call(self, probe):
        for _ in range(50):
            started = perf_counter_ns()
            times = probe.execute(request()).unwrap().timings
            wall = perf_counter_ns() - started
            assert min(times) >= 0
            assert 0 < times.compute <= sum(times) <= wall

    def test_waiting_is_queue_time(self, probe):
        probe.gate.clear()
        with ThreadPoolExecutor(2) as pool:
            first = pool.submit(probe.execute, request())
            probe.running.acquire(timeout=5)
            second = pool.submit(probe.execute, request())
            threading.Timer(0.05, probe.gate.set).start()
            assert first.result(5).is_ok()
            times = second.result(5).unwrap().timings
        assert times.queue > 10_000_000, f"queue {times.queue} ns, compute {times.compute} ns"


class TestErrors:
    @pytest.mark.parametrize(
        ("raised", "code"),
        [
            (MemoryError(), ErrorCode.RESOURCE_EXHAUSTED),
            (FileNotFoundError("x"), ErrorCode.NOT_FOUND),
            (PermissionError("x"), ErrorCode.PERMISSION_DENIED),
            (NotImplementedError(), ErrorCode.UNIMPLEMENTED),
            (TimeoutError(), ErrorCode.DEADLINE_EXCEEDED),
            (ValueError("x"), ErrorCode.INTERNAL),
            (fail(ErrorCode.DATA_LOSS, "known"), ErrorCode.DATA_LOSS),
        ],
    )
    def test_whatever_a_hook_raises_is_a_result(self, probe, raised, code):
        probe.fail["execute"] = lambda: raised
        assert code_of(probe.execute(request())) is code
        del probe.fail["execute"]
        assert probe.execute(request()).is_ok(), "the slot must be free again"

    def test_the_message_is_one_line_and_the_cause_has_all(self, probe):
        probe.fail["execute"] = lambda: ValueError("first\nsecond")
        error = probe.execute(request()).unwrap_err()
        assert error.message == "probe failed while executing the model: first"
        assert error.cause == "ValueError: first\nsecond"

    def test_an_exception_that_cannot_be_put_in_words_is_still_a_result(self, probe):
        class MuteError(RuntimeError):
            def __str__(self) -> str:
                raise ValueError("no words")

        probe.fail["execute"] = MuteError
        error = probe.execute(request()).unwrap_err()
        assert error.code is ErrorCode.INTERNAL
        assert "MuteError" in error.message

    def test_an_engine_may_name_the_code_or_the_whole_error(self, model):
        class Coded(Probe):
            def _classify(self, error):
                return ErrorCode.UNAVAILABLE if "gone" in str(error) else Error(ErrorCode.CANCELLED, "stopped")

        backend = Coded()
        backend.load(model).unwrap()
        backend.fail["execute"] = lambda: ValueError("gone")
        assert code_of(backend.execute(request())) is ErrorCode.UNAVAILABLE
        backend.fail["execute"] = lambda: ValueError("else")
        assert backend.execute(request()).unwrap_err() == Error(ErrorCode.CANCELLED, "stopped")

    def test_a_backend_that_answers_too_few_outputs_is_an_internal_error(self, model):
        class Short(Probe):
            def _execute(self, slot, inputs, outputs):
                return super()._execute(slot, inputs, outputs)[:1]

        backend = Short()
        backend.load(model).unwrap()
        assert code_of(backend.execute(request())) is ErrorCode.INTERNAL

    def test_an_interrupt_is_no_result_and_frees_the_slot(self, probe):
        probe.fail["execute"] = KeyboardInterrupt
        with pytest.raises(KeyboardInterrupt):
            probe.execute(request())
        del probe.fail["execute"]
        assert probe.execute(request()).is_ok()
        assert probe.unload().is_ok()

    def test_an_interrupt_anywhere_in_a_call_loses_no_slot(self, probe):
        count = 1
        while not ends_before(count, lambda: probe.execute(request())):
            assert probe._loaded.free == probe._loaded.slots, f"at {count}"
            count += 1
        assert count > 10
        assert probe.execute(request()).is_ok()
        assert probe.unload().is_ok()

    @pytest.mark.parametrize("interrupted", ["before", "after"])
    def test_a_call_that_is_interrupted_while_it_waits_leaves_the_slot_to_the_next(self, probe, interrupted):
        """`after`: it was notified already, and passes the notification on."""
        freed, waiting, ended = probe._loaded.freed, [], []
        wait = freed.wait

        def wait_until_interrupted(timeout=None):
            waiting.append(threading.current_thread())
            if threading.current_thread() is waiting[0]:
                if interrupted == "after":
                    wait(5)
                raise KeyboardInterrupt
            return wait(5)

        def execute():
            try:
                ended.append(probe.execute(request()).is_ok())
            except KeyboardInterrupt:
                ended.append("interrupted")

        freed.wait = wait_until_interrupted
        probe.gate.clear()
        threads = [threading.Thread(target=execute) for _ in range(3)]
        threads[0].start()
        assert probe.running.acquire(timeout=5)
        for count, thread in enumerate(threads[1:], 1):
            thread.start()
            until(lambda count=count: len(waiting) == count)
        probe.gate.set()
        for thread in threads:
            thread.join(5)
        assert sorted(map(str, ended)) == ["True", "True", "interrupted"]
        assert (probe._loaded.waiting, probe._loaded.free) == (0, probe._loaded.slots)
        assert probe.unload().is_ok()

    def test_what_an_engine_does_not_do_is_unimplemented(self, probe, model, tmp_path):
        assert code_of(probe.build(model, tmp_path / "out")) is ErrorCode.UNIMPLEMENTED
        assert code_of(probe.memory()) is ErrorCode.UNIMPLEMENTED
        assert code_of(probe.build(tmp_path / "none", tmp_path / "out")) is ErrorCode.NOT_FOUND


@pytest.mark.parametrize("instances", [1, 4])
def test_sixteen_threads_get_each_their_own_answer(model, instances):
    backend: RuntimeBackend = Probe(instances=instances)
    backend.load(model).unwrap()

    def calls(number: int) -> int:
        x = np.arange(4, dtype=np.float32) + number
        good = 0
        for _ in range(200):
            outputs = backend.execute(ExecutionRequest(inputs={"x": x})).unwrap().outputs
            good += bool((outputs["y"] == x * 2).all() and (outputs["z"] == -x).all())
        return good

    with ThreadPoolExecutor(16) as pool:
        assert sum(pool.map(calls, range(16))) == 16 * 200
    assert backend.shared_slots == 0, "one slot was in two calls at once"
    assert backend.log.count("open first") + backend.log.count("open-second first") == instances


def test_no_more_calls_run_at_once_than_there_are_instances(model):
    backend = Probe(instances=2)
    backend.load(model).unwrap()
    backend.gate.clear()
    with ThreadPoolExecutor(5) as pool:
        calls = [pool.submit(backend.execute, request()) for _ in range(5)]
        for _ in range(2):
            assert backend.running.acquire(timeout=5)
        assert not backend.running.acquire(timeout=0.05), "a third call ran with two instances"
        backend.gate.set()
        assert all(call.result(5).is_ok() for call in calls)


class TestWrongArguments:
    @pytest.mark.parametrize("options", [5, "kind", b"kind", [1], [("kind", "probe")], object()])
    @pytest.mark.parametrize("backend", [Probe, MockBackend, ONNXBackend], ids=lambda backend: backend.kind)
    def test_options_that_are_not_a_mapping(self, backend, options):
        with pytest.raises(ResultError, match="or a mapping") as caught:
            backend(options)
        assert caught.value.error.code is ErrorCode.INVALID_ARGUMENT

    @pytest.mark.parametrize(
        "wrong", [{"device": 5}, {"device": b"cpu"}, {"instances": True}, {"instances": "2"}, {"names": 5}], ids=str
    )
    def test_other_arguments(self, wrong):
        with pytest.raises(ResultError) as caught:
            Probe(**wrong)
        assert caught.value.error.code is ErrorCode.INVALID_ARGUMENT

    @pytest.mark.parametrize("call", ["execute", "check", "bare"])
    @pytest.mark.parametrize("wrong", [5, None, {"x": X}])
    def test_what_is_not_a_request(self, probe, call, wrong):
        assert code_of(getattr(probe, call)(wrong)) is ErrorCode.INVALID_ARGUMENT

    @pytest.mark.parametrize("wrong", [5, None, b"m.so", 3.5])
    def test_paths(self, tmp_path, wrong):
        source = tmp_path / "m.txt"
        source.write_text("weights")
        for result in (
            Probe().load(wrong),
            FakeBackend().build(wrong, tmp_path / "m.engine"),
            FakeBackend().build(source, wrong),
        ):
            assert code_of(result) is ErrorCode.INVALID_ARGUMENT


@pytest.mark.parametrize("hook", ["load", "signature", "open", "open-second"])
def test_no_memory_in_any_hook_is_resource_exhausted(hook, model):
    probe = Probe(instances=2)
    probe.fail[hook] = MemoryError
    error = probe.load(model).unwrap_err()
    assert error.code is ErrorCode.RESOURCE_EXHAUSTED
    assert error.hint


@pytest.mark.parametrize("hook", ["_signature", "_metadata", "_device_view"])
@pytest.mark.parametrize("kind", ["mock", pytest.param("onnx", marks=pytest.mark.engine("onnx"))])
def test_no_memory_in_an_engine_is_resource_exhausted(hook, kind):
    backend = backend_class(kind).unwrap()()

    def refuse(*_):
        raise MemoryError

    setattr(backend, hook, refuse)
    digits = configs_dir() / "model" / "digits.onnx"
    assert backend.load(digits).unwrap_err().code is ErrorCode.RESOURCE_EXHAUSTED
    assert backend.signature is None
    delattr(backend, hook)
    backend.load(digits).unwrap()
    backend._execute = refuse
    image = np.zeros((1, 1, 8, 8), np.float32)
    error = backend.execute(ExecutionRequest(inputs={"image": image})).unwrap_err()
    assert error.code is ErrorCode.RESOURCE_EXHAUSTED


class TestChangingFiles:
    def test_a_file_that_changes_while_it_is_loaded_is_not_served(self, probe, other):
        fresh = other.with_name("fresh")
        fresh.write_bytes(b"another")
        real = probe._signature
        probe._signature = lambda engine: (fresh.replace(other), real(engine))[1]
        error = probe.load(other).unwrap_err()
        assert error.code is ErrorCode.DATA_LOSS
        assert f"{other} changed while the model was loaded" in error.message
        assert probe.metadata == {"name": "first"}, "the model that was loaded before stays"

    def test_an_engines_error_names_a_file_that_was_overwritten_meanwhile(self, probe, model):
        probe.fail["execute"] = lambda: RuntimeError("odd")
        assert probe.execute(request()).unwrap_err().code is ErrorCode.INTERNAL
        model.write_bytes(b"overwritten")
        error = probe.execute(request()).unwrap_err()
        assert error.code is ErrorCode.DATA_LOSS
        assert f"{model} was overwritten since the model was loaded" in error.message
        assert "by a rename" in error.hint

    def test_a_replacement_by_a_rename_is_no_reason(self, probe, model, other):
        other.replace(model)
        probe.fail["execute"] = lambda: RuntimeError("odd")
        assert probe.execute(request()).unwrap_err().code is ErrorCode.INTERNAL

    def test_the_callers_own_errors_stay(self, probe, model):
        model.write_bytes(b"overwritten")
        assert probe.execute(request(inputs={})).unwrap_err().code is ErrorCode.INVALID_ARGUMENT

    def test_a_source_that_changes_while_it_is_built_from_leaves_no_engine_file(self, tmp_path):
        source, target = tmp_path / "m.txt", tmp_path / "m.engine"
        source.write_text("weights")

        class Slow(FakeBackend):
            def _build(self, source: Path, target: Path) -> None:
                super()._build(source, target)
                source.with_name("fresh").write_text("others")
                source.with_name("fresh").replace(source)

        error = Slow().build(source, target).unwrap_err()
        assert error.code is ErrorCode.FAILED_PRECONDITION
        assert f"{source} changed while an engine file was built from it" in error.message
        assert not target.exists()
        assert not target.with_name("m.engine.json").exists()
