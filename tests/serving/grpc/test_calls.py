"""gRPC calls that a client does not make by chance: damaged, large, many, unread, and open at the end of the server."""

import asyncio
import os
import queue
import stat
import time

import numpy as np
import pytest

from aegisrt.core.result import ErrorCode
from aegisrt.serving.protocol.status import grpc_status
from aegisrt.serving.protocol.wire import length_delimited
from tests.serving.running import identity_models, running

grpc = pytest.importorskip("grpc")
client = pytest.importorskip("tritonclient.grpc")

SERVICE = "/inference.GRPCInferenceService/"
HEALTH = "/grpc.health.v1.Health/"
SMALL = ["ModelReady", "ModelMetadata", "ModelStatistics", "RepositoryIndex"]
LARGE = b"\x50\x01" * (2 << 20)
"""Two million fields that no message has."""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    models = identity_models(tmp_path_factory.mktemp("models"), ["FP32", "UINT8"])
    with running({"models": models}) as server:
        yield server


@pytest.fixture
def channel(server):
    with grpc.insecure_channel(server.grpc) as channel:
        yield channel


def status_of(call):
    with pytest.raises(grpc.RpcError) as raised:
        call()
    return raised.value.code()


@pytest.mark.parametrize("method", [*[SERVICE + name for name in SMALL], HEALTH + "Check"])
@pytest.mark.parametrize("message", [b"\x0a\xff", b"\x0a\x01\xff", LARGE])
def test_damaged_and_large_messages_are_refused_at_once(channel, method, message):
    since = time.perf_counter()
    assert status_of(lambda: channel.unary_unary(method)(message)) is grpc.StatusCode.INVALID_ARGUMENT
    assert time.perf_counter() - since < 0.5


@pytest.mark.parametrize("message", [b"\x0a\xff", LARGE])
def test_a_damaged_watch_is_refused(channel, message):
    watch = channel.unary_stream(HEALTH + "Watch")
    assert status_of(lambda: next(watch(message))) is grpc.StatusCode.INVALID_ARGUMENT


def test_a_long_name_is_answered(channel):
    with pytest.raises(grpc.RpcError) as raised:
        channel.unary_unary(SERVICE + "ModelMetadata")(length_delimited(1, ("ä" * 30_000).encode()))
    assert raised.value.code() is grpc.StatusCode.NOT_FOUND
    assert raised.value.details().startswith("`ää")


def test_at_most_64_clients_watch(channel):
    watch = channel.unary_stream(HEALTH + "Watch")
    watches = [watch(b"") for _ in range(64)]
    assert {next(one) for one in watches} == {b"\x08\x01"}
    assert status_of(lambda: next(watch(b""))) is grpc.StatusCode.RESOURCE_EXHAUSTED
    for one in watches:
        one.cancel()
    until = time.monotonic() + 10
    while time.monotonic() < until:
        try:
            assert next(watch(b"")) == b"\x08\x01"
            return
        except grpc.RpcError:
            time.sleep(0.1)
    pytest.fail("a canceled watch still counts")


def request(value, number, name="id_uint8", **parameters):
    tensor = client.InferInput("x", value.shape, "UINT8")
    tensor.set_data_from_numpy(value)
    message = client.service_pb2.ModelInferRequest(model_name=name, id=str(number))
    message.inputs.append(tensor._get_tensor())
    message.raw_input_contents.append(value.tobytes())
    for key, item in parameters.items():
        message.parameters[key].bool_param = item
    return message.SerializeToString()


def test_a_client_that_reads_no_answers_fills_no_memory(server, channel):
    """Ten times as many requests as the stream may hold, each with a large answer that stays unread for a while."""
    value = np.zeros(1 << 20, np.uint8)
    sent = []

    def messages():
        for number in range(640):
            sent.append(number)
            yield request(value, number)

    stream = channel.stream_stream(SERVICE + "ModelStreamInfer")(messages())
    next(stream)
    time.sleep(1.0)
    assert server.server.service.in_flight.requests == 0
    assert len(sent) < 200
    assert 1 + sum(1 for _ in stream) == 640


def test_a_stream_is_counted_and_its_last_answers_are_marked(server, channel):
    key = ("grpc", "ModelStreamInfer", "0")
    failed = ("grpc", "ModelStreamInfer", "5")
    before = server.server.service.traffic.statuses()
    value = np.ones(2, np.uint8)
    sent = [request(value, 0), request(value, 1, triton_enable_empty_final_response=True), request(value, 2, "nope")]
    stream = channel.stream_stream(SERVICE + "ModelStreamInfer")(iter(sent))
    answers = {}
    for content in stream:
        answer = client.service_pb2.ModelStreamInferResponse.FromString(content)
        answers[answer.infer_response.id] = answer
    after = server.server.service.traffic.statuses()
    assert after[key] - before.get(key, 0) == 2
    assert after[failed] - before.get(failed, 0) == 1
    assert answers["1"].infer_response.parameters["triton_final_response"].bool_param
    assert "triton_final_response" not in answers["0"].infer_response.parameters
    assert "`nope`" in answers["2"].error_message


def test_an_unexpected_error_in_a_stream_is_logged(server, channel, monkeypatch, capfd):
    from aegisrt.serving.grpc import calls

    def broken(message):
        raise ZeroDivisionError("secret")

    monkeypatch.setattr(calls, "read_infer_message", broken)
    stream = channel.stream_stream(SERVICE + "ModelStreamInfer")(iter([request(np.ones(2, np.uint8), 0)]))
    answer = client.service_pb2.ModelStreamInferResponse.FromString(next(stream))
    assert "secret" not in answer.error_message
    line = capfd.readouterr().err
    assert "ModelStreamInfer" in line
    assert "ZeroDivisionError" in line


def test_the_drain_does_not_wait_for_watches_and_idle_streams(tmp_path):
    manifest = {"models": identity_models(tmp_path, ["UINT8"])}
    with running(manifest) as server, grpc.insecure_channel(server.grpc) as channel:
        watch = channel.unary_stream(HEALTH + "Watch")(b"")
        sent = queue.Queue()
        sent.put(request(np.ones(2, np.uint8), 0))
        stream = channel.stream_stream(SERVICE + "ModelStreamInfer")(iter(sent.get, None))
        assert next(watch) == b"\x08\x01"
        assert next(stream)
        since = time.monotonic()
        ending = asyncio.run_coroutine_threadsafe(server.server.stop(20), server.loop)
        assert list(watch) == [b"\x08\x02"]
        assert list(stream) == []
        ending.result(30)
        assert time.monotonic() - since < 5
        sent.put(None)


def test_a_unix_socket_is_its_users_alone(tmp_path):
    path = tmp_path / "s"
    before = os.umask(0o022)
    try:
        with running({"models": identity_models(tmp_path, ["FP32"])}, f"server.grpc.listen=unix:{path}"):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            with grpc.insecure_channel(f"unix:{path}") as channel:
                assert channel.unary_unary(SERVICE + "ServerLive")(b"") == b"\x08\x01"
    finally:
        os.umask(before)


def test_a_withdrawn_request_of_a_client_that_is_there_is_unavailable():
    assert grpc_status(ErrorCode.CANCELLED) == grpc.StatusCode.UNAVAILABLE.value[0]
