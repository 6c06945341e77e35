"""The four clients of tritonclient against a running server."""

import asyncio
import queue

import numpy as np
import pytest

from aegisrt.core.tensor import DataType
from tests.serving.protocol.values import same
from tests.serving.running import identity_models, running

http = pytest.importorskip("tritonclient.http")
grpc = pytest.importorskip("tritonclient.grpc")
import tritonclient.grpc.aio as grpc_aio  # noqa: E402
import tritonclient.http.aio as http_aio  # noqa: E402
from tritonclient.utils import InferenceServerException  # noqa: E402

DTYPES = [dtype for dtype in DataType if dtype is not DataType.BF16]
CLIENTS = ("http", "http.aio", "grpc", "grpc.aio")
MODULES = {"http": http, "http.aio": http_aio, "grpc": grpc, "grpc.aio": grpc_aio}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    models = identity_models(folder, DTYPES)
    models["slow"] = {**models["id_fp32"], "backend": "slow"}
    models["plain"] = {**models["id_fp32"], "served_name": "Team/Model A"}
    manifest = {"models": models, "backends": {"slow": {"kind": "mock", "delay_ms": 300}}}
    with running(manifest) as server:
        yield server


class Caller:
    """One of the four clients, with the calls of the blocking one."""

    def __init__(self, name, server):
        self.module = MODULES[name]
        self.is_grpc = name.startswith("grpc")
        self._loop = asyncio.new_event_loop() if name.endswith("aio") else None
        url = server.grpc if self.is_grpc else server.http
        self._client = self._finished(self._made(url))

    def _made(self, url):
        if self._loop is None:
            return (
                self.module.InferenceServerClient(url, network_timeout=30)
                if not self.is_grpc
                else (self.module.InferenceServerClient(url))
            )

        async def make():
            return self.module.InferenceServerClient(url)

        return make()

    def _finished(self, result):
        return self._loop.run_until_complete(result) if asyncio.iscoroutine(result) else result

    def __getattr__(self, name):
        def call(*args, **options):
            if self._loop is None:
                return getattr(self._client, name)(*args, **options)

            async def run():
                return await getattr(self._client, name)(*args, **options)

            return self._loop.run_until_complete(run())

        return call

    def tensor(self, value, dtype, name="x", **options):
        tensor = self.module.InferInput(name, value.shape, str(dtype))
        tensor.set_data_from_numpy(value, **options)
        return tensor

    def close(self):
        self.__getattr__("close")()
        if self._loop is not None:
            self._loop.close()


@pytest.fixture(params=CLIENTS)
def client(request, server):
    caller = Caller(request.param, server)
    yield caller
    caller.close()


def value_of(dtype, shape=(2, 3)):
    count = int(np.prod(shape))
    if dtype is DataType.BYTES:
        texts = np.empty(count, object)
        texts[:] = [b"\xff\x00", "ü".encode(), b""] * (count // 3) + [b"a"] * (count % 3)
        return texts.reshape(shape)
    if dtype is DataType.BOOL:
        return (np.arange(count) % 2 == 0).reshape(shape)
    info = np.finfo(dtype.numpy) if dtype.numpy.kind == "f" else np.iinfo(dtype.numpy)
    values = np.resize(np.asarray([info.min, info.max, 0, 1], dtype.numpy), count)
    return values.reshape(shape)


def test_health_metadata_and_configuration(client):
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("slow")
    if client.is_grpc:
        assert client.get_server_metadata().name == "aegisrt"
        assert [tensor.datatype for tensor in client.get_model_metadata("id_fp16").inputs] == ["FP16"]
        assert client.get_model_config("id_fp16").config.input[0].data_type == 10
        assert {model.state for model in client.get_model_repository_index().models} == {"READY"}
    else:
        assert client.get_server_metadata()["name"] == "aegisrt"
        assert [tensor["datatype"] for tensor in client.get_model_metadata("id_fp16")["inputs"]] == ["FP16"]
        assert client.get_model_config("id_fp16")["input"][0]["data_type"] == "TYPE_FP16"
        assert {model["state"] for model in client.get_model_repository_index()} == {"READY"}


@pytest.mark.parametrize("named", [False, True], ids=["all", "named"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype_in_binary(client, dtype, named):
    value = value_of(dtype)
    outputs = [client.module.InferRequestedOutput("y")] if named else None
    answer = client.infer(f"id_{dtype.lower()}", [client.tensor(value, dtype)], outputs=outputs)
    assert same(answer.as_numpy("y"), value)


@pytest.mark.parametrize("named", [False, True], ids=["all", "named"])
@pytest.mark.parametrize("dtype", [dtype for dtype in DTYPES if dtype is not DataType.FP16])
@pytest.mark.parametrize("name", ["http", "http.aio"])
def test_every_dtype_in_json(server, name, dtype, named):
    """tritonclient writes no FP16 in JSON; the codec's own tests do."""
    caller = Caller(name, server)
    value = value_of(dtype) if dtype is not DataType.BYTES else np.asarray([["ü", "", '"[],']], object)
    output = caller.module.InferRequestedOutput("y", binary_data=False)
    tensor = caller.tensor(value, dtype, binary_data=False)
    answer = caller.infer(f"id_{dtype.lower()}", [tensor], outputs=[output] if named else None)
    got = answer.as_numpy("y")
    caller.close()
    assert same(got.astype(value.dtype), value)


@pytest.mark.parametrize("shape", [(0,), (2, 0, 3), (0, 4)])
@pytest.mark.parametrize("dtype", [DataType.FP32, DataType.BYTES])
def test_empty_tensors(client, dtype, shape):
    value = value_of(dtype, shape)
    assert client.infer(f"id_{dtype.lower()}", [client.tensor(value, dtype)]).as_numpy("y").shape == shape


@pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")  # aiohttp's, of the client
def test_64_mib_both_ways(client):
    value = np.arange(16 << 20, dtype=np.float32)
    assert np.array_equal(client.infer("id_fp32", [client.tensor(value, "FP32")]).as_numpy("y"), value)


FP32 = value_of(DataType.FP32)


@pytest.mark.parametrize(
    ("model", "dtype", "value", "input_", "outputs", "status", "words"),
    [
        ("id_fp23", "FP32", FP32, "x", None, ("404", "NOT_FOUND"), "did you mean `id_fp32`?"),
        ("id_fp64", "FP32", FP32, "x", None, ("400", "INVALID_ARGUMENT"), "is FP32, the model takes FP64"),
        ("id_fp32", "FP32", FP32, "z", None, ("400", "INVALID_ARGUMENT"), "`z` is not an input"),
        ("id_fp32", "FP32", FP32, "x", ["q"], ("400", "INVALID_ARGUMENT"), "`q`"),
    ],
)
def test_a_mistake_has_its_status(client, model, dtype, value, input_, outputs, status, words):
    wanted = None if outputs is None else [client.module.InferRequestedOutput(name) for name in outputs]
    with pytest.raises(InferenceServerException) as raised:
        client.infer(model, [client.tensor(value, dtype, input_)], outputs=wanted)
    assert status[client.is_grpc] in str(raised.value.status())
    if client.is_grpc or "did you mean" not in words:
        assert words in raised.value.message()


def test_an_unknown_version_is_not_found(client):
    assert client.infer("id_fp32", [client.tensor(FP32, "FP32")], model_version="1").as_numpy("y") is not None
    with pytest.raises(InferenceServerException, match="no version `7`"):
        client.infer("id_fp32", [client.tensor(FP32, "FP32")], model_version="7")


def test_a_served_name_is_a_second_name(client):
    for name in ("plain", "Team/Model A"):
        assert client.infer(name, [client.tensor(FP32, "FP32")]).get_response() is not None
        assert client.is_model_ready(name)


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
@pytest.mark.parametrize("name", ["http", "http.aio"])
def test_compression(server, name, algorithm):
    caller = Caller(name, server)
    value = np.zeros((100, 100), np.float32)
    options = {"request_compression_algorithm": algorithm, "response_compression_algorithm": algorithm}
    assert same(caller.infer("id_fp32", [caller.tensor(value, "FP32")], **options).as_numpy("y"), value)
    caller.close()


def test_a_timeout_is_a_deadline(client):
    with pytest.raises(InferenceServerException) as raised:
        client.infer("slow", [client.tensor(FP32, "FP32")], timeout=20_000)
    assert ("504", "DEADLINE_EXCEEDED")[client.is_grpc] in str(raised.value.status())


def test_the_id_and_parameters_return(client):
    options = {"request_id": "abc", "parameters": {"tenant": "t1"}}
    response = client.infer("id_fp32", [client.tensor(FP32, "FP32")], **options).get_response()
    if client.is_grpc:
        assert (response.id, response.parameters["tenant"].string_param) == ("abc", "t1")
    else:
        assert (response["id"], response["parameters"]) == ("abc", {"tenant": "t1"})


def test_1000_calls_on_one_connection(server):
    caller = Caller("http", server)
    tensor = caller.tensor(FP32, "FP32")
    assert all(same(caller.infer("id_fp32", [tensor]).as_numpy("y"), FP32) for _ in range(1000))
    caller.close()


@pytest.mark.parametrize("name", ["http.aio", "grpc.aio"])
def test_64_calls_at_once(server, name):
    module = MODULES[name]

    async def run():
        url = server.grpc if name.startswith("grpc") else server.http
        async with module.InferenceServerClient(url) as client:

            async def call(number):
                tensor = module.InferInput("x", (3,), "FP32")
                tensor.set_data_from_numpy(np.full(3, number, np.float32))
                return (await client.infer("id_fp32", [tensor])).as_numpy("y")[0]

            return await asyncio.gather(*map(call, range(64)))

    assert asyncio.run(run()) == list(range(64))


def test_a_stream_answers_each_request_and_goes_on_after_an_error(server):
    answers = queue.Queue()
    with grpc.InferenceServerClient(server.grpc) as client:
        client.start_stream(lambda result, error: answers.put((result, error)))
        tensor = grpc.InferInput("x", FP32.shape, "FP32")
        tensor.set_data_from_numpy(FP32)
        for number in range(8):
            client.async_stream_infer("nope" if number == 3 else "id_fp32", [tensor], request_id=str(number))
        found = [answers.get(timeout=30) for _ in range(8)]
        client.stop_stream()
    assert sorted(result.get_response().id for result, error in found if error is None) == list("0124567")
    (error,) = [error for _, error in found if error is not None]
    assert "`nope` is not a model of this server" in str(error)


def test_a_canceled_call_does_not_run(server):
    before = server.context.metrics()["slow"].compute_us.count
    with grpc.InferenceServerClient(server.grpc) as client:
        tensor = grpc.InferInput("x", FP32.shape, "FP32")
        tensor.set_data_from_numpy(FP32)
        answers = queue.Queue()
        calls = [client.async_infer("slow", [tensor], lambda result, error: answers.put(error)) for _ in range(8)]
        for call in calls[1:]:
            call.cancel()
        errors = [answers.get(timeout=30) for _ in range(8)]
    assert (
        sum("CANCELLED" in str(error.status()) or "Locally cancelled" in str(error) for error in errors if error) == 7
    )
    assert server.context.metrics()["slow"].compute_us.count - before <= 2


def test_statistics_count(client):
    def successes():
        stats = client.get_inference_statistics("id_int8")
        if client.is_grpc:
            return stats.model_stats[0].inference_stats.success.count
        return stats["model_stats"][0]["inference_stats"]["success"]["count"]

    before = successes()
    client.infer("id_int8", [client.tensor(value_of(DataType.INT8), "INT8")])
    assert successes() == before + 1
