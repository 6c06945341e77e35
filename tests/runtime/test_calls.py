"""A context with less ceremony: fields instead of a request, `async with`, `ready`, short reprs, notebooks."""

from __future__ import annotations

import ast
import asyncio
import inspect
import logging
import pickle
import re
import threading

import numpy as np
import pytest

from aegisrt import ErrorCode, ExecutionRequest, deploy, deploy_async
from aegisrt.core import request as request_module
from aegisrt.core import result as result_module
from aegisrt.core import tensor as tensor_module
from aegisrt.core import timing as timing_module
from aegisrt.runtime import metrics as metrics_module
from tests.runtime.models import affine

X = np.ones((2, 4), np.float32)


def manifest(folder, **model):
    return {"models": {"double": {"path": str(affine(folder)), "backend": "mock", **model}}}


@pytest.fixture
def context(tmp_path):
    with deploy(manifest(tmp_path)).unwrap() as context:
        yield context


def test_a_call_may_have_the_fields_of_a_request(context):
    answer = context.execute(model="double", inputs={"x": X}, id="a").unwrap()
    assert (answer.outputs["y"] == 2 * X).all()
    assert answer.metadata["request_id"] == "a"
    assert context.execute(inputs={"x": X}, outputs=["y"], timeout_ms=5000, priority="high").is_ok()
    assert context.submit(inputs={"x": X}).result().is_ok()

    async def main():
        return await context.execute_async(model="double", inputs={"x": X})

    assert asyncio.run(main()).is_ok()


@pytest.mark.parametrize(
    ("arguments", "fields", "said"),
    [
        ((), {}, "execute takes an ExecutionRequest, not a NoneType"),
        ((), {"model": "double"}, "the request has no `inputs`"),
        ((), {"imputs": {}}, "`imputs` is not a field of a request"),
        ((ExecutionRequest(inputs={"x": X}),), {"model": "double"}, "the call has a request, and beside it `model`"),
    ],
)
def test_wrong_fields_are_answered(context, arguments, fields, said):
    async def main():
        return await context.execute_async(*arguments, **fields)

    answers = [
        context.execute(*arguments, **fields),
        context.submit(*arguments, **fields).result(),
        asyncio.run(main()),
    ]
    for answer in answers:
        error = answer.unwrap_err()
        assert (error.code, error.message) == (ErrorCode.INVALID_ARGUMENT, said)
    if "imputs" in fields:
        assert error.hint == "did you mean `inputs`?"


def test_a_deployment_in_an_async_with_is_closed_by_it(tmp_path):
    async def main():
        async with (await deploy_async(manifest(tmp_path))).unwrap() as context:
            assert (await context.execute_async(inputs={"x": X})).is_ok()
        return context

    context = asyncio.run(main())
    assert context.execute(inputs={"x": X}).unwrap_err().code is ErrorCode.NOT_LOADED


def test_the_event_loop_goes_on_while_an_async_with_closes(tmp_path):
    declared = manifest(tmp_path) | {"backends": {"mock": {"kind": "mock", "delay_ms": 400}}}

    async def main():
        async with (await deploy_async(declared)).unwrap() as context:
            running = asyncio.create_task(context.execute_async(inputs={"x": X}))
            await asyncio.sleep(0.05)
            ticks = asyncio.create_task(count_ticks())
        ticks.cancel()
        assert (await running).is_ok(), "the request that the loop waits for is answered"
        return await asyncio.gather(ticks, return_exceptions=True)

    seen = []

    async def count_ticks():
        while True:
            seen.append(1)
            await asyncio.sleep(0.01)

    asyncio.run(main())
    assert len(seen) >= 5


def test_ready_until_it_is_closed(tmp_path):
    with deploy(manifest(tmp_path)).unwrap() as context:
        assert context.ready() is True
        assert repr(context) == "<ExecutionContext: double on mock, cpu>"
    assert context.ready() is False
    assert repr(context) == "<ExecutionContext: closed>"


def test_not_ready_while_it_closes(tmp_path):
    declared = manifest(tmp_path) | {"backends": {"mock": {"kind": "mock", "delay_ms": 500}}}
    context = deploy(declared).unwrap()
    running = context.submit(inputs={"x": X})
    closing = threading.Thread(target=context.close)
    closing.start()
    closing.join(0.1)
    assert closing.is_alive()
    assert not context.ready()
    closing.join()
    assert running.result().is_ok()


def test_metadata_of_a_model(context):
    assert context.metadata("double") == {}
    assert context.metadata("other") is None


def test_requests_and_results_have_short_reprs(context):
    request = ExecutionRequest(inputs={"x": X}, model="double", timeout_ms=50, id="a\n", priority="high")
    assert repr(request) == r"<ExecutionRequest: x FP32[2,4]; model double, timeout_ms 50, id a\n, priority high>"
    assert repr(ExecutionRequest(inputs=[1])) == "<ExecutionRequest: (list)>"
    answer = context.execute(inputs={"x": X}).unwrap()
    assert repr(answer) == "<ExecutionResult: y FP32[2,4]; model double, backend mock, device cpu>"
    assert repr(pickle.loads(pickle.dumps(answer))) == repr(answer)


def test_a_notebook_shows_results_and_metrics_as_tables(context):
    answer = context.execute(inputs={"x": X}, id="<script>").unwrap()
    table = answer._repr_html_()
    assert re.search(
        r"<td[^>]*>y</td><td[^>]*>FP32</td><td[^>]*>\[2,4\]</td><td[^>]*>2, 2, 2, 2, 2, 2, \.\.\.</td>", table
    )
    answer.outputs = {"<script>alert(1)</script>": np.array(["<b>"], object)}
    assert "<script>" not in answer._repr_html_()
    assert "<b>" not in answer._repr_html_()
    context.execute(inputs={"wrong": X})
    metrics = context.metrics()
    assert isinstance(metrics, dict)
    table = metrics._repr_html_()
    assert "<td" in table
    assert "1 OK, 1 INVALID_ARGUMENT" in table


def test_rows_of_inline_calls_are_counted(tmp_path):
    with deploy(manifest(tmp_path, batching={"max_batch_size": 8})).unwrap() as context:
        context.execute(inputs={"x": X}).unwrap()
        context.execute(inputs={"x": np.ones((5, 4), np.float32)}).unwrap()
        context.submit(inputs={"x": X}).result().unwrap()
        rows = context.metrics()["double"].batch_rows
    assert (rows.count, rows.sum) == (3, 9)


def test_failures_and_restarts_are_counted(context):
    context.execute(inputs={"x": X}).unwrap()
    for _ in range(3):
        context.execute(inputs={})
    counts = context.metrics()["double"]
    assert (counts.failures, counts.restarts) == (3, 0)
    assert (counts.to_json()["failures"], counts.to_json()["restarts"]) == (3, 0)


def test_the_first_failure_of_a_kind_is_logged_and_more_are_not(context, caplog):
    with caplog.at_level(logging.INFO, logger="aegisrt"):
        for index in range(5):
            context.execute(inputs={"x": X.astype(np.float64)}, id=f"r{index}\n")
        context.submit(inputs={"x": X}, timeout_ms=1e-6).result()
    first, late = [record for record in caplog.records if "failed" in record.getMessage()]
    assert (first.levelname, first.model, first.code, first.request_id) == (
        ("WARNING", "double", "INVALID_ARGUMENT", r"r0\n")
    )
    assert first.getMessage().startswith(r"request `r0\n` of model `double` failed: INVALID_ARGUMENT: ")
    assert (late.code, late.model) == ("DEADLINE_EXCEEDED", "double")


def test_failures_are_logged_again_after_a_minute_with_their_count(context, caplog, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr("aegisrt.runtime.failures.time.monotonic", lambda: now[0])
    with caplog.at_level(logging.WARNING, logger="aegisrt"):
        for _ in range(4):
            context.execute(inputs={})
        now[0] += 61
        context.execute(inputs={})
    first, second = [record for record in caplog.records if "failed" in record.getMessage()]
    assert (first.unlogged, second.unlogged) == (0, 3)
    assert "(3 more since the last of this code that was logged)" in second.getMessage()


def test_what_is_loaded_deployed_and_closed_is_logged(tmp_path, caplog):
    with caplog.at_level(logging.INFO, logger="aegisrt"), deploy(manifest(tmp_path)).unwrap() as context:
        context.execute(inputs={"x": X}).unwrap()
    events = [record.getMessage() for record in caplog.records]
    assert re.fullmatch(r"loaded .*affine\.mock\.json on mock in [\d.]+ ms", events[0])
    assert re.fullmatch(r"deployed model `double`: mock, on cpu, 1 instance, in \d+ ms", events[1])
    assert re.fullmatch(r"closed `double` in \d+ ms", events[2])
    assert len(events) == 3, "a request that succeeds logs nothing"
    context.close().unwrap()
    assert len(caplog.records) == 3, "it was closed before"


@pytest.mark.parametrize("module", [request_module, result_module, tensor_module, timing_module, metrics_module])
def test_every_field_has_a_docstring(module):
    tree = ast.parse(inspect.getsource(module))
    for node in [one for one in tree.body if isinstance(one, ast.ClassDef) and not one.name.startswith("_")]:
        for field, after in zip(node.body, [*node.body[1:], None], strict=True):
            if isinstance(field, ast.AnnAssign):
                documented = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
                assert documented, f"{module.__name__}.{node.name}.{ast.unparse(field.target)}"
