"""Hostile and broken clients: each gets an answer or a closed connection, and the next client is served."""

import gzip
import json
import socket
import time
import zlib

import pytest

from tests.serving.http import raw
from tests.serving.running import identity_models, running


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    models = identity_models(tmp_path_factory.mktemp("models"), ["FP32", "BYTES"])
    models["slow"] = {**models["id_fp32"], "backend": "slow"}
    manifest = {
        "models": models,
        "backends": {"slow": {"kind": "mock", "delay_ms": 400}},
        "server": {"http": {"read_timeout_s": 1.0, "idle_timeout_s": 2.0, "max_body_bytes": 100_000,
                            "max_connections": 40}, "log": {"access": "off"}},
    }  # fmt: skip
    with running(manifest) as server:
        yield server
        assert server.server.service.in_flight.requests == 0
        assert server.server.service.in_flight.bytes == 0


@pytest.fixture(autouse=True)
def served_afterwards(server):
    """After each test a new client is served."""
    yield
    deadline = time.monotonic() + 20
    while True:
        try:
            assert raw.answers(raw.exchange(server, raw.infer(headers=raw.CLOSE))) == [200]
            return
        except (OSError, AssertionError, IndexError):
            assert time.monotonic() < deadline
            time.sleep(0.1)


SMUGGLED = b"GET /v2/smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n",
        b"Content-Length: 4\r\nContent-Length: 5\r\n",
        b"Content-Length: 4, 5\r\n",
        b"Content-Length: +4\r\n",
        b"Content-Length: -4\r\n",
        b"Content-Length: 0x4\r\n",
        b"Content-Length: 99999999999999999999999\r\n",
        b"Content-Length : 4\r\n",
        b"Transfer-Encoding: chunked, identity\r\n",
        b"Transfer-Encoding: xchunked\r\n",
        b"Transfer-Encoding : chunked\r\n",
        b"X: a\r\n Content-Length: 4\r\n",
        b"X: a\nContent-Length: 4\r\n",
        b"X\0: a\r\n",
        b"X: a\0b\r\n",
        b"Host: other\r\n",
    ],
)
def test_an_ambiguous_request_is_refused_and_nothing_behind_it_is_served(server, head):
    begin = b"POST /v2/repository/index HTTP/1.1\r\nHost: localhost\r\n"
    received = raw.exchange(server, begin + head + b"\r\n0\r\n\r\n" + SMUGGLED)
    assert raw.answers(received) in ([400], [413], [501])
    assert b"error" in received


@pytest.mark.parametrize(
    "request_",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET /v2 HTTP/9.9\r\nHost: localhost\r\n\r\n",
        b"GET /v2 HTTP/1.1\r\n\r\n",
        b"GET http://[ HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"BREW /v2 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"CONNECT localhost:1 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ],
)
def test_what_is_not_a_request_is_refused(server, request_):
    (status,) = raw.answers(raw.exchange(server, request_))
    assert status in (400, 501)


@pytest.mark.parametrize(
    "head",
    [b"X: " + b"a" * 20_000 + b"\r\n", b"X: 1\r\n" * 5000, b"X" * 20_000 + b": 1\r\n"],
    ids=["value", "many", "name"],
)
def test_large_headers_are_refused(server, head):
    assert raw.answers(raw.exchange(server, raw.get("/v2", head))) == [431]
    assert raw.answers(raw.exchange(server, raw.get("/" + "a" * 20_000))) == [431]


def test_a_header_without_an_end_is_refused(server):
    assert raw.answers(raw.exchange(server, b"GET /v2 HTTP/1.1\r\nX: " + b"a" * 200_000)) == [431]


@pytest.mark.parametrize(
    "request_",
    [
        raw.post("/v2/models/id_fp32/infer", b"x" * 100_001),
        raw.post("/v2/models/id_fp32/infer", gzip.compress(bytes(10_000_000)), b"Content-Encoding: gzip\r\n"),
        raw.post("/v2/models/id_fp32/infer", zlib.compress(bytes(10_000_000)), b"Content-Encoding: deflate\r\n"),
        b"POST /v2/models/id_fp32/infer HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
        + b"8000\r\n" + b"x" * 0x8000 + b"\r\n8000\r\n" + b"x" * 0x8000 + b"\r\n"
        + b"8000\r\n" + b"x" * 0x8000 + b"\r\n8000\r\n" + b"x" * 0x8000 + b"\r\n0\r\n\r\n",
        b"POST /v2/models/id_fp32/infer HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000000000\r\n\r\n",
    ],
    ids=["length", "gzip", "deflate", "chunked", "declared"],
)  # fmt: skip
def test_a_large_body_is_413(server, request_):
    with raw.connected(server) as connection:
        connection.sendall(request_)
        status, headers, body = raw.read_answer(connection)
    assert (status, headers["connection"]) == (413, "close")
    assert json.loads(body)["code"] == "RESOURCE_EXHAUSTED"


def test_one_byte_at_a_time(server):
    with raw.connected(server) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in raw.infer():
            connection.send(bytes([byte]))
        assert raw.read_answer(connection)[0] == 200


def test_a_client_that_stops_within_its_request_is_answered_408(server):
    for part in (raw.infer()[:20], raw.infer()[:-3]):
        received = raw.exchange(server, part)
        assert raw.answers(received) == [408]


def test_an_idle_connection_is_closed(server):
    for first in (b"", raw.get("/v2")):
        with raw.connected(server) as connection:
            connection.sendall(first)
            started = time.monotonic()
            raw.read_to_end(connection)
            assert time.monotonic() - started > 1


def test_connections_beyond_the_limit_are_closed_at_accept(server):
    held = [socket.create_connection(server.http_address, timeout=raw.TIMEOUT_S) for _ in range(100)]
    time.sleep(0.5)
    opened = 0
    for connection in held:
        connection.setblocking(False)
        try:
            opened += connection.recv(1) != b""
        except BlockingIOError:
            opened += 1
        except ConnectionResetError:
            pass
    assert opened == 40
    for connection in held:
        connection.close()


def test_pipelined_requests_are_answered_in_order(server):
    requests = raw.infer([1.0]) + raw.infer([2.0]) + raw.infer([3.0], headers=raw.CLOSE)
    received = raw.exchange(server, requests)
    assert raw.answers(received) == [200, 200, 200]
    assert [received.index(text) for text in (b"[1.0]", b"[2.0]", b"[3.0]")] == sorted(
        received.index(text) for text in (b"[1.0]", b"[2.0]", b"[3.0]")
    )


def test_clients_that_go_away_leave_nothing(server):
    calls = server.context.metrics()["slow"].compute_us.count
    for part in (1.0, 0.5):
        for _ in range(10):
            with raw.connected(server) as connection:
                request = raw.infer(model="slow")
                connection.sendall(request[: int(len(request) * part)])
                if part == 1.0:
                    time.sleep(0.02)
    time.sleep(1.0)
    assert server.context.metrics()["slow"].queued == 0
    assert server.context.metrics()["slow"].compute_us.count - calls < 10


def test_a_client_that_does_not_read_blocks_nobody_else(server):
    with raw.connected(server) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.sendall(raw.infer([1.0] * 20_000) * 20)
        assert raw.answers(raw.exchange(server, raw.infer(headers=raw.CLOSE))) == [200]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (b"", 200),
        (b"Origin: http://evil.example\r\n", 403),
        (b"Origin: null\r\n", 403),
        (b"Origin: http://localhost\r\n", 200),
        (b"Origin: http://localhost:1\r\n", 403),
    ],
)
def test_pages_of_other_origins_are_refused(server, headers, status):
    assert raw.answers(raw.exchange(server, raw.infer(headers=headers + raw.CLOSE))) == [status]


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:8000", 200),
        ("127.0.0.1", 200),
        ("[::1]:80", 200),
        ("evil.example", 403),
        ("127.0.0.1.evil.example", 403),
    ],
)
def test_a_name_that_points_here_is_refused(server, host, status):
    request = f"GET /v2 HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()
    assert raw.answers(raw.exchange(server, request)) == [status]


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (raw.get("/"), 404),
        (raw.get("/v2/nothing"), 404),
        (raw.get("/v2/models"), 404),
        (raw.get("/metrics"), 404),
        (raw.get("/v2/models/nope"), 404),
        (raw.get("/v2/models/id_fp32/versions/9"), 404),
        (raw.get("/v2/models/id_fp32/infer"), 405),
        (raw.post("/v2", b""), 405),
        (raw.post("/v2/repository/models/id_fp32/load", b""), 403),
        (raw.post("/v2/systemsharedmemory/region/r/register", b"{}"), 501),
        (raw.post("/v2/systemsharedmemory/unregister", b""), 200),
        (raw.get("/v2/cudasharedmemory/status"), 200),
        (raw.get("/v2/models/%69d_fp32"), 200),
        (raw.get("/v2/models/..%2f..%2fetc"), 404),
        (raw.get("/v2/health/live?x=1"), 200),
        (raw.infer(model="id_fp32/versions/1"), 200),
        (raw.post("/v2/models/id_fp32/infer", b"{}"), 400),
        (raw.post("/v2/models/id_fp32/infer", b"{}", b"Content-Encoding: br\r\n"), 400),
        (raw.post("/v2/models/id_fp32/infer", b"{}", b"Content-Encoding: gzip\r\n"), 400),
        (raw.infer(headers=b"aegisrt-timeout-ms: -1\r\n"), 400),
        (raw.infer(headers=b"Expect: 100-continue\r\n"), 100),
    ],
)
def test_statuses(server, request_, status):
    with raw.connected(server) as connection:
        connection.sendall(request_)
        found, headers, body = raw.read_answer(connection)
    assert found == status
    if status >= 400:
        assert headers["content-type"] == "application/json"
        assert set(json.loads(body)) <= {"error", "code", "hint"}


def test_head_has_no_body(server):
    request = b"HEAD /v2 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    head, _, body = raw.exchange(server, request).partition(b"\r\n\r\n")
    assert b"200" in head
    assert body == b""


def test_an_http_1_0_client_is_answered(server):
    assert raw.answers(raw.exchange(server, b"GET /v2 HTTP/1.0\r\n\r\n")) == [200]
