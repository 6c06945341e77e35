"""Where calls run, and how models change under a server."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from aegisrt import ErrorCode, deploy
from tests.serving.http import raw
from tests.serving.running import identity_models, running
from tests.serving.test_life import BODY, ask
from tests.serving.test_protection import TOKEN, bearer, manifest_of


def test_a_large_input_does_not_run_in_the_loop_of_a_quick_model(tmp_path):
    manifest = {"models": identity_models(tmp_path, ["FP32"]), "server": {"log": {"access": "off"}}}
    with running(manifest, "server.dispatch.inline_below_us=1000000") as server:
        dispatcher = server.server.service.models[0].dispatcher
        for _ in range(20):
            assert ask(server.http, "/v2/models/id_fp32/infer", BODY)[0] == 200
        assert dispatcher.inline > 0
        before = dispatcher.worker
        data = np.zeros(1 << 18, np.float32).tobytes()
        assert raw.answers(raw.exchange(server, binary(data))) == [200]
        assert dispatcher.worker == before + 1
        ask(server.http, "/v2/models/id_fp32/infer", BODY)
        assert dispatcher.worker == before + 1


def binary(data):
    """Return a request with one FP32 tensor of binary data."""
    head = b'{"inputs":[{"name":"x","shape":[%d],"datatype":"FP32","parameters":{"binary_data_size":%d}}]}' % (
        len(data) // 4,
        len(data),
    )
    length = b"Inference-Header-Content-Length: %d\r\n" % len(head)
    return raw.post("/v2/models/id_fp32/infer", head + data, raw.CLOSE + length)


def test_a_model_that_is_loaded_while_the_context_closes_is_unloaded(tmp_path):
    context = deploy({"models": identity_models(tmp_path, ["FP32"])}).unwrap()
    build, built, go = context._rebuild, [], threading.Event()
    begun = threading.Event()

    def slowly(model):
        found = build(model)
        built.append(found.unwrap()[model])
        begun.set()
        go.wait(20)
        return found

    context._rebuild = slowly
    with ThreadPoolExecutor(1) as pool:
        loading = pool.submit(context.load, "id_fp32")
        assert begun.wait(20)
        context.close().unwrap()
        assert built[0].signature is not None
        go.set()
        assert loading.result(20).unwrap_err().code is ErrorCode.NOT_LOADED
    assert built[0].signature is None


def test_waiting_changes_hold_up_no_large_body(tmp_path):
    tokens = tmp_path / "admin"
    tokens.write_text(TOKEN)
    options = {"log": {"access": "off"}, "admin": {"token_file": str(tokens)}}
    with running({"models": identity_models(tmp_path, ["FP32"]), "server": options}) as server:
        build, go = server.context._rebuild, threading.Event()
        server.context._rebuild = lambda model: (go.wait(30), build(model))[1]
        load = raw.post("/v2/repository/models/id_fp32/load", b"{}", raw.CLOSE + bearer(TOKEN))
        with ThreadPoolExecutor(40) as pool:
            loads = [pool.submit(raw.exchange, server, load) for _ in range(40)]
            try:
                data = np.zeros(1 << 19, np.float32).tobytes()
                assert raw.answers(raw.exchange(server, binary(data))) == [200]
            finally:
                go.set()
            assert {raw.answers(one.result(60))[0] for one in loads} == {200}


def test_a_model_that_drains_is_not_ready_and_calls_are_counted_over_a_load(tmp_path):
    with running(manifest_of(tmp_path)) as server, ThreadPoolExecutor(2) as pool:
        endpoint = server.server.service.model("slow").unwrap()
        asked = pool.submit(ask, server.http, "/v2/models/slow/infer", BODY)
        while server.server.service.in_flight.requests == 0 or not server.context.metrics()["slow"].busy:
            assert not asked.done()
        unloading = pool.submit(server.context.unload, "slow")
        while endpoint.is_ready:
            assert not unloading.done()
        assert "slow" not in {entry["name"] for entry in server.server.service.index(ready=True)}
        assert asked.result(30)[0] == 200
        unloading.result(30).unwrap()
        server.context.load("slow").unwrap()
        assert endpoint.is_ready
        assert server.context.calls("slow") == 1
        assert endpoint.statistics()["execution_count"] == 1
