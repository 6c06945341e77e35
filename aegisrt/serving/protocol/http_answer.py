"""`infer_answer`: the body of the answer of an HTTP inference request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from aegisrt.core.tensor import Array
from aegisrt.serving.protocol.inference import InferRequest, Parameter
from aegisrt.serving.protocol.json_tensors import json_values
from aegisrt.serving.protocol.tensors import datatype_of, tensor_bytes

_encode = msgspec.json.Encoder().encode


def infer_answer(
    request: InferRequest,
    model: str,
    version: str,
    outputs: Mapping[str, Array],
    parameters: Mapping[str, Parameter] | None = None,
) -> tuple[bytes, int | None]:
    """Return the body, and the length of its JSON if binary tensors follow it.

    INVALID_ARGUMENT: if an output that JSON is to carry holds bytes that are not UTF-8.
    INTERNAL: if an output has an element type that the protocol does not have.
    """
    head: dict[str, Any] = {"model_name": model, "model_version": version}
    if request.id is not None:
        head["id"] = request.id
    if parameters:
        head["parameters"] = parameters
    binary = _binary(request)
    tensors, buffers = [], []
    for name, value in outputs.items():
        dtype = datatype_of(value, name)
        tensor: dict[str, Any] = {"name": name, "shape": list(value.shape), "datatype": dtype.value}
        if binary.get(name, request.binary_output):
            data = tensor_bytes(value)
            tensor["parameters"] = {"binary_data_size": len(data)}
            buffers.append(data)
        else:
            tensor["data"] = json_values(name, value, dtype)
        tensors.append(tensor)
    head["outputs"] = tensors
    text = _encode(head)
    if not buffers:
        return text, None
    return b"".join((text, *buffers)), len(text)


def _binary(request: InferRequest) -> dict[str, bool]:
    """Return the outputs whose form the request gives, by name."""
    return {output.name: output.binary for output in request.outputs or () if output.binary is not None}


def json_body(value: Any) -> bytes:
    """Return a value as JSON."""
    return _encode(value)
