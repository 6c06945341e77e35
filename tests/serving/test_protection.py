"""Tokens, TLS, CORS, limits, metrics and health of a running server."""

from __future__ import annotations

import json
import ssl
import subprocess
import threading
import time

import numpy as np
import pytest

from tests.serving.http import raw
from tests.serving.running import identity_models, running
from tests.serving.test_life import BODY, ask

TOKEN = "0123456789abcdef"


def manifest_of(folder, **server):
    models = identity_models(folder, ["FP32"])
    models["slow"] = {**models["id_fp32"], "backend": "slow", "queue": {"max_queue_size": 1}}
    server.setdefault("log", {"access": "off"})
    return {"models": models, "backends": {"slow": {"kind": "mock", "delay_ms": 500}}, "server": server}


def bearer(token):
    return f"Authorization: Bearer {token}\r\n".encode()


def status(server, request):
    return raw.answers(raw.exchange(server, request))[0]


def test_tokens_protect_by_group_and_are_read_again(tmp_path):
    tokens = tmp_path / "tokens"
    tokens.write_text(f"{TOKEN}\nanother-token\n")
    with running(manifest_of(tmp_path, auth={"token_file": str(tokens), "protect": ["infer"]})) as server:
        assert status(server, raw.infer(headers=raw.CLOSE)) == 401
        assert status(server, raw.infer(headers=raw.CLOSE + bearer("wrong-token"))) == 401
        assert status(server, raw.infer(headers=raw.CLOSE + bearer(TOKEN))) == 200
        assert status(server, raw.infer(headers=raw.CLOSE + bearer("another-token"))) == 200
        assert status(server, raw.get("/v2", raw.CLOSE)) == 200
        assert status(server, raw.get("/v2/health/ready", raw.CLOSE)) == 200
        time.sleep(1.1)
        tokens.write_text("a-third-token\n")
        deadline = time.monotonic() + 20
        while status(server, raw.infer(headers=raw.CLOSE + bearer("a-third-token"))) != 200:
            assert time.monotonic() < deadline
            time.sleep(0.2)
        assert status(server, raw.infer(headers=raw.CLOSE + bearer(TOKEN))) == 401


def test_tokens_over_grpc(tmp_path):
    grpc = pytest.importorskip("tritonclient.grpc")
    tokens = tmp_path / "tokens"
    tokens.write_text(TOKEN)
    with running(manifest_of(tmp_path, auth={"token_file": str(tokens)})) as server:
        client = grpc.InferenceServerClient(server.grpc)
        tensor = grpc.InferInput("x", (1,), "FP32")
        tensor.set_data_from_numpy(np.ones(1, np.float32))
        assert client.is_server_ready()
        with pytest.raises(Exception, match="UNAUTHENTICATED"):
            client.infer("id_fp32", [tensor])
        with pytest.raises(Exception, match="UNAUTHENTICATED"):
            client.get_server_metadata()
        headers = {"authorization": f"Bearer {TOKEN}"}
        assert client.infer("id_fp32", [tensor], headers=headers).as_numpy("y") == [1]
        client.close()


@pytest.mark.parametrize("content", [None, "", "short\n"])
def test_a_file_without_good_tokens_is_an_error(tmp_path, content):
    from aegisrt.core.result import ResultError

    tokens = tmp_path / "tokens"
    if content is not None:
        tokens.write_text(content)
    with pytest.raises(ResultError, match="token"), running(manifest_of(tmp_path, auth={"token_file": str(tokens)})):
        pass


def certificate(folder, name):
    """Write a certificate of `localhost` and its key."""
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
               "-days", "2", "-subj", f"/CN={name}", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
               "-keyout", folder / "key.pem", "-out", folder / "cert.pem"]  # fmt: skip
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=60)
    except FileNotFoundError:
        pytest.skip("openssl is not installed here")


def names_of(server):
    """Return the subject of the certificate that the server shows."""
    import socket

    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        socket.create_connection(server.http_address, timeout=20) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as connection,
    ):
        connection.sendall(raw.infer(headers=raw.CLOSE))
        assert raw.answers(raw.read_to_end(connection)) == [200]
        return connection.getpeercert(binary_form=True)


def test_tls_for_both_protocols_and_a_new_certificate(tmp_path):
    grpc = pytest.importorskip("tritonclient.grpc")
    certificate(tmp_path, "first")
    tls = {"certificate": str(tmp_path / "cert.pem"), "key": str(tmp_path / "key.pem")}
    with running(manifest_of(tmp_path, tls=tls)) as server:
        first = names_of(server)
        client = grpc.InferenceServerClient(server.grpc, ssl=True, root_certificates=tls["certificate"])
        assert client.is_server_ready()
        client.close()
        assert status_or_closed(server) != 200
        certificate(tmp_path, "second")
        deadline = time.monotonic() + 20
        while names_of(server) == first:
            assert time.monotonic() < deadline
            time.sleep(0.2)


def status_or_closed(server):
    received = raw.exchange(server, raw.infer(headers=raw.CLOSE))
    return raw.answers(received)[0] if received.startswith(b"HTTP") else None


def test_a_wrong_certificate_is_an_error(tmp_path):
    from aegisrt.core.result import ResultError

    (tmp_path / "c").write_text("no certificate")
    tls = {"certificate": str(tmp_path / "c"), "key": str(tmp_path / "c")}
    with pytest.raises(ResultError, match=r"server\.tls"), running(manifest_of(tmp_path, tls=tls)):
        pass


def test_pages_of_allowed_origins(tmp_path):
    with running(manifest_of(tmp_path, cors={"origins": ["https://app.example"]})) as server:
        origin = b"Origin: https://app.example\r\n"
        preflight = b"OPTIONS /v2/models/id_fp32/infer HTTP/1.1\r\nHost: localhost\r\n" + raw.CLOSE + origin
        received = raw.exchange(server, preflight + b"Access-Control-Request-Headers: authorization\r\n\r\n")
        assert raw.answers(received) == [204]
        assert b"access-control-allow-origin: https://app.example" in received
        assert b"access-control-allow-headers: authorization" in received
        received = raw.exchange(server, raw.infer(headers=raw.CLOSE + origin))
        assert raw.answers(received) == [200]
        assert b"access-control-allow-origin: https://app.example" in received
        assert status(server, raw.infer(headers=raw.CLOSE + b"Origin: https://other.example\r\n")) == 403


def test_a_full_queue_is_429_with_a_time_to_come_back(tmp_path):
    with running(manifest_of(tmp_path)) as server:
        found = []
        threads = [
            threading.Thread(
                target=lambda: found.append(raw.exchange(server, raw.infer(model="slow", headers=raw.CLOSE)))
            )
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        codes = [raw.answers(one)[0] for one in found]
        refused = next(one for one in found if raw.answers(one) == [429])
        assert set(codes) == {200, 429}
        assert b"retry-after: " in refused
        assert b"RESOURCE_EXHAUSTED" in refused


def test_requests_and_bytes_in_flight_are_bounded(tmp_path):
    limits = {"requests_in_flight": 1, "bytes_in_flight": 10_000}
    with running(manifest_of(tmp_path, limits=limits)) as server:
        thread = threading.Thread(target=ask, args=(server.http, "/v2/models/slow/infer", BODY))
        thread.start()
        deadline = time.monotonic() + 10
        while server.server.service.in_flight.requests == 0:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert ask(server.http, "/v2/models/id_fp32/infer", BODY)[0] == 429
        thread.join(60)
        assert ask(server.http, "/v2/models/id_fp32/infer", BODY)[0] == 200


def test_metrics_and_health(tmp_path):
    pytest.importorskip("prometheus_client")
    with running(manifest_of(tmp_path, metrics={"triton_names": True})) as server:
        ask(server.http, "/v2/models/id_fp32/infer", BODY)
        ask(server.http, "/v2/models/nope/infer", BODY)
        deadline = time.monotonic() + 10
        while server.server.service.traffic.statuses().get(("http", "infer", "404")) is None:
            assert time.monotonic() < deadline  # a request is counted when its answer is sent
            time.sleep(0.01)
        code, content = ask(server.metrics, "/metrics")
        lines = content.decode().splitlines()
        assert code == 200
        assert 'aegisrt_server_requests_total{code="200",endpoint="infer",protocol="http"} 1.0' in lines
        assert 'aegisrt_server_requests_total{code="404",endpoint="infer",protocol="http"} 1.0' in lines
        assert 'aegisrt_request_seconds_count{endpoint="infer",protocol="http"} 2.0' in lines
        assert 'nv_inference_request_success{model="id_fp32",version="1"} 1.0' in lines
        assert 'aegisrt_requests_total{code="OK",model="id_fp32"} 1.0' in lines
        assert ask(server.metrics, "/v2/health/live")[0] == 200
        assert ask(server.metrics, "/v2/health/ready")[0] == 200
        assert ask(server.metrics, "/v2")[0] == 404
        assert ask(server.metrics, "/metrics", "x")[0] == 405


def test_grpc_health(tmp_path):
    grpc = pytest.importorskip("grpc")
    from aegisrt.serving.protocol.messages import decode, encode

    with running(manifest_of(tmp_path)) as server, grpc.insecure_channel(server.grpc) as channel:
        check = channel.unary_unary("/grpc.health.v1.Health/Check")
        watch = channel.unary_stream("/grpc.health.v1.Health/Watch")

        def status_of(message):
            return decode("HealthCheckResponse", message)["status"]

        assert status_of(check(encode("HealthCheckRequest", {}), timeout=20)) == 1
        assert status_of(check(encode("HealthCheckRequest", {"service": "id_fp32"}), timeout=20)) == 1
        with pytest.raises(grpc.RpcError) as raised:
            check(encode("HealthCheckRequest", {"service": "nope"}), timeout=20)
        assert raised.value.code() is grpc.StatusCode.NOT_FOUND
        statuses = watch(encode("HealthCheckRequest", {}), timeout=20)
        assert status_of(next(statuses)) == 1
        server.server.service.is_draining = True
        assert status_of(next(statuses)) == 2
        statuses.cancel()


@pytest.mark.parametrize("method", ["Nothing", "TraceSetting", "LogSettings"])
def test_an_unknown_grpc_method_is_unimplemented(tmp_path, method):
    grpc = pytest.importorskip("grpc")
    with running(manifest_of(tmp_path)) as server, grpc.insecure_channel(server.grpc) as channel:
        with pytest.raises(grpc.RpcError) as raised:
            channel.unary_unary(f"/inference.GRPCInferenceService/{method}")(b"", timeout=20)
        assert raised.value.code() is grpc.StatusCode.UNIMPLEMENTED
        with pytest.raises(grpc.RpcError) as raised:
            channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")(b"\xff", timeout=20)
        assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_the_access_log_is_json_without_control_characters(tmp_path, capfd):
    with running(manifest_of(tmp_path, log={"access": "all", "format": "json"})) as server:
        trace = b"traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n"
        raw.exchange(server, raw.infer(headers=raw.CLOSE + trace))
        raw.exchange(server, raw.get("/v2/models/%1b%5b2J%0a::error::x", raw.CLOSE))
    entries = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    assert [entry["status"] for entry in entries] == [200, 404]
    assert entries[0]["trace_id"] == "0af7651916cd43dd8448eb211c80319c"
    assert entries[0]["client"] == "127.0.0.1"


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_load_and_unload_need_a_token_of_their_own(tmp_path, protocol):
    module = pytest.importorskip(f"tritonclient.{protocol}")
    tokens = tmp_path / "admin"
    tokens.write_text(TOKEN)
    headers = {"authorization": f"Bearer {TOKEN}"}
    tensor = module.InferInput("x", (1,), "FP32")
    tensor.set_data_from_numpy(np.ones(1, np.float32))
    with running(manifest_of(tmp_path)) as server:
        client = module.InferenceServerClient(getattr(server, protocol))
        with pytest.raises(Exception, match="server does not load"):
            client.load_model("id_fp32", headers=headers)
        client.close()
    with running(manifest_of(tmp_path, admin={"token_file": str(tokens)})) as server:
        client = module.InferenceServerClient(getattr(server, protocol))
        with pytest.raises(Exception, match="a valid token is missing"):
            client.unload_model("id_fp32")
        with pytest.raises(Exception, match="nope"):
            client.unload_model("nope", headers=headers)
        client.unload_model("id_fp32", headers=headers)
        assert not client.is_model_ready("id_fp32")
        assert not client.is_server_ready()
        with pytest.raises(Exception, match=r"503|UNAVAILABLE"):
            client.infer("id_fp32", [tensor])
        client.load_model("id_fp32", headers=headers)
        assert client.is_server_ready()
        assert client.infer("id_fp32", [tensor]).as_numpy("y") == [1]
        client.load_model("id_fp32", headers=headers)
        assert client.infer("id_fp32", [tensor]).as_numpy("y") == [1]
        with pytest.raises(Exception, match="as the manifest declares it"):
            client.load_model("id_fp32", headers=headers, config="{}")
        client.close()


def test_a_model_that_does_not_load_again_leaves_the_old_one(tmp_path):
    http = pytest.importorskip("tritonclient.http")
    tokens = tmp_path / "admin"
    tokens.write_text(TOKEN)
    with running(manifest_of(tmp_path, admin={"token_file": str(tokens)})) as server:
        (tmp_path / "id_fp32.mock.json").write_text("{")
        client = http.InferenceServerClient(server.http)
        with pytest.raises(Exception, match="500"):
            client.load_model("id_fp32", headers={"authorization": f"Bearer {TOKEN}"})
        assert ask(server.http, "/v2/models/id_fp32/infer", BODY)[0] == 200
        client.close()


def test_requests_go_on_while_a_model_is_loaded_again(tmp_path):
    tokens = tmp_path / "admin"
    tokens.write_text(TOKEN)
    with running(manifest_of(tmp_path, admin={"token_file": str(tokens)})) as server:
        statuses, done = [], threading.Event()

        def hammer():
            while not done.is_set():
                statuses.append(ask(server.http, "/v2/models/id_fp32/infer", BODY)[0])

        threads = [threading.Thread(target=hammer) for _ in range(3)]
        for thread in threads:
            thread.start()
        for _ in range(20):
            server.context.load("id_fp32").unwrap()
            load = raw.post("/v2/repository/models/id_fp32/load", b"{}", raw.CLOSE + bearer(TOKEN))
            assert status(server, load) == 200
        done.set()
        for thread in threads:
            thread.join(30)
        assert set(statuses) == {200}
