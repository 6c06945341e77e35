import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from aegisrt import ErrorCode, ExecutionRequest, ResultError, prometheus_registry
from aegisrt.graph.build import build_graph
from aegisrt.manifest.origin import NoOrigins
from aegisrt.runtime import prometheus
from aegisrt.runtime.building.factory import build_backends
from aegisrt.runtime.context import ExecutionContext
from aegisrt.runtime.metrics import Recorder
from tests.runtime.models import affine, manifest

X = np.ones((2, 4), np.float32)


@pytest.fixture
def context(tmp_path):
    declared = manifest({"m": {"path": affine(tmp_path), "batching": {"max_batch_size": 4}}})
    graph = build_graph(declared)
    with ExecutionContext(graph, build_backends(graph, NoOrigins()).unwrap()) as context:
        yield context


def test_a_histogram_counts_each_value_up_to_its_bound_and_sums_them():
    recorder = Recorder()
    recorder.called((50_000, 50_001, 99_000_000_000), 1_000_000, 3)
    found = recorder.snapshot(2, 1, 5, None)
    assert found.queue_us.cumulative[:3] == (1, 2, 2)
    assert (found.queue_us.count, found.queue_us.sum) == (3, 99_000_100.001)
    assert found.compute_us.to_json()["buckets"]["1000"] == 1
    assert found.compute_us.to_json()["buckets"]["500"] == 0
    assert found.batch_rows.sum == 3
    assert (found.instances, found.busy, found.queued, found.memory_bytes) == (2, 1, 5, None)


@pytest.mark.parametrize("calls", [0, 1, 31, 32, 33, 100])
def test_every_call_is_counted_however_many_there_were(calls):
    recorder = Recorder()
    for _ in range(calls):
        recorder.ran((5, 40_000, 60_005, 3_060_005))
    recorder.ran((5, 0, 5, 1_005), awaited=False)
    recorder.answered(ErrorCode.CANCELLED)
    for _ in range(2):
        found = recorder.snapshot(1, 0, 0, None)
        assert found.requests == ({"OK": calls} if calls else {}) | {"CANCELLED": 1}
        assert (found.queue_us.count, found.queue_us.cumulative[:2]) == (calls + 1, (1, calls + 1))
        assert found.compute_us.sum == calls * 3_000 + 1


def test_the_mean_time_of_a_call_is_there_after_the_first_and_follows_the_last_ones():
    recorder = Recorder()
    assert recorder.mean_call_ns is None
    recorder.ran((0, 0, 10, 50_010))
    assert recorder.mean_call_ns == 50_000
    for _ in range(1_000):
        recorder.ran((0, 0, 10, 1_010))
    assert 1_000 <= recorder.mean_call_ns < 1_100
    for _ in range(20):
        recorder.called((0, 0), 9_000, 2)
    assert 8_900 < recorder.mean_call_ns <= 9_000


def test_calls_of_many_threads_are_counted_once_each_while_somebody_looks():
    recorder, seen = Recorder(), []

    def work(index):
        for number in range(2_000):
            recorder.ran((0, 0, 0, 1_000))
            if index == 0 and number % 50 == 0:
                seen.append(recorder.snapshot(1, 0, 0, None).requests.get("OK", 0))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert recorder.snapshot(1, 0, 0, None).requests == {"OK": 16_000}
    assert seen == sorted(seen)


def test_metrics_are_plain_json(context):
    context.submit(ExecutionRequest(inputs={"x": X})).result(5).unwrap()
    plain = json.loads(json.dumps(context.metrics()["m"].to_json()))
    assert plain["requests"] == {"OK": 1}
    assert plain["batch_rows"] == {"count": 1, "sum": 2, "buckets": plain["batch_rows"]["buckets"]}


def test_a_scrape_shows_what_metrics_shows(context):
    client = pytest.importorskip("prometheus_client", reason="run: pip install 'aegisrt-runtime[metrics]'")
    for _ in range(3):
        context.submit(ExecutionRequest(inputs={"x": X})).result(5).unwrap()
    context.execute(ExecutionRequest(inputs={})).unwrap_err()
    registry = prometheus_registry(context)
    found = registry.get_sample_value
    assert found("aegisrt_requests_total", {"model": "m", "code": "OK"}) == 3
    assert found("aegisrt_requests_total", {"model": "m", "code": "INVALID_ARGUMENT"}) == 1
    assert found("aegisrt_batch_rows_sum", {"model": "m"}) == 6
    assert found("aegisrt_batch_rows_bucket", {"model": "m", "le": "2"}) == 3
    assert found("aegisrt_compute_seconds_count", {"model": "m"}) == 3
    seconds = found("aegisrt_compute_seconds_sum", {"model": "m"})
    assert seconds == pytest.approx(context.metrics()["m"].compute_us.sum / 1e6)
    assert found("aegisrt_instances", {"model": "m"}) == 1
    assert found("aegisrt_model_memory_bytes", {"model": "m"}) is None
    assert b"aegisrt_queued_requests" in client.generate_latest(registry)


def test_without_prometheus_client_the_error_says_what_to_install(context, monkeypatch):
    missing = prometheus.Requirement("aegisrt_no_such_module", ("none",), "metrics")
    monkeypatch.setattr(prometheus, "PROMETHEUS", missing)
    with pytest.raises(ResultError) as raised:
        prometheus_registry(context)
    assert raised.value.error.code is ErrorCode.UNAVAILABLE
    assert raised.value.error.hint == "run: pip install 'aegisrt-runtime[metrics]'"
