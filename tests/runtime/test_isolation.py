"""`isolation: process` in a manifest: a deployment that outlives its engines."""

import os
import signal

import numpy as np

from aegisrt import ErrorCode, ExecutionRequest, Ok
from aegisrt.graph.build import build_graph
from aegisrt.manifest.origin import NoOrigins
from aegisrt.runtime.building.factory import build_backends
from aegisrt.runtime.context import ExecutionContext
from tests.runtime.announcing import FOLDER, Announcing
from tests.runtime.models import affine, manifest
from tests.runtime.serving import until

X = np.ones((1, 4), np.float32)


def test_a_killed_process_costs_the_request_that_it_ran_and_no_other(tmp_path, monkeypatch):
    monkeypatch.setenv(FOLDER, str(tmp_path))
    monkeypatch.setattr("aegisrt.runtime.building.factory.backend_class", lambda kind: Ok(Announcing))
    models = {"m": {"path": affine(tmp_path), "instances": 2}}
    graph = build_graph(manifest(models, isolation="process", delay_ms=500))
    with ExecutionContext(graph, build_backends(graph, NoOrigins()).unwrap()) as context:
        backend = context.backend("m")
        pids = backend.pids
        futures = [context.submit(ExecutionRequest(inputs={"x": X * value})) for value in range(6)]
        until((tmp_path / str(pids[0])).exists)
        os.kill(pids[0], signal.SIGKILL)
        results = [future.result(20) for future in futures]
        failed = [result.unwrap_err().code for result in results if result.is_err()]
        assert failed == [ErrorCode.UNAVAILABLE]
        for value, result in enumerate(results):
            if result.is_ok():
                np.testing.assert_array_equal(result.unwrap().outputs["y"], X * value * 2)
        assert context.metrics()["m"].requests == {"OK": 5, "UNAVAILABLE": 1}


def test_an_isolated_model_is_batched_and_warmed_up_like_any_other(tmp_path):
    models = {"m": {"path": affine(tmp_path), "warmup": 1, "batching": {"max_batch_size": 8}}}
    graph = build_graph(manifest(models, isolation="process"))
    with ExecutionContext(graph, build_backends(graph, NoOrigins()).unwrap()) as context:
        futures = [context.submit(ExecutionRequest(inputs={"x": X * value})) for value in range(20)]
        for value, future in enumerate(futures):
            np.testing.assert_array_equal(future.result(10).unwrap().outputs["y"], X * value * 2)
