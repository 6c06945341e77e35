"""Dynamic batching: what is joined, when, and that no request notices."""

import json
import time
from concurrent.futures import wait
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aegisrt import ErrorCode, ExecutionRequest, Ok
from aegisrt.graph.build import build_graph
from aegisrt.manifest.origin import NoOrigins
from aegisrt.manifest.queueing import BatchingOptions
from aegisrt.runtime.building.factory import build_backends
from aegisrt.runtime.context import ExecutionContext
from aegisrt.runtime.scheduling.batch_rule import BatchRule
from aegisrt.runtime.scheduling.pending import Answers, Pending
from aegisrt.runtime.scheduling.waiting import WaitingRequests
from tests.runtime.models import affine, manifest
from tests.runtime.serving import busy, request, served, until


def sizes(probe):
    return [len(x) for x in probe.calls]


def results(futures):
    wait(futures, 5)
    return [future.result(0).unwrap() for future in futures]


def test_requests_of_differing_sizes_share_a_call_and_get_their_own_rows(tmp_path):
    with served(tmp_path, batching={"max_batch_size": 8}) as (model, probe):
        futures = [busy(model, probe), *(model.intake.submit(request(*range(n), id=str(n))) for n in (3, 1, 4, 2))]
        probe.gate.set()
        found = results(futures)
        assert sizes(probe) == [1, 8, 2]
        for result, n in zip(found[1:], (3, 1, 4, 2), strict=True):
            np.testing.assert_array_equal(result.outputs["y"], np.arange(n) * 2)
            assert result.outputs["y"].base is None
            assert result.metadata["request_id"] == str(n)
        assert [result.metadata["batch_size"] for result in found[1:4]] == [8, 8, 8]


def test_a_large_request_is_not_passed_over_for_small_ones(tmp_path):
    with served(tmp_path, batching={"max_batch_size": 4}) as (model, probe):
        futures = [busy(model, probe), *(model.intake.submit(request(*range(n))) for n in (3, 4, 1))]
        probe.gate.set()
        results(futures)
        assert sizes(probe) == [1, 3, 4, 1]


class Elsewhere:
    """An array that numpy does not read, as one on a GPU."""

    def __init__(self, values):
        self.values, self.shape, self.dtype = values, values.shape, values.dtype
        self.size, self.nbytes, self.ndim = values.size, values.nbytes, values.ndim

    def __array__(self, *_, **__):
        raise TypeError("it is not on the host")


@pytest.mark.parametrize("side", ["inputs", "outputs"])
def test_arrays_that_are_not_the_hosts_are_run_one_by_one(tmp_path, monkeypatch, side):
    with served(tmp_path, batching={"max_batch_size": 8}) as (model, probe):
        execute, check = probe._execute, model.backend.check

        def elsewhere(slot, inputs, outputs):
            return [Elsewhere(value) for value in execute(slot, inputs, outputs)]

        def given(request):
            return Ok({name: Elsewhere(value) for name, value in check(request).unwrap().items()})

        futures = [busy(model, probe)]
        if side == "outputs":
            monkeypatch.setattr(probe, "_execute", elsewhere)
        else:
            monkeypatch.setattr(model.backend, "check", given)
        futures += [model.intake.submit(request(*range(n))) for n in (3, 1)]
        probe.gate.set()
        for result, n in zip(results(futures)[1:], (3, 1), strict=True):
            found = result.outputs["y"]
            np.testing.assert_array_equal(found.values if side == "outputs" else found, np.arange(n) * 2)


def test_unequal_rows_are_refused_on_every_path(tmp_path):
    """Also where an engine would take them: what is answered must not depend on whether the model is busy."""
    tensor = {"dtype": "FP32", "shape": ["n"]}
    add = {"name": "y", **tensor, "operation": {"kind": "add", "inputs": ["a", "b"]}}
    path = tmp_path / "add.mock.json"
    inputs = [{"name": name, **tensor} for name in "ab"]
    path.write_text(json.dumps({"format": "aegisrt-mock/v1", "inputs": inputs, "outputs": [add]}))
    graph = build_graph(manifest({"m": {"path": path, "batching": {"max_batch_size": 4}}}))
    with ExecutionContext(graph, build_backends(graph, NoOrigins()).unwrap()) as context:
        unequal = ExecutionRequest(inputs={"a": np.ones(3, np.float32), "b": np.ones(1, np.float32)})
        for result in (context.execute(unequal), context.submit(unequal).result(5)):
            assert "equally many rows" in result.unwrap_err().message
        equal = ExecutionRequest(inputs={"a": np.ones(3, np.float32), "b": np.ones(3, np.float32)})
        assert context.execute(equal).is_ok()
        for wrong in ({"a": [1]}, {}, None):
            found = context.execute(ExecutionRequest(inputs=wrong)).unwrap_err()
            assert found == context.submit(ExecutionRequest(inputs=wrong)).result(5).unwrap_err()


def test_a_request_of_too_many_rows_is_refused_on_every_path(tmp_path):
    with served(tmp_path, batching={"max_batch_size": 2}) as (model, probe):
        for result in (model.intake.execute(request(1, 2, 3)), model.intake.submit(request(1, 2, 3)).result(1)):
            assert result.unwrap_err().code is ErrorCode.INVALID_ARGUMENT
            assert "max_batch_size" in result.unwrap_err().message
        assert probe.calls == []


def test_wrong_inputs_are_refused_before_they_can_spoil_a_batch(tmp_path):
    with served(tmp_path, batching={"max_batch_size": 8}) as (model, probe):
        running = busy(model, probe)
        good = [model.intake.submit(request(value)) for value in (1, 2)]
        bad = model.intake.submit(ExecutionRequest(inputs={"x": np.zeros(1)}))
        assert bad.result(1).unwrap_err().code is ErrorCode.INVALID_ARGUMENT
        probe.gate.set()
        results([running, *good])
        assert sizes(probe) == [1, 2]


def test_one_bad_request_in_a_batch_fails_alone(tmp_path):
    with served(tmp_path, batching={"max_batch_size": 8}) as (model, probe):
        probe.refuse = lambda x: bool((x == 13).any())
        running = busy(model, probe)
        futures = [model.intake.submit(request(value)) for value in (11, 12, 13, 14)]
        probe.gate.set()
        wait([running, *futures], 5)
        assert [future.result().is_ok() for future in futures] == [True, True, False, True]
        assert [future.result().unwrap().outputs["y"][0] for future in futures if future.result().is_ok()] == [
            22,
            24,
            28,
        ]
        assert "does not take" in futures[2].result().unwrap_err().message


def test_a_model_that_loses_rows_is_run_request_by_request(tmp_path):
    with served(tmp_path, batching={"max_batch_size": 8}) as (model, probe):
        original = probe._execute
        probe._execute = lambda slot, inputs, outputs: [value[:1] for value in original(slot, inputs, outputs)]
        running = busy(model, probe)
        futures = [model.intake.submit(request(value)) for value in (1, 2)]
        probe.gate.set()
        assert [result.outputs["y"].tolist() for result in results([running, *futures])] == [[0], [2], [4]]


def test_other_outputs_are_another_batch(tmp_path):
    with served(tmp_path, batching={"max_batch_size": 8}) as (model, probe):
        wanted = (None, ["y"], ["z"], None, ["z"])
        futures = [busy(model, probe), *(model.intake.submit(request(i + 1, outputs=w)) for i, w in enumerate(wanted))]
        probe.gate.set()
        found = results(futures)[1:]
        assert [sorted(result.outputs) for result in found] == [["y", "z"], ["y"], ["z"], ["y", "z"], ["z"]]
        assert [len(x) for x in probe.calls] == [1, 2, 1, 2]


def test_a_lone_request_waits_for_others_only_as_long_as_it_may(tmp_path):
    with served(tmp_path, batching={"max_batch_size": 8, "max_queue_delay_us": 60_000}) as (model, probe):
        started = time.monotonic()
        futures = [model.intake.submit(request(1)), model.intake.submit(request(2))]
        found = results(futures)
        assert 0.055 < time.monotonic() - started < 5
        assert sizes(probe) == [2]
        assert found[0].timings.queue >= 55_000_000


def test_a_full_batch_and_a_preferred_one_do_not_wait(tmp_path):
    batching = {"max_batch_size": 8, "preferred_batch_sizes": [4], "max_queue_delay_us": 5_000_000}
    with served(tmp_path, batching=batching) as (model, probe):
        started = time.monotonic()
        results([model.intake.submit(request(value)) for value in range(4)])
        results([model.intake.submit(request(*range(8)))])
        assert time.monotonic() - started < 2
        assert sizes(probe) == [4, 8]


def test_padding_is_never_seen(tmp_path):
    batching = {"max_batch_size": 8, "preferred_batch_sizes": [4, 8], "pad_to_preferred": True}
    with served(tmp_path, batching=batching) as (model, probe):
        futures = [busy(model, probe, 9), *(model.intake.submit(request(*range(n))) for n in (2, 3))]
        probe.gate.set()
        found = results(futures)
        assert sizes(probe) == [4, 8]
        assert [result.outputs["y"].tolist() for result in found] == [[18], [0, 2], [0, 2, 4]]
        assert [result.metadata["batch_size"] for result in found] == [1, 5, 5]
        assert model.life.metrics().batch_rows.sum == 6


def test_a_request_of_no_rows_takes_part(tmp_path):
    batching = {"max_batch_size": 4, "preferred_batch_sizes": [4], "pad_to_preferred": True}
    with served(tmp_path, batching=batching) as (model, probe):
        probe.capabilities = replace(probe.capabilities, zero_size=True)
        probe.load(tmp_path / "m.probe").unwrap()
        futures = [
            busy(model, probe),
            model.intake.submit(request()),
            model.intake.submit(request(5)),
            model.intake.submit(request()),
        ]
        probe.gate.set()
        assert [result.outputs["y"].tolist() for result in results(futures)] == [[0], [], [10], []]


def test_a_deadline_inside_a_batch_is_one_requests_own(tmp_path):
    with served(tmp_path, batching={"max_batch_size": 8}) as (model, probe):
        running = busy(model, probe)
        hurried = model.intake.submit(request(1, timeout_ms=20))
        patient = model.intake.submit(request(2))
        assert hurried.result(1).unwrap_err().code is ErrorCode.DEADLINE_EXCEEDED
        probe.gate.set()
        assert [result.outputs["y"][0] for result in results([running, patient])] == [0, 4]
        until(lambda: model.life.metrics().requests == {"OK": 2, "DEADLINE_EXCEEDED": 1})


def test_shapes_have_lanes_of_their_own(tmp_path):
    path = tmp_path / "wide.mock.json"
    tensor = {"dtype": "FP32", "shape": ["n", "width"]}
    outputs = [{"name": "y", **tensor, "operation": {"kind": "affine", "input": "x", "scale": 2.0}}]
    path.write_text(json.dumps({"format": "aegisrt-mock/v1", "inputs": [{"name": "x", **tensor}], "outputs": outputs}))
    declared = manifest(
        {"m": {"path": path, "batching": {"max_batch_size": 8, "max_queue_delay_us": 20_000}}}, delay_ms=5
    )
    graph = build_graph(declared)
    with ExecutionContext(graph, build_backends(graph, NoOrigins()).unwrap()) as context:
        requests = [np.full((1 + index % 2, 2 + index % 3), index, np.float32) for index in range(12)]
        futures = [context.submit(ExecutionRequest(inputs={"x": x})) for x in requests]
        for x, result in zip(requests, results(futures), strict=True):
            np.testing.assert_array_equal(result.outputs["y"], x * 2)
        assert context.metrics()["m"].batch_rows.count < 12


@pytest.mark.parametrize("shape", [[4, 4], []])
def test_a_model_without_a_dynamic_first_dimension_is_refused_at_deployment(tmp_path, shape):
    path = tmp_path / "static.mock.json"
    tensor = {"dtype": "FP32", "shape": shape}
    outputs = [{"name": "y", **tensor, "operation": {"kind": "identity", "input": "x"}}]
    path.write_text(json.dumps({"format": "aegisrt-mock/v1", "inputs": [{"name": "x", **tensor}], "outputs": outputs}))
    graph = build_graph(manifest({"m": {"path": path, "batching": {"max_batch_size": 8}}}))
    error = build_backends(graph, NoOrigins()).unwrap_err()
    assert error.code is ErrorCode.FAILED_PRECONDITION
    assert "dynamic first dimension" in error.message
    assert "input `x" in error.message


def test_sixty_four_clients_get_their_own_answers(tmp_path):
    declared = manifest({"m": {"path": affine(tmp_path), "batching": {"max_batch_size": 16}}}, delay_ms=1)
    graph = build_graph(declared)
    with ExecutionContext(graph, build_backends(graph, NoOrigins()).unwrap()) as context:
        inputs = [np.full((1 + index % 3, 4), index, np.float32) for index in range(512)]
        futures = [context.submit(ExecutionRequest(inputs={"x": x})) for x in inputs]
        for x, result in zip(inputs, results(futures), strict=True):
            np.testing.assert_array_equal(result.outputs["y"], x * 2)
        metrics = context.metrics()["m"]
        assert metrics.requests == {"OK": 512}
        assert metrics.compute_us.count < 200
        assert metrics.batch_rows.sum == sum(map(len, inputs))


waiting_rows = st.lists(st.integers(1, 8), min_size=1, max_size=40)


@given(waiting_rows, st.sets(st.integers(1, 8)), st.booleans())
def test_the_rule_never_exceeds_the_maximum_and_never_idles_when_overdue(rows, preferred, overdue):
    options = BatchingOptions(max_batch_size=8, preferred_batch_sizes=tuple(preferred), max_queue_delay_us=10)
    waiting = [Pending(request(1), 0, Answers()) for _ in rows]
    for pending, count in zip(waiting, rows, strict=True):
        pending.rows = count
    count = BatchRule.of(options).count(waiting, overdue=overdue)
    taken = sum(rows[:count])
    assert taken <= 8
    if overdue or sum(rows) >= 16:
        assert count >= 1
    if count and not overdue:
        assert taken in preferred or taken == 8 or taken + rows[count] > 8


@pytest.mark.parametrize("when_full", ["reject", "wait"])
def test_a_batch_that_an_idle_instance_waits_for_does_not_fill_the_queue(tmp_path, when_full):
    batching = {"max_batch_size": 4, "max_queue_delay_us": 200_000}
    queue = {"max_queue_size": 1, "when_full": when_full}
    with served(tmp_path, batching=batching, queue=queue) as (model, probe):
        results([model.intake.submit(request(value)) for value in range(4)])
        assert sizes(probe) == [4]


@given(st.lists(st.integers(0, 5), max_size=12), st.integers(0, 4), st.integers(1, 5))
def test_free_instances_take_one_batch_each(rows, instances, most):
    waiting = WaitingRequests(BatchRule.of(BatchingOptions(max_batch_size=most, max_queue_delay_us=10)))
    for count in rows:
        pending = Pending(request(1), 0, Answers())
        pending.rows, pending.key = min(count, most), "same"
        waiting.add(pending)
    counted, taken = waiting.count_taken(instances), 0
    for _ in range(instances):
        taken += len(waiting.take(0, closed=True)[0]) if waiting.size else 0
    assert counted == taken


@pytest.mark.parametrize("shape", [["k"], [], [1], ["n", 2]])
def test_a_request_that_gives_an_optional_input_is_run_alone(tmp_path, shape):
    """An optional input is a weight: joined, it would be another's, or of another shape."""
    tensor = {"dtype": "FP32", "shape": ["n", 2]}
    inputs = [{"name": "x", **tensor}, {"name": "gain", "dtype": "FP32", "shape": shape, "optional": True}]
    outputs = [{"name": "y", **tensor, "operation": {"kind": "digest"}}]
    path = tmp_path / "m.mock.json"
    path.write_text(json.dumps({"format": "aegisrt-mock/v1", "inputs": inputs, "outputs": outputs}))
    batching = {"max_batch_size": 8, "max_queue_delay_us": 100_000}
    graph = build_graph(manifest({"m": {"path": path, "batching": batching}}))
    with ExecutionContext(graph, build_backends(graph, NoOrigins()).unwrap()) as context:
        assert context.graph.models[0].batching == "on"
        gain = np.ones([1 if isinstance(dim, str) else dim for dim in shape], np.float32)
        given = [{"x": np.full((1, 2), value, np.float32), "gain": gain * value} for value in (1, 2)]
        given += [{"x": np.full((rows, 2), rows, np.float32)} for rows in (1, 2)]
        futures = [context.submit(ExecutionRequest(inputs=one)) for one in given]
        for one, result in zip(given, results(futures), strict=True):
            request_ = ExecutionRequest(inputs=one)
            alone = context.backend("m").execute(request_).unwrap().outputs["y"]
            np.testing.assert_array_equal(result.outputs["y"], alone)
            np.testing.assert_array_equal(context.execute(request_).unwrap().outputs["y"], alone)
        assert [result.metadata.get("batch_size") for result in results(futures)] == [None, None, 3, 3]
