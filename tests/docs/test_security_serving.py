"""What SECURITY.md promises of clients of `aegisrt serve`; tests/serving tries the rest."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
from contextlib import asynccontextmanager

import pytest

from aegisrt import deploy
from aegisrt.core.result import ErrorCode, ResultError
from aegisrt.manifest.server import GrpcOptions, HttpOptions, ServerLimitOptions
from tests.docs.pages import ROOT
from tests.serving.running import identity_models

SECTION = (ROOT / "SECURITY.md").read_text(encoding="utf-8").partition("## Clients of")[2].partition("\n## ")[0]

for module in ("msgspec", "httptools", "uvicorn", "prometheus_client"):
    pytest.importorskip(module, reason="run: pip install 'aegisrt-runtime[serve]'")
grpc = pytest.importorskip("grpc", reason="run: pip install 'aegisrt-runtime[serve]'")


def test_every_bound_is_named():
    bounds = {f"http.{name}" for name in HttpOptions.model_fields if name.startswith("max_") or "timeout" in name}
    bounds |= {f"grpc.{name}" for name in GrpcOptions.model_fields if name in ("max_message_bytes", "max_streams")}
    bounds |= {f"limits.{name}" for name in ServerLimitOptions.model_fields}
    assert len(bounds) == 9
    assert {name for name in bounds if f"`{name}`" not in SECTION} == set()


@asynccontextmanager
async def serving(context, **listeners):
    """Serve a context in this loop."""
    from aegisrt.serving.server import Server

    options = context.graph.manifest.server
    off = {"http": None, "grpc": None, "metrics": None} | listeners
    changed = {name: getattr(options, name).model_copy(update={"listen": listen}) for name, listen in off.items()}
    server = Server(context, lambda line: None, options.model_copy(update=changed))
    try:
        yield await server.start()
    finally:
        await server.stop(1)


@pytest.fixture
def context(tmp_path):
    server = {"grpc": {"max_message_bytes": 100_000}, "log": {"access": "off"}}
    with deploy({"models": identity_models(tmp_path, ["FP32"]), "server": server}).unwrap() as made:
        yield made


@pytest.fixture
def _no_umask():
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.usefixtures("_no_umask")
@pytest.mark.parametrize("listener", ["http", "grpc", "metrics"])
def test_a_socket_is_of_this_user_alone_and_is_not_taken(context, tmp_path, listener):
    path = tmp_path / "s"
    listen = {listener: f"unix:{path}"}
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(path))
    dead.close()

    async def check():
        async with serving(context, **listen):
            first = path.stat()
            assert stat.S_ISSOCK(first.st_mode)
            assert stat.S_IMODE(first.st_mode) == 0o600
            with pytest.raises(ResultError) as raised:
                async with serving(context, **listen):
                    pass
            assert raised.value.error.code is ErrorCode.ALREADY_EXISTS
            assert path.stat().st_ino == first.st_ino
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(path))
            await asyncio.sleep(0.2)  # until the listener has closed the connections of these probes

    asyncio.run(check())
    assert os.umask(0) == 0


@pytest.mark.parametrize("listener", ["http", "grpc", "metrics"])
def test_another_file_is_not_replaced(context, tmp_path, listener):
    path = tmp_path / "s"
    path.write_text("mine")

    async def check():
        with pytest.raises(ResultError):
            async with serving(context, **{listener: f"unix:{path}"}):
                pass

    asyncio.run(check())
    assert path.read_text() == "mine"


@pytest.mark.parametrize("method", ["ModelInfer", "ServerMetadata"])
def test_messages_and_headers_of_grpc_are_bounded(context, method):
    async def check():
        async with serving(context, grpc="127.0.0.1:0") as addresses:  # noqa: SIM117
            async with grpc.aio.insecure_channel(addresses["grpc"]) as channel:
                call = channel.unary_unary(f"/inference.GRPCInferenceService/{method}")
                large = {"request": b"\0" * 10_000_000, "compression": grpc.Compression.Gzip}
                for sent in ({"request": b"\0" * 200_000}, large, {"request": b"", "metadata": [("x", "a" * 50_000)]}):
                    with pytest.raises(grpc.RpcError) as raised:
                        await call(sent.pop("request"), timeout=20, **sent)
                    assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED, sent

    asyncio.run(check())


def test_there_is_no_shared_memory(context):
    from tests.serving.http import raw

    async def check():
        async with serving(context, http="127.0.0.1:0") as addresses:
            host, _, port = addresses["http"].rpartition("//")[2].rpartition(":")
            reader, writer = await asyncio.open_connection(host, int(port))
            path = "/v2/systemsharedmemory/region/x/register"
            writer.write(raw.post(path, b'{"key": "/x", "offset": 0, "byte_size": 8}', raw.CLOSE))
            answer = await asyncio.wait_for(reader.read(), 20)
            writer.close()
        assert raw.answers(answer) == [501]

    asyncio.run(check())
