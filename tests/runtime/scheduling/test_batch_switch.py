"""While serving: a model whose outputs have other rows than its inputs is never batched again."""

from __future__ import annotations

import json
import logging
import threading

import numpy as np
import pytest

from aegisrt import ExecutionRequest
from aegisrt.graph.build import build_graph
from aegisrt.graph.render import to_text
from aegisrt.manifest.origin import NoOrigins
from aegisrt.runtime import prometheus
from aegisrt.runtime.building.factory import build_backends
from aegisrt.runtime.context import ExecutionContext
from tests.runtime.models import affine, manifest
from tests.runtime.serving import busy, request, served, until

BATCHING = {"max_batch_size": 4, "preferred_batch_sizes": [2], "max_queue_delay_us": 300_000}


def sizes(probe):
    return [len(x) for x in probe.calls]


def answers(futures):
    return [future.result(5).unwrap().outputs["y"].tolist() for future in futures]


def finds(probe):
    """Let the probe answer one row per positive number, as a detector does."""
    original = probe._execute

    def execute(slot, inputs, outputs):
        return [value[inputs["x"] > 0].repeat(2) for value in original(slot, inputs, outputs)]

    probe._execute = execute


def test_a_batch_of_other_rows_is_run_one_by_one_and_no_other_is_made(tmp_path, caplog):
    with served(tmp_path, batching=BATCHING) as (model, probe):
        assert (model.life.batching, model.life.metrics().batching) == ("on", True)
        finds(probe)
        with caplog.at_level(logging.WARNING):
            assert answers([model.intake.submit(request(1)), model.intake.submit(request(2))]) == [[2, 2], [4, 4]]
        assert sizes(probe) == [2, 1, 1]
        assert model.life.batching == "off: output `y` had 4 rows for 2 in the inputs"
        assert model.life.metrics().batching is False
        # -1 and 1 together have as many finds as rows: each would get a half of the other's
        for _ in range(2):
            assert answers([model.intake.submit(request(-1)), model.intake.submit(request(1))]) == [[], [2, 2]]
        assert sizes(probe) == [2, 1, 1, 1, 1, 1, 1]
        assert [record.getMessage() for record in caplog.records] == [
            "model `m` runs its requests one by one from now on: output `y` had 4 rows for 2 in the inputs"
        ]


@pytest.mark.parametrize("way", ["execute", "submit", "deadline"])
def test_a_lone_request_of_other_rows_shows_it_before_a_batch_can_add_up_by_chance(tmp_path, way):
    with served(tmp_path, batching=BATCHING | {"max_queue_delay_us": 0}) as (model, probe):
        finds(probe)
        lone = request(1, timeout_ms=5000 if way == "deadline" else None)
        result = model.intake.submit(lone).result(5) if way == "submit" else model.intake.execute(lone)
        assert result.unwrap().outputs["y"].tolist() == [2, 2]
        assert model.life.batching.startswith("off: ")
        futures = [busy(model, probe), model.intake.submit(request(-1)), model.intake.submit(request(1))]
        probe.gate.set()
        assert answers(futures) == [[], [], [2, 2]]
        assert sizes(probe) == [1, 1, 1, 1]


def test_a_batch_that_ran_meanwhile_is_doubted_too(tmp_path):
    """Its rows add up by chance, while another instance meets a batch whose rows do not."""
    with served(tmp_path, instances=2, batching=BATCHING) as (model, probe):
        finds(probe)
        first, second = threading.Event(), threading.Event()
        hold = probe._execute

        def execute(slot, inputs, outputs):
            if inputs["x"].tolist() == [-1, 1]:
                first.set()
                assert second.wait(5)
            return hold(slot, inputs, outputs)

        probe._execute = execute
        futures = [model.intake.submit(request(-1)), model.intake.submit(request(1))]
        assert first.wait(5)
        futures += [model.intake.submit(request(2)), model.intake.submit(request(3))]
        until(lambda: model.life.batching != "on")
        second.set()
        assert answers(futures) == [[], [2, 2], [4, 4], [6, 6]]


def test_requests_that_wait_for_company_need_wait_no_longer(tmp_path):
    with served(tmp_path, instances=2, batching=BATCHING | {"max_queue_delay_us": 30_000_000}) as (model, probe):
        finds(probe)
        waiting = model.intake.submit(request(5, outputs=["y"]))  # of another lane
        assert model.intake.execute(request(1, 2, timeout_ms=5000)).unwrap().outputs["y"].tolist() == [2, 2, 4, 4]
        assert answers([waiting]) == [[10, 10]]


def test_outputs_on_a_device_are_counted_too_and_right_ones_leave_batching_on(tmp_path):
    class Elsewhere:
        def __init__(self, rows):
            self.shape, self.dtype, self.size, self.nbytes, self.ndim = (rows,), np.dtype("f4"), rows, 4 * rows, 1

    with served(tmp_path, batching=BATCHING) as (model, probe):
        probe._execute = lambda slot, inputs, outputs: [Elsewhere(len(inputs["x"])) for _ in outputs]
        futures = [model.intake.submit(request(1)), model.intake.submit(request(2))]
        assert all(future.result(5).is_ok() for future in futures)
        assert model.life.batching == "on"


def test_padding_and_empty_requests_are_not_held_against_a_model(tmp_path):
    batching = {"max_batch_size": 8, "preferred_batch_sizes": [4, 8], "pad_to_preferred": True}
    with served(tmp_path, batching=batching) as (model, probe):
        futures = [busy(model, probe, 9), *(model.intake.submit(request(*range(n + 1))) for n in (1, 2))]
        probe.gate.set()
        assert [len(value) for value in answers(futures)] == [1, 2, 3]
        assert model.life.batching == "on"


def test_a_model_without_batching_options_has_no_state_of_it(tmp_path):
    with served(tmp_path) as (model, probe):
        finds(probe)
        assert model.intake.execute(request(1)).unwrap().outputs["y"].tolist() == [2, 2]
        assert (model.life.batching, model.life.metrics().batching) == (None, None)


@pytest.fixture
def context(tmp_path):
    models = {
        "m": {"path": affine(tmp_path), "batching": {"max_batch_size": 4}},
        "plain": {"path": affine(tmp_path, "b")},
    }
    graph = build_graph(manifest(models))
    with ExecutionContext(graph, build_backends(graph, NoOrigins()).unwrap()) as context:
        yield context


def test_the_graph_and_the_metrics_show_it(context, monkeypatch):
    assert [node.batching for node in context.graph.models] == ["on", None]
    assert to_text(context.graph).splitlines()[1] == "    batching: on"
    backend = context.backend("m")
    execute = type(backend)._execute

    def twice(self, slot, inputs, outputs):
        return [value.repeat(2, axis=0) for value in execute(self, slot, inputs, outputs)]

    monkeypatch.setattr(type(backend), "_execute", twice)
    result = context.execute(ExecutionRequest(model="m", inputs={"x": np.ones((1, 4), np.float32)}))
    assert result.unwrap().outputs["y"].shape == (2, 4)
    (found, _) = context.graph.models
    assert found.batching == found.to_json()["batching"] == "off: output `y` had 2 rows for 1 in the inputs"
    assert json.loads(json.dumps(context.metrics()["m"].to_json()))["batching"] is False


def test_a_scrape_shows_it(context):
    pytest.importorskip("prometheus_client", reason="run: pip install 'aegisrt-runtime[metrics]'")
    value = prometheus.prometheus_registry(context).get_sample_value
    assert value("aegisrt_batching", {"model": "m"}) == 1
    assert value("aegisrt_batching", {"model": "plain"}) is None


def test_before_it_is_loaded_the_graph_says_what_will_be_done(tmp_path):
    path = affine(tmp_path)
    for rows, state in (("check", "checked at deploy"), ("trust", "trusted")):
        batching = {"max_batch_size": 4, "rows": rows}
        graph = build_graph(manifest({"m": {"path": path, "batching": batching}}))
        assert graph.models[0].batching == state
