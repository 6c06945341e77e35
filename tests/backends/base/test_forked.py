"""A forked child keeps what its parent loaded, destroys none of it, and may load its own."""

import gc
import os
import threading
import traceback

import numpy as np
import pytest

from aegisrt import ErrorCode, ExecutionRequest, MockBackend
from aegisrt.core.resources import configs_dir

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork"),
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
]
DIGITS = configs_dir() / "model" / "digits.onnx"
REQUEST = ExecutionRequest(inputs={"image": np.zeros((1, 1, 8, 8), np.float32)})


class Native:
    """Stands for an engine's object, and writes down in which process it is destroyed."""

    def __init__(self, log):
        self.log, self.owner = log, os.getpid()

    def __del__(self):
        with self.log.open("a") as file:
            file.write("owner\n" if os.getpid() == self.owner else "child\n")


class Loading(MockBackend):
    """Holds an object of its engine for the model and for each instance."""

    log = None

    def _load(self, path):
        self.native = None
        model = super()._load(path)
        return model, Native(self.log)

    def _signature(self, engine):
        return super()._signature(engine[0])

    def _metadata(self, engine):
        return super()._metadata(engine[0])

    def _model_metadata(self, engine):
        return super()._model_metadata(engine[0])

    def _open(self, engine, stream):
        return super()._open(engine[0], stream), Native(self.log)

    def _close(self, slot):
        pass

    def _unload(self, engine):
        pass

    def _execute(self, slot, inputs, outputs):
        return super()._execute(slot[0], inputs, outputs)


def in_child(work):
    """Return the exit code of a child that does some work: 0 if that raises nothing."""
    child = os.fork()
    if not child:
        code = 1
        try:
            work()
            code = 0
        except BaseException:  # noqa: BLE001
            traceback.print_exc()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.fixture
def loaded(tmp_path):
    kind = type("Loading", (Loading,), {"log": tmp_path / "destroyed"})
    kind.log.touch()
    backend = kind(instances=2)
    backend.load(DIGITS).unwrap()
    yield backend
    backend.unload().unwrap()


@pytest.mark.parametrize("drop", ["unload", "replace", "forget"])
def test_the_child_destroys_nothing_of_its_parents_and_the_parent_serves_on(drop, loaded):
    backends = [loaded]

    def work():
        if drop == "unload":
            backends[0].unload().unwrap()
        elif drop == "replace":
            backends[0].load(DIGITS).unwrap()
            backends[0].unload().unwrap()
        backends.clear()
        gc.collect()

    assert in_child(work) == 0
    of_childs_own = ["owner"] * 3 if drop == "replace" else []
    assert loaded.log.read_text().split() == of_childs_own
    assert loaded.execute(REQUEST).is_ok()


def test_every_call_of_the_child_is_answered_until_it_loads_the_model_itself(loaded):
    def work():
        for answer in (loaded.execute(REQUEST), loaded.check(REQUEST), loaded.bare(REQUEST), loaded.memory()):
            error = answer.unwrap_err()
            assert error.code is ErrorCode.FAILED_PRECONDITION, error
            assert error.message == "the model was loaded by the parent of this forked process"
            assert error.hint == "load it after the fork, in each process"
        assert loaded.signature is None
        loaded.load(DIGITS).unwrap()
        assert loaded.execute(REQUEST).is_ok()
        loaded.unload().unwrap()
        assert loaded.execute(REQUEST).unwrap_err().code is ErrorCode.NOT_LOADED

    assert in_child(work) == 0


def test_a_backend_that_had_loaded_nothing_is_as_good_as_new():
    backend = MockBackend()

    def work():
        assert backend.execute(REQUEST).unwrap_err().code is ErrorCode.NOT_LOADED
        backend.load(DIGITS).unwrap()
        assert backend.execute(REQUEST).is_ok()

    assert in_child(work) == 0


def test_a_lock_that_another_thread_held_when_the_child_was_forked_holds_nothing_up(loaded):
    held, done = threading.Event(), threading.Event()

    def hold():
        with loaded._changing, loaded._gate:
            held.set()
            done.wait()

    def work():
        loaded.load(DIGITS).unwrap()
        assert loaded.execute(REQUEST).is_ok()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    try:
        assert in_child(work) == 0
    finally:
        done.set()
        thread.join()


def test_a_child_of_a_child_has_the_rule_too(loaded):
    def work():
        loaded.load(DIGITS).unwrap()
        assert in_child(lambda: loaded.execute(REQUEST).unwrap_err()) == 0
        assert loaded.execute(REQUEST).is_ok()

    assert in_child(work) == 0


def test_a_backend_without_a_hash_of_its_own_is_kept_too(tmp_path):
    class Equal(MockBackend):
        def __eq__(self, other):
            return True

    first, second = Equal(), Equal()
    for backend in (first, second):
        backend.load(DIGITS).unwrap()

    def work():
        for backend in (first, second):
            assert backend.execute(REQUEST).unwrap_err().code is ErrorCode.FAILED_PRECONDITION

    assert in_child(work) == 0
