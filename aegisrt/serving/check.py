"""`check_server`: serve a deployment for a moment, and answer a request of each model by an own client."""

from __future__ import annotations

import asyncio
import http.client
import json
from collections.abc import Mapping

from aegisrt.core.result import Err, ErrorCode, Ok, Result, ResultError, fail
from aegisrt.core.system_error import system_error
from aegisrt.core.tensor import Array
from aegisrt.manifest.server import ServerOptions
from aegisrt.runtime.building.input_budget import InputBudget
from aegisrt.runtime.building.sample import read_sample, zeros
from aegisrt.runtime.context import ExecutionContext
from aegisrt.serving.protocol.http_answer import json_body
from aegisrt.serving.protocol.http_request import HEADER_LENGTH
from aegisrt.serving.protocol.tensors import datatype_of, tensor_bytes
from aegisrt.serving.server import Server

_LOCAL = "127.0.0.1:0"
_TIMEOUT_S = 60


def check_server(context: ExecutionContext) -> Result[list[str]]:
    """Return a line for each model that answered over HTTP, on its sample or on zeros.

    The listeners are free ports of this machine, without TLS and tokens, so that nothing else reaches them; the files
    of both are read all the same.
    The errors of the listeners, and INTERNAL: if a model does not answer.
    """
    try:
        return Ok(asyncio.run(_check(context)))
    except ResultError as failure:
        return Err(failure.error)


async def _check(context: ExecutionContext) -> list[str]:
    options: ServerOptions = context.graph.manifest.server
    local = options.model_copy(
        update={
            "http": options.http.model_copy(update={"listen": _LOCAL}),
            "grpc": options.grpc.model_copy(update={"listen": _LOCAL if options.grpc.listen else None}),
            "metrics": options.metrics.model_copy(update={"listen": _LOCAL if options.metrics.listen else None}),
            "tls": None,
            "auth": None,
            "log": options.log.model_copy(update={"access": "off"}),  # the error is returned
        }
    )
    _read_files(options)
    server = Server(context, lambda _: None, local)
    addresses = await server.start()
    try:
        port = int(addresses["http"].rpartition(":")[2])
        return [await asyncio.to_thread(_ask, port, context, model) for model in context.models]
    finally:
        await server.stop(1.0)


def _read_files(options: ServerOptions) -> None:
    from aegisrt.serving.tls import TlsFiles
    from aegisrt.serving.tokens import TokenFile

    if options.tls is not None:
        TlsFiles(options.tls)
    for file in (options.auth.token_file if options.auth else None, options.admin.token_file):
        if file is not None:
            TokenFile(file)


def _ask(port: int, context: ExecutionContext, model: str) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT_S)
    try:
        connection.request("POST", f"/v2/models/{model}/infer", *_request(context, model))
        answer = connection.getresponse()
        document = json.loads(answer.read())
    except OSError as error:
        raise system_error(error, f"model `{model}` did not answer over HTTP", otherwise=ErrorCode.INTERNAL) from None
    except (http.client.HTTPException, ValueError) as error:
        raise fail(ErrorCode.INTERNAL, f"model `{model}` did not answer over HTTP: {error}") from None
    finally:
        connection.close()
    if answer.status != 200:
        raise fail(ErrorCode(document["code"]), f"model `{model}`: {document['error']}", document.get("hint"))
    outputs = ", ".join(f"{output['name']} {output['datatype']}{output['shape']}" for output in document["outputs"])
    return f"{model}: {outputs}"


def _request(context: ExecutionContext, model: str) -> tuple[bytes, dict[str, str]]:
    """Return the body of a request with binary tensors, and its headers."""
    signature = context.signature(model)
    if signature is None:
        raise fail(ErrorCode.NOT_LOADED, f"model `{model}` is not loaded")
    manifest = context.graph.manifest
    budget, sample = InputBudget(manifest.limits.input_bytes), manifest.models[model].sample
    arrays: Mapping[str, Array] = (
        zeros(signature, budget) if sample is None else read_sample(sample, signature, budget).inputs
    )
    inputs, buffers = [], []
    for name, array in arrays.items():
        data = tensor_bytes(array)
        size = {"binary_data_size": len(data)}
        inputs.append({"name": name, "shape": array.shape, "datatype": datatype_of(array, name), "parameters": size})
        buffers.append(data)
    head = json_body({"inputs": inputs})
    return b"".join((head, *buffers)), {HEADER_LENGTH: str(len(head))}
