"""The servers that `aegisrt.bench.own.server` compares this one with: transport, codec and engine, nothing between.

`python -m aegisrt.serving.bare_server http|grpc MODEL` prints its address, and serves until it is ended.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from aegisrt.serving.protocol.grpc_answer import infer_message
from aegisrt.serving.protocol.grpc_request import read_infer_message
from aegisrt.serving.protocol.http_answer import infer_answer
from aegisrt.serving.protocol.http_request import HEADER_LENGTH, read_infer

_LENGTH = HEADER_LENGTH.encode()


def _session(model: str) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


async def _http(model: str) -> None:
    import uvicorn

    session = _session(model)
    names = [output.name for output in session.get_outputs()]

    async def application(scope: Any, receive: Any, send: Any) -> None:
        headers = dict(scope["headers"])
        message = await receive()
        body = message["body"]
        while message.get("more_body"):
            message = await receive()
            body += message["body"]
        request = read_infer(body, headers[_LENGTH].decode())
        outputs = dict(zip(names, session.run(names, request.inputs), strict=True))
        content, length = infer_answer(request, "model", "1", outputs)
        head = [(b"content-length", b"%d" % len(content)), (_LENGTH, b"%d" % (length or 0))]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        await send({"type": "http.response.body", "body": content})

    config = uvicorn.Config(
        application, host="127.0.0.1", port=0, http="httptools", ws="none", lifespan="off", log_config=None,
        access_log=False, interface="asgi3",
    )  # fmt: skip
    server = uvicorn.Server(config)
    serving = asyncio.ensure_future(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    print(f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}", flush=True)
    await serving


async def _grpc(model: str) -> None:
    import grpc
    import grpc.aio

    session = _session(model)
    names = [output.name for output in session.get_outputs()]

    async def infer(message: bytes, _context: Any) -> bytes:
        _, _, request = read_infer_message(message)
        outputs = dict(zip(names, session.run(names, request.inputs), strict=True))
        return infer_message(request, "model", "1", outputs)

    server = grpc.aio.server()
    handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {"ModelInfer": grpc.unary_unary_rpc_method_handler(infer)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("inference.GRPCInferenceService", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"http://127.0.0.1:{port}", flush=True)
    await server.wait_for_termination()


def main(protocol: str, model: str) -> None:
    """Serve until the process is ended."""
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_http(model) if protocol == "http" else _grpc(model))


if __name__ == "__main__":
    main(*sys.argv[1:3])
