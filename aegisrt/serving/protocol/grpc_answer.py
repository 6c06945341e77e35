"""`infer_message`: a `ModelInferResponse`, whose outputs are raw contents: tritonclient reads no typed ones."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

from aegisrt.core.tensor import Array
from aegisrt.serving.protocol.inference import InferRequest, Parameter
from aegisrt.serving.protocol.tensors import datatype_of, tensor_bytes
from aegisrt.serving.protocol.wire import delimiter, length_delimited, packed, varint, varint_field

_FINAL = "triton_final_response"


def infer_message(
    request: InferRequest,
    model: str,
    version: str,
    outputs: Mapping[str, Array],
    parameters: Mapping[str, Parameter] | None = None,
) -> bytes:
    """Return the message of an answer.

    INTERNAL: if an output has an element type that the protocol does not have.
    """
    parts: list[Any] = [length_delimited(1, model.encode()), length_delimited(2, version.encode())]
    if request.id:
        parts.append(length_delimited(3, request.id.encode()))
    parts += [length_delimited(4, _parameter(key, item)) for key, item in (parameters or {}).items()]
    raw: list[Any] = []
    for name, value in outputs.items():
        shape = packed(3, value.shape)
        datatype = length_delimited(2, datatype_of(value, name).encode())
        parts.append(length_delimited(5, length_delimited(1, name.encode()) + datatype + shape))
        data = tensor_bytes(value)
        raw += delimiter(6, len(data)), data
    return b"".join((*parts, *raw))


def stream_answer(message: bytes) -> bytes:
    """Return a `ModelStreamInferResponse` with an answer."""
    return length_delimited(2, message)


def stream_error(text: str, message: bytes) -> bytes:
    """Return a `ModelStreamInferResponse` with an error; `message` has the request's id."""
    return length_delimited(1, text.encode("utf-8", "replace")) + length_delimited(2, message)


def final_parameters(parameters: Mapping[str, Parameter] | None = None) -> dict[str, Parameter]:
    """Return the parameters of the last answer of a request in a stream, as Triton marks it."""
    return {**(parameters or {}), _FINAL: True}


def _parameter(name: str, value: Parameter) -> bytes:
    """Return an entry of a `map<string, InferParameter>`."""
    return length_delimited(1, name.encode()) + length_delimited(2, _value(value))


def _value(value: Parameter) -> bytes:
    if isinstance(value, bool):
        return varint_field(1, int(value))
    if isinstance(value, int):
        return varint_field(2 if value < 1 << 63 else 5, value)
    if isinstance(value, float):
        return varint(4 << 3 | 1) + struct.pack("<d", value)
    return b"" if value is None else length_delimited(3, value.encode())
