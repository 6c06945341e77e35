"""`aegisrt.asgi`: a deployment in the application and the loop of somebody's own server."""

import asyncio
import json

import pytest

from aegisrt import asgi, deploy
from tests.serving.running import identity_models

BODY = json.dumps({"inputs": [{"name": "x", "shape": [2], "datatype": "FP32", "data": [1, 2]}]}).encode()


@pytest.fixture
def context(tmp_path):
    with deploy({"models": identity_models(tmp_path, ["FP32"])}).unwrap() as context:
        yield context


async def called(app, method, path, body=b"", headers=(), root_path=""):
    """Return the status, the headers and the body of one request."""
    sent = []
    received = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive():
        return received.pop(0) if received else await asyncio.Event().wait()

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": method, "path": root_path + path, "root_path": root_path,
             "headers": list(headers), "client": ("10.0.0.1", 1)}  # fmt: skip
    await app(scope, receive, send)
    return sent[0]["status"], dict(sent[0]["headers"]), b"".join(message.get("body", b"") for message in sent[1:])


def test_a_mounted_application_answers_for_any_host(context):
    async def run():
        app = asgi(context)
        headers = [(b"host", b"api.example.com"), (b"content-length", b"%d" % len(BODY))]
        status, _, body = await called(app, "POST", "/v2/models/id_fp32/infer", BODY, headers, root_path="/models")
        assert (status, json.loads(body)["outputs"][0]["data"]) == (200, [1, 2])
        assert (await called(app, "GET", "/v2/health/ready", headers=headers))[0] == 200
        status, found, text = await called(app, "GET", "/metrics", headers=headers)
        assert (status, found[b"content-type"].split(b";")[0]) == (200, b"text/plain")
        assert b"aegisrt_requests_total" in text
        cross = [*headers, (b"origin", b"https://other.example")]
        assert (await called(app, "POST", "/v2/models/id_fp32/infer", BODY, cross))[0] == 403

    asyncio.run(run())


def test_the_lifespan_closes_the_context(tmp_path):
    context = deploy({"models": identity_models(tmp_path, ["FP32"])}).unwrap()

    async def run():
        messages = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
        sent = []

        async def receive():
            return messages.pop(0)

        async def send(message):
            sent.append(message["type"])

        await asgi(context)({"type": "lifespan"}, receive, send)
        return sent

    assert asyncio.run(run()) == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert context.signature("id_fp32") is None


def test_a_websocket_is_closed(context):
    async def run():
        sent = []

        async def receive():
            return {"type": "websocket.connect"}

        async def send(message):
            sent.append(message["type"])

        await asgi(context)({"type": "websocket", "path": "/"}, receive, send)
        return sent

    assert asyncio.run(run()) == ["websocket.close"]


def test_under_uvicorn(context):
    import http.client
    import threading

    uvicorn = pytest.importorskip("uvicorn")
    server = uvicorn.Server(uvicorn.Config(asgi(context), host="127.0.0.1", port=0, log_config=None))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
    port = server.servers[0].sockets[0].getsockname()[1]
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("POST", "/v2/models/id_fp32/infer", BODY)
    assert json.loads(connection.getresponse().read())["outputs"][0]["data"] == [1, 2]
    connection.close()
    server.should_exit = True
    thread.join(30)
