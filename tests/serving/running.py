"""A server in a thread of the test's own process, on free ports of this machine."""

from __future__ import annotations

import asyncio
import json
import threading
from contextlib import contextmanager
from dataclasses import dataclass

from aegisrt import deploy
from aegisrt.runtime.context import ExecutionContext
from aegisrt.serving.server import Server

LOCAL = "127.0.0.1:0"


@dataclass
class Running:
    """A running server, and how clients reach it."""

    server: Server
    context: ExecutionContext
    loop: asyncio.AbstractEventLoop
    http: str
    """`host:port`, as tritonclient takes it."""
    grpc: str
    metrics: str

    @property
    def http_address(self) -> tuple[str, int]:
        host, _, port = self.http.rpartition(":")
        return host, int(port)


@contextmanager
def running(manifest, *overrides):
    """Deploy a manifest, and serve it while the block runs."""
    listeners = [f"server.{name}.listen={LOCAL}" for name in ("http", "grpc", "metrics")]
    context = deploy(manifest, [*listeners, *overrides]).unwrap()
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="test-server", daemon=True)
    thread.start()

    async def start():
        server = Server(context, lambda line: None)
        return server, await server.start()

    try:
        server, addresses = asyncio.run_coroutine_threadsafe(start(), loop).result(30)
        addresses = {name: address.rpartition("//")[2] for name, address in addresses.items()}
        try:
            yield Running(server, context, loop, addresses["http"], addresses["grpc"], addresses["metrics"])
        finally:
            asyncio.run_coroutine_threadsafe(server.stop(5), loop).result(60)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(30)
        loop.close()
        context.close().unwrap()


def identity_models(folder, dtypes, backend="mock"):
    """Return the `models` of a manifest: for each data type one that returns its input of any shape."""
    return {f"id_{dtype.lower()}": {"path": identity(folder, dtype), "backend": backend} for dtype in map(str, dtypes)}


def identity(folder, dtype):
    """Write a mock model y = x of any shape, and return its path."""
    tensor = {"dtype": dtype, "shape": None}
    output = {"name": "y", **tensor, "operation": {"kind": "identity", "input": "x"}}
    path = folder / f"id_{dtype.lower()}.mock.json"
    path.write_text(json.dumps({"format": "aegisrt-mock/v1", "inputs": [{"name": "x", **tensor}], "outputs": [output]}))
    return str(path)
