"""What a connection may send, for how long, and what its body may hold of the server's limits."""

import gzip
import json
import threading
import time

import pytest

from tests.serving.http import raw
from tests.serving.running import identity_models, running


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    models = identity_models(tmp_path_factory.mktemp("models"), ["FP32"])
    models["slow"] = {**models["id_fp32"], "backend": "slow"}
    manifest = {
        "models": models,
        "backends": {"slow": {"kind": "mock", "delay_ms": 600}},
        "server": {
            "http": {"read_timeout_s": 1.5, "idle_timeout_s": 1.0},
            "limits": {"requests_in_flight": 30, "bytes_in_flight": 1_000_000},
        },
    }
    with running(manifest) as server:
        yield server
        assert (server.server.service.in_flight.requests, server.server.service.in_flight.bytes) == (0, 0)


CHUNKED = b"POST /v2/models/id_fp32/infer HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
WHOLE = raw.infer().partition(b"\r\n\r\n")[2]


def chunk(data, extension=b""):
    return b"%x" % len(data) + extension + b"\r\n" + data + b"\r\n"


def test_trailers_are_refused_and_are_no_headers(server):
    evil = CHUNKED.replace(b"localhost", b"evil.example")
    assert raw.answers(raw.exchange(server, evil + chunk(WHOLE) + b"0\r\nHost: localhost\r\n\r\n"))[-1] in (400, 403)
    many = b"".join(b"X-%d: 1\r\n" % number for number in range(100_000))
    assert raw.answers(raw.exchange(server, CHUNKED + b"0\r\n" + many)) == [400]


@pytest.mark.parametrize("start", [b"0\r\nX: ", b"5;x="], ids=["trailer", "extension"])
def test_a_trailer_and_an_extension_without_an_end_are_refused(server, start):
    with raw.connected(server) as connection:
        connection.sendall(CHUNKED + start)
        began = time.monotonic()
        try:
            for _ in range(100):
                connection.sendall(b"a" * 65_536)
        except OSError:
            return
        assert raw.answers(raw.read_to_end(connection)) in ([431], [])
        assert time.monotonic() - began < 1.0


def test_chunks_in_reads_of_their_own_are_served(server):
    with raw.connected(server) as connection:
        connection.sendall(CHUNKED)
        for byte in WHOLE:
            connection.sendall(chunk(bytes([byte])))
        connection.sendall(b"0\r\n\r\n")
        assert raw.read_answer(connection)[0] == 200


def test_empty_lines_do_not_keep_a_connection(server):
    for first in (b"\r\n", raw.get("/v2") + b"\r\n"):
        with raw.connected(server) as connection:
            connection.sendall(first)
            connection.settimeout(4)
            raw.read_to_end(connection)


def test_the_time_of_a_request_does_not_start_again_with_each_byte(server):
    with raw.connected(server) as connection:
        connection.settimeout(0.2)
        connection.sendall(raw.infer()[:40])
        began, received = time.monotonic(), b""
        while not received and time.monotonic() - began < 5:
            try:
                received = connection.recv(1000)
            except TimeoutError:
                connection.sendall(b"a")
        assert time.monotonic() - began < 3
        assert raw.answers(received) == [408]


def test_a_part_of_the_next_request_keeps_its_own_time(server):
    with raw.connected(server) as connection:
        connection.sendall(raw.infer() + raw.infer()[:-3])
        assert raw.read_answer(connection)[0] == 200
        time.sleep(1.2)  # longer than an idle connection is kept
        connection.sendall(raw.infer()[-3:])
        assert raw.read_answer(connection)[0] == 200


@pytest.mark.parametrize("kind", ["gzip", "chunked"])
def test_small_bodies_of_unknown_length_do_not_fill_the_server(server, kind):
    body = raw.infer(model="slow").partition(b"\r\n\r\n")[2]
    if kind == "gzip":
        request = raw.post("/v2/models/slow/infer", gzip.compress(body), b"Content-Encoding: gzip\r\n" + raw.CLOSE)
    else:
        head = CHUNKED.replace(b"id_fp32", b"slow").replace(b"Host", b"Connection: close\r\nHost")
        request = head + chunk(body) + b"0\r\n\r\n"
    found = []
    threads = [
        threading.Thread(target=lambda: found.extend(raw.answers(raw.exchange(server, request)))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert found == [200] * 8


def test_bodies_that_grow_beyond_the_limit_are_429(server):
    with raw.connected(server) as first, raw.connected(server) as second:
        for connection in (first, second):
            connection.sendall(CHUNKED)
        first.sendall(chunk(b" " * 600_000))
        time.sleep(0.3)
        second.sendall(chunk(b" " * 600_000))
        assert raw.read_answer(second)[0] == 429
    swollen = raw.post("/v2/models/id_fp32/infer", gzip.compress(bytes(999_000)), b"Content-Encoding: gzip\r\n")
    with raw.connected(server) as first, raw.connected(server) as second:
        first.sendall(CHUNKED + chunk(b" " * 100_000))
        time.sleep(0.3)
        second.sendall(swollen)
        assert raw.read_answer(second)[0] == 429


@pytest.mark.parametrize("path", ["/v2/repository/index", "/v2/systemsharedmemory/unregister"])
def test_only_inference_has_large_bodies(server, path):
    with raw.connected(server) as connection:
        connection.sendall(raw.post(path, json.dumps({"a": "b" * 70_000}).encode()))
        assert raw.read_answer(connection)[0] == 413


def test_a_full_server_is_alive(server):
    held = [raw.connected(server) for _ in range(30)]
    connections = [each.__enter__() for each in held]
    for connection in connections:
        connection.sendall(CHUNKED)
    time.sleep(0.3)
    assert raw.answers(raw.exchange(server, raw.infer(headers=raw.CLOSE))) == [429]
    for path in ("live", "ready"):
        assert raw.answers(raw.exchange(server, raw.get(f"/v2/health/{path}", raw.CLOSE))) == [200]
    for each in held:
        each.__exit__(None, None, None)
    time.sleep(0.2)


def test_the_bytes_of_bodies_are_counted(server):
    before = metric(server)
    raw.exchange(server, raw.infer(headers=raw.CLOSE))
    assert metric(server) - before == len(WHOLE)


def metric(server):
    import urllib.request

    text = urllib.request.urlopen(f"http://{server.metrics}/metrics").read().decode()
    lines = [line for line in text.splitlines() if line.startswith("aegisrt_bytes_total{") and 'direction="in"' in line]
    return sum(float(line.rpartition(" ")[2]) for line in lines)
