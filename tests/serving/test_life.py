"""`aegisrt serve` as a process: listeners, signals, draining, ports in use."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import closing, contextmanager

import pytest

from tests.serving.running import LOCAL, identity_models

TIMEOUT_S = 60


@contextmanager
def served(folder, *overrides, **more):
    """Run `aegisrt serve`, and yield the process and the addresses of its listeners."""
    manifest = folder / "m.yaml"
    models = identity_models(folder, ["FP32"])
    models["slow"] = {**models["id_fp32"], "backend": "slow"}
    backends = {"slow": {"kind": "mock", "delay_ms": 300}}
    manifest.write_text(json.dumps({"models": models, "backends": backends, **more}))
    listeners = [f"server.{name}.listen={LOCAL}" for name in ("http", "grpc", "metrics")]
    command = [sys.executable, "-m", "aegisrt", "serve", str(manifest), *listeners, *overrides]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    addresses = {}
    try:
        for line in process.stdout:
            if line.strip() == "ready":
                break
            name, address = line.split()
            addresses[name] = address.rpartition("//")[2]
        yield process, addresses
    finally:
        process.kill()
        process.communicate(timeout=TIMEOUT_S)


def ask(address, path, body=None):
    """Return the status and the JSON of one request."""
    connection = http.client.HTTPConnection(address, timeout=TIMEOUT_S)
    try:
        connection.request("GET" if body is None else "POST", path, body)
        answer = connection.getresponse()
        content = answer.read()
        return answer.status, json.loads(content) if content[:1] == b"{" else content
    finally:
        connection.close()


BODY = json.dumps({"inputs": [{"name": "x", "shape": [1], "datatype": "FP32", "data": [1]}]})


def test_sigterm_ends_an_idle_server(tmp_path):
    with served(tmp_path) as (process, addresses):
        assert set(addresses) == {"http", "grpc", "metrics"}
        assert ask(addresses["http"], "/v2/models/id_fp32/infer", BODY)[0] == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(TIMEOUT_S) == 0


def test_sigterm_answers_what_was_accepted_and_is_not_ready_meanwhile(tmp_path):
    statuses = []
    with served(tmp_path, "server.shutdown.drain_delay_s=1") as (process, addresses):
        threads = [
            threading.Thread(target=lambda: statuses.append(ask(addresses["http"], "/v2/models/slow/infer", BODY)[0]))
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        assert ask(addresses["http"], "/v2/health/live")[0] == 200
        assert ask(addresses["http"], "/v2/health/ready")[0] == 503
        assert ask(addresses["metrics"], "/v2/health/ready")[0] == 503
        assert ask(addresses["http"], "/v2/models/id_fp32/infer", BODY)[0] == 200
        for thread in threads:
            thread.join(TIMEOUT_S)
        assert process.wait(TIMEOUT_S) == 0
    assert statuses == [200] * 4


def test_an_answer_that_is_being_read_is_sent_whole(tmp_path):
    numbers = 3_000_000
    body = json.dumps({"inputs": [{"name": "x", "shape": [numbers], "datatype": "FP32", "data": [1] * numbers}]})
    with served(tmp_path, "server.shutdown.drain_delay_s=0") as (process, addresses):
        connection = http.client.HTTPConnection(addresses["http"], timeout=TIMEOUT_S)
        with closing(connection):
            connection.request("POST", "/v2/models/id_fp32/infer", body)
            answer = connection.getresponse()
            process.send_signal(signal.SIGTERM)
            time.sleep(1.5)
            assert len(json.loads(answer.read())["outputs"][0]["data"]) == numbers
            assert process.wait(TIMEOUT_S) == 0


def test_a_request_that_is_cut_off_is_answered_503_and_the_process_fails(tmp_path):
    cut = ["server.shutdown.drain_delay_s=0", "server.shutdown.timeout_s=0.3", "backends.slow.delay_ms=2000"]
    with served(tmp_path, *cut) as (process, addresses):
        connection = http.client.HTTPConnection(addresses["http"], timeout=TIMEOUT_S)
        with closing(connection):
            connection.request("POST", "/v2/models/slow/infer", BODY)
            time.sleep(0.3)
            process.send_signal(signal.SIGTERM)
            answer = connection.getresponse()
            assert (answer.status, answer.headers["connection"]) == (503, "close")
            assert json.loads(answer.read())["code"] == "UNAVAILABLE"
        errors = process.communicate(timeout=TIMEOUT_S)[1]
    assert process.returncode == 1
    assert "the client went away" not in errors
    assert "Traceback" not in errors


def test_a_second_sigterm_ends_now(tmp_path):
    with served(tmp_path, "server.shutdown.drain_delay_s=600") as (process, _):
        process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        process.wait(TIMEOUT_S)


def test_sighup_is_refused_with_a_line(tmp_path):
    with served(tmp_path) as (process, addresses):
        process.send_signal(signal.SIGHUP)
        assert process.stdout.readline().startswith("SIGHUP ignored")
        assert ask(addresses["http"], "/v2/health/ready")[0] == 200


@pytest.mark.parametrize("name", ["http", "grpc", "metrics"])
def test_a_port_in_use_is_an_error(tmp_path, name):
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
        command = [sys.executable, "-m", "aegisrt", "serve", "models.digits.backend=mock"]
        listeners = {**dict.fromkeys(("http", "grpc", "metrics"), LOCAL), name: f"127.0.0.1:{port}"}
        command += [f"server.{key}.listen={listen}" for key, listen in listeners.items()]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert ended.returncode == 1
    assert "ALREADY_EXISTS" in ended.stderr
    assert str(port) in ended.stderr
    assert "Traceback" not in ended.stderr


def test_unix_sockets_are_for_this_user_alone_and_are_taken_over(tmp_path):
    path = tmp_path / "s.sock"
    listen = [f"server.http.listen=unix:{path}", "server.grpc.listen=null", "server.metrics.listen=null"]
    for _ in range(2):  # the second server finds the socket of the first, which was killed
        with served(tmp_path, *listen) as (_, addresses):
            assert addresses == {"http": f"unix:{path}"}
            assert path.stat().st_mode & 0o777 == 0o600
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(str(path))
                connection.sendall(b"GET /v2/health/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
                assert connection.recv(1000).startswith(b"HTTP/1.1 200")


def test_check_answers_a_request_of_each_model_and_ends(tmp_path):
    models = identity_models(tmp_path, ["FP32", "BYTES"])
    (tmp_path / "m.yaml").write_text(json.dumps({"models": models}))
    command = [sys.executable, "-m", "aegisrt", "serve", str(tmp_path / "m.yaml"), "--check"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.count("y ") == 2
    failing = subprocess.run(
        [*command, "backends.mock.fail_execute=INTERNAL"],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert failing.returncode == 1
    assert "INTERNAL" in failing.stderr


def test_health_on_its_own_thread_sees_a_blocked_loop(tmp_path, monkeypatch):
    """An engine that hangs in the loop: HTTP does not answer, and liveness on the metrics listener turns to 503."""
    from aegisrt.serving import monitoring
    from tests.serving.running import running

    monkeypatch.setattr(monitoring, "STUCK_S", 2.0)
    models = identity_models(tmp_path, ["FP32"])
    models["id_fp32"]["dispatch"] = "inline"
    with running({"models": models, "backends": {"mock": {"kind": "mock", "delay_ms": 5000}}}) as server:
        thread = threading.Thread(target=ask, args=(server.http, "/v2/models/id_fp32/infer", BODY))
        thread.start()
        deadline = time.monotonic() + 20
        while ask(server.metrics, "/v2/health/live")[0] == 200:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        thread.join(TIMEOUT_S)
        while ask(server.metrics, "/v2/health/live")[0] != 200:
            assert time.monotonic() < deadline
            time.sleep(0.1)
