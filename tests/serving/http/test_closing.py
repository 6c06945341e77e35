"""How a connection ends: pipelines, answers before the request is read, upgrades, and slow readers."""

import http.client
import socket
import time
from contextlib import closing

import pytest

from aegisrt.serving.http import connection as connections
from tests.serving.http import raw
from tests.serving.running import identity_models, running


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    models = identity_models(tmp_path_factory.mktemp("models"), ["FP32"])
    models["slow"] = {**models["id_fp32"], "backend": "slow"}
    with running({"models": models, "backends": {"slow": {"kind": "mock", "delay_ms": 500}}}) as server:
        yield server
        assert (server.server.service.in_flight.requests, server.server.service.in_flight.bytes) == (0, 0)


def test_a_bad_request_behind_others_withdraws_them_all(server):
    with raw.connected(server) as connection:
        connection.sendall(raw.infer(model="slow") * 3 + b"BREW\r\n\r\n")
        assert raw.read_to_end(connection) == b""
    deadline = time.monotonic() + 5
    while server.server.service.in_flight.requests:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_long_queue_on_one_connection_is_refused(server):
    short = raw.get("/v2/health/live")
    assert raw.answers(raw.exchange(server, short * 16 + raw.get("/v2/health/live", raw.CLOSE))) == [200] * 17
    assert raw.exchange(server, short * 19) == b""


def test_headers_behind_a_large_body_are_not_too_large(server):
    request = raw.infer([1.0] * 5000)
    with raw.connected(server) as connection:
        connection.sendall(request + request[:30])
        assert raw.read_answer(connection)[0] == 200
        connection.sendall(request[30:])
        assert raw.read_answer(connection)[0] == 200


def test_the_answer_to_a_request_that_is_still_being_sent_arrives(server):
    connection = http.client.HTTPConnection(server.http, timeout=raw.TIMEOUT_S)
    with closing(connection):
        connection.request("POST", "/v2/repository/index", bytes(60_000_000))
        answer = connection.getresponse()
        assert (answer.status, answer.headers["connection"]) == (413, "close")
        answer.read()


@pytest.mark.parametrize("protocol", [b"h2c", b"websocket"])
def test_an_upgrade_is_ignored(server, protocol):
    head = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: " + protocol + b"\r\nHTTP2-Settings: AAEAAEAA\r\n"
    received = raw.exchange(server, raw.infer([5.0], headers=head))
    assert raw.answers(received) == [200]
    assert b"connection: close" in received
    assert b"[5.0]" in received
    assert raw.answers(raw.exchange(server, raw.get("/v2", head))) == [200]
    with raw.connected(server) as connection:
        request = raw.infer([5.0], headers=head)
        connection.sendall(request[:-5])
        time.sleep(0.1)
        connection.sendall(request[-5:])
        assert raw.read_answer(connection)[0] == 200


@pytest.mark.parametrize("stops", [False, True])
def test_a_reader_is_slow_only_if_it_reads_nothing(server, monkeypatch, stops):
    monkeypatch.setattr(connections, "_SLOW_READER_S", 1.0)
    request = raw.infer([1.0] * 4_000_000, headers=raw.CLOSE)
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        connection.connect(server.http_address)
        connection.settimeout(raw.TIMEOUT_S)
        connection.sendall(request)
        received = connection.recv(1 << 20)
        size = int(raw.parsed(received.partition(b"\r\n\r\n")[0])[1]["content-length"])
        total = len(received)
        until = time.monotonic() + (0.5 if stops else 2.5)  # an answer that is read whole by then stops at nothing
        while time.monotonic() < until:
            time.sleep(0.01)
            total += len(connection.recv(1 << 16))
        if stops:
            time.sleep(3.0)
        assert (total + len(raw.read_to_end(connection)) > size) is not stops


def test_a_request_that_a_closing_model_withdraws_may_be_sent_again():
    from aegisrt.core.result import ErrorCode
    from aegisrt.serving.protocol.status import HTTP_GONE, http_status

    assert http_status(ErrorCode.CANCELLED) == 503
    assert HTTP_GONE == 499
