import asyncio
import json
import os
import pickle
import threading

import numpy as np
import pytest

from aegisrt import Err, ErrorCode, ExecutionRequest, Ok
from aegisrt.graph.build import build_graph
from aegisrt.manifest.origin import NoOrigins
from aegisrt.runtime.building.factory import build_backends
from aegisrt.runtime.context import ExecutionContext
from tests.runtime.models import affine, manifest
from tests.runtime.serving import until

X = np.arange(8, dtype=np.float32).reshape(2, 4)


def context_of(declared) -> ExecutionContext:
    graph = build_graph(declared)
    return ExecutionContext(graph, build_backends(graph, NoOrigins()).unwrap())


@pytest.fixture
def two(tmp_path):
    models = {"double": {"path": affine(tmp_path, "a", 2.0)}, "triple": {"path": affine(tmp_path, "b", 3.0)}}
    with context_of(manifest(models)) as context:
        yield context


def test_each_request_reaches_its_model(two):
    for name, scale in (("double", 2), ("triple", 3)):
        result = two.execute(ExecutionRequest(model=name, inputs={"x": X})).unwrap()
        np.testing.assert_array_equal(result.outputs["y"], X * scale)
        assert (result.model, result.backend, result.device) == (name, "mock", "cpu")


def test_a_context_says_what_it_runs_and_where(two):
    assert repr(two) == "<ExecutionContext: double on mock, cpu; triple on mock, cpu>"


def test_without_a_model_several_are_ambiguous_and_one_is_not(two, tmp_path):
    error = two.execute(ExecutionRequest(inputs={"x": X})).unwrap_err()
    assert error.code is ErrorCode.INVALID_ARGUMENT
    assert "double, triple" in error.hint
    with context_of(manifest({"only": {"path": affine(tmp_path)}})) as context:
        assert context.execute(ExecutionRequest(inputs={"x": X})).is_ok()


def test_an_unknown_model_is_not_found_with_the_near_one(two):
    error = two.execute(ExecutionRequest(model="doubel", inputs={"x": X})).unwrap_err()
    assert error.code is ErrorCode.NOT_FOUND
    assert error.hint == "did you mean `double`?"


def test_a_closed_context_says_not_loaded_and_closes_again(tmp_path):
    context = context_of(manifest({"m": {"path": affine(tmp_path)}}))
    assert context.close() == Ok(None)
    assert context.close() == Ok(None)
    error = context.execute(ExecutionRequest(inputs={"x": X})).unwrap_err()
    assert error.code is ErrorCode.NOT_LOADED
    assert error.message == "model `m` is unloaded: its deployment is closed"


@pytest.mark.parametrize("request_", [None, {"inputs": {}}, "double"])
def test_what_is_no_request_is_an_answer(two, request_):
    error = two.execute(request_).unwrap_err()
    assert error.code is ErrorCode.INVALID_ARGUMENT
    assert error.hint == "wrap it: `ExecutionRequest(inputs={...})`"


def test_a_result_in_a_requests_place_is_an_answer_although_it_names_a_model(two):
    result = two.execute(ExecutionRequest(model="double", inputs={"x": X})).unwrap()
    answers = (two.execute(result), two.submit(result).result(5), asyncio.run(two.execute_async(result)))
    assert {answer.unwrap_err().code for answer in answers} == {ErrorCode.INVALID_ARGUMENT}


@pytest.mark.parametrize(("model", "code"), [(["double"], "INVALID_ARGUMENT"), (5, "NOT_FOUND"), ("", "NOT_FOUND")])
def test_a_model_that_is_no_name_is_an_answer(two, model, code):
    assert two.execute(ExecutionRequest(model=model, inputs={"x": X})).unwrap_err().code == code


def test_what_crosses_processes_pickles(two):
    request = ExecutionRequest(model="double", inputs={"x": X}, timeout_ms=50, id="7")
    result = two.execute(pickle.loads(pickle.dumps(request))).unwrap()
    assert result.metadata["request_id"] == "7"
    again = pickle.loads(pickle.dumps(result))
    np.testing.assert_array_equal(again.outputs["y"], X * 2)
    error = two.execute(ExecutionRequest(model="double", inputs={})).unwrap_err()
    assert pickle.loads(pickle.dumps(Err(error))) == Err(error)
    graph = two.graph
    assert pickle.loads(pickle.dumps(graph)) == graph
    assert pickle.loads(pickle.dumps(graph.manifest)).backends["mock"] == graph.manifest.backends["mock"]


@pytest.mark.parametrize("closing", [False, True], ids=["to-the-end", "closed-meanwhile"])
def test_sixteen_threads_get_every_answer_right(tmp_path, closing):
    context = context_of(manifest({"m": {"path": affine(tmp_path), "instances": 3}}))
    answers: list[int] = []
    wrong: list[object] = []
    half_way = threading.Event()

    def work(seed: int) -> None:
        answered = 0
        for index in range(2000):
            x = np.full((1, 4), seed * 10_000 + index, np.float32)
            result = context.execute(ExecutionRequest(inputs={"x": x}))
            match result:
                case Ok(value) if np.array_equal(value.outputs["y"], x * 2):
                    answered += 1
                case Err(error) if closing and error.code is ErrorCode.NOT_LOADED:
                    pass
                case _:
                    wrong.append(result)
            if index == 100:
                half_way.set()
        answers.append(answered)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(16)]
    for thread in threads:
        thread.start()
    half_way.wait()
    if closing:
        assert context.close() == Ok(None)
    for thread in threads:
        thread.join()
    context.close()
    assert not wrong
    assert len(answers) == 16
    assert closing or sum(answers) == 32_000


def test_callbacks_of_two_models_may_close_the_context_at_once(two):
    both, closed = threading.Barrier(2, timeout=5), []

    def close(_):
        both.wait()
        closed.append(two.close())

    for model in two.models:
        two.submit(ExecutionRequest(model=model, inputs={"x": X})).add_done_callback(close)
    until(lambda: closed == [Ok(None), Ok(None)])
    assert two.close() == Ok(None)


def test_callbacks_of_an_answer_and_of_a_deadline_may_close_the_context_at_once(tmp_path):
    manifested = manifest({"m": {"path": affine(tmp_path)}})
    with context_of(manifested) as context:
        both, closed = threading.Barrier(2, timeout=5), []

        def close(_):
            both.wait()
            closed.append(context.close())

        held, release = threading.Event(), threading.Event()
        first = context.submit(ExecutionRequest(inputs={"x": X}))
        first.add_done_callback(lambda _: (held.set(), release.wait(5), close(first)))
        assert held.wait(5)
        late = context.submit(ExecutionRequest(inputs={"x": X}, timeout_ms=20))
        late.add_done_callback(close)
        assert late.result(5).unwrap_err().code is ErrorCode.DEADLINE_EXCEEDED
        release.set()
        until(lambda: closed == [Ok(None), Ok(None)])


def test_two_who_close_at_once_both_wait_for_the_workers(tmp_path):
    context = context_of(manifest({"m": {"path": affine(tmp_path)}}))
    running, release, closed = threading.Event(), threading.Event(), []
    future = context.submit(ExecutionRequest(inputs={"x": X}))
    future.add_done_callback(lambda _: (running.set(), release.wait(5)))
    assert running.wait(5)
    closers = [threading.Thread(target=lambda: closed.append(context.close())) for _ in range(2)]
    for thread in closers:
        thread.start()
        thread.join(0.1)
    assert closed == []
    release.set()
    for thread in closers:
        thread.join(5)
    assert closed == [Ok(None), Ok(None)]


@pytest.mark.parametrize("timeout_ms", [None, 20], ids=["of-an-answer", "of-a-deadline"])
def test_a_callback_that_does_not_come_back_does_not_hold_close_for_ever(tmp_path, timeout_ms):
    options = {"path": affine(tmp_path), "queue": {"close_timeout_ms": 0}}
    context = context_of(manifest({"m": options}, delay_ms=100))
    running, release = threading.Event(), threading.Event()
    future = context.submit(ExecutionRequest(inputs={"x": X}, timeout_ms=timeout_ms))
    future.add_done_callback(lambda _: (running.set(), release.wait(30)))
    assert running.wait(5)
    until(lambda: context.metrics()["m"].busy == 0)
    error = context.close().unwrap_err()
    assert error.code is ErrorCode.DEADLINE_EXCEEDED
    assert "callback" in error.message
    assert context.signature("m") is None
    release.set()
    assert context.close() == Ok(None)


def test_submit_and_execute_async_answer_what_execute_does(two):
    request = ExecutionRequest(model="double", inputs={"x": X})
    for result in (two.submit(request).result(5), asyncio.run(two.execute_async(request))):
        np.testing.assert_array_equal(result.unwrap().outputs["y"], X * 2)


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (ExecutionRequest(inputs={"x": X}), "INVALID_ARGUMENT"),
        (ExecutionRequest(inputs={"x": X}, model="doubel"), "NOT_FOUND"),
        (ExecutionRequest(inputs={"x": X}, model=["double"]), "INVALID_ARGUMENT"),
        ({"x": X}, "INVALID_ARGUMENT"),
    ],
)
def test_what_reaches_no_model_is_an_answer_on_every_way(two, request_, code):
    answers = (two.execute(request_), two.submit(request_).result(5), asyncio.run(two.execute_async(request_)))
    assert [answer.unwrap_err().code for answer in answers] == [code] * 3


def test_metrics_count_each_models_requests(two):
    for model in ("double", "double", "triple"):
        two.execute(ExecutionRequest(model=model, inputs={"x": X})).unwrap()
    two.execute(ExecutionRequest(model="triple", inputs={})).unwrap_err()
    two.submit(ExecutionRequest(model="triple", inputs={"x": X})).result(5).unwrap()
    metrics = two.metrics()
    assert metrics["double"].requests == {"OK": 2}
    assert metrics["triple"].requests == {"OK": 2, "INVALID_ARGUMENT": 1}
    assert (metrics["double"].compute_us.count, metrics["double"].queue_us.count) == (2, 2)
    assert metrics["double"].busy == metrics["double"].queued == 0
    assert json.loads(json.dumps(metrics["triple"].to_json()))["compute_us"]["buckets"]["+Inf"] == 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_is_answered_and_not_kept_waiting(two):
    """Its parent's workers are not there, and nobody would answer."""
    request = ExecutionRequest(model="double", inputs={"x": X}, timeout_ms=20_000)
    assert two.submit(request).result().is_ok()  # starts the workers
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            found = [two.execute(request), two.submit(request).result(10), asyncio.run(two.execute_async(request))]
            said = [answer.unwrap_err().code.name for answer in found] + [str(two.close().is_ok())]
            os.write(writer, " ".join(said).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as stream:
        said = stream.read()
    os.waitpid(child, 0)
    assert said == "FAILED_PRECONDITION FAILED_PRECONDITION FAILED_PRECONDITION True"
    assert two.submit(request).result().is_ok(), "the parent goes on"
