"""`read_infer`: the body of an HTTP inference request, JSON alone or JSON and binary tensors."""

from __future__ import annotations

from typing import Any

import msgspec

from aegisrt.core.result import ErrorCode, fail
from aegisrt.core.suggest import quoted
from aegisrt.core.tensor import Array
from aegisrt.serving.protocol.inference import InferRequest, Parameter
from aegisrt.serving.protocol.json_tensors import read_json
from aegisrt.serving.protocol.parameters import (
    apply_parameters,
    check_input_parameters,
    check_names,
    wanted_output,
    wanted_outputs,
)
from aegisrt.serving.protocol.tensors import MOST_INTEGER, data_type, integer_text, read_tensor

HEADER_LENGTH = "inference-header-content-length"
"""The header with the length in bytes of the JSON before binary tensors."""

_Parameters = dict[str, Parameter]
_NO_DATA = msgspec.Raw()


class _Input(msgspec.Struct):
    name: str
    shape: list[int]
    datatype: str
    parameters: _Parameters | None = None
    data: msgspec.Raw = _NO_DATA


class _Output(msgspec.Struct):
    name: str
    parameters: _Parameters | None = None


class _Body(msgspec.Struct):
    """The fields of the protocol; unknown ones are ignored, since clients send the model's name, for example."""

    inputs: list[_Input]
    outputs: list[_Output] | None = None
    id: str | None = None
    parameters: _Parameters | None = None


_decoder = msgspec.json.Decoder(_Body)


def read_infer(body: bytes, header_length: str | None) -> InferRequest:
    """Return the request in an HTTP body; `header_length` is the value of the header of binary tensors.

    Arrays of binary tensors are read-only views of `body`.
    INVALID_ARGUMENT: if the JSON, a tensor, a parameter or a length is wrong; the message names the tensor.
    UNIMPLEMENTED: if it asks for shared memory, classification or sequences.
    UNAVAILABLE: if it has a BF16 tensor and ml_dtypes is not installed.
    """
    length = len(body) if header_length is None else _length(header_length, len(body))
    try:
        head = _decoder.decode(memoryview(body)[:length])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        message = f"the request is not an inference request in JSON: {error}"
        hint = f"the header `{HEADER_LENGTH}` is missing if tensors follow the JSON" if header_length is None else None
        raise fail(ErrorCode.INVALID_ARGUMENT, message, hint) from None
    check_names([tensor.name for tensor in head.inputs])
    outputs = [wanted_output(output.name, output.parameters or {}) for output in head.outputs or ()]
    request = InferRequest(_inputs(head.inputs, memoryview(body)[length:]), wanted_outputs(outputs), head.id or None)
    if head.parameters:
        apply_parameters(request, head.parameters)
        if request.empty_final:
            message = "parameter `triton_enable_empty_final_response`: HTTP has no streams"
            raise fail(ErrorCode.INVALID_ARGUMENT, message, "leave it out: each request has one answer")
    return request


def json_object(body: bytes) -> dict[str, Any]:
    """Return the JSON object in the body of a small request; an empty body is an empty object.

    INVALID_ARGUMENT: if it is not one.
    """
    try:
        found = msgspec.json.decode(body or b"{}", type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise fail(ErrorCode.INVALID_ARGUMENT, f"the body is not a JSON object: {error}") from None
    return found


def _length(header: str, size: int) -> int:
    if not (header.isascii() and header.isdecimal() and len(header) < 20 and int(header) <= size):
        message = f"the header `{HEADER_LENGTH}` is {quoted(header)}, and the body has {size} bytes"
        raise fail(ErrorCode.INVALID_ARGUMENT, message, "give the length in bytes of the JSON before the tensors")
    return int(header)


def _inputs(tensors: list[_Input], binary: memoryview) -> dict[str, Array]:
    inputs: dict[str, Array] = {}
    at = 0
    for tensor in tensors:
        dtype = data_type(tensor.datatype, tensor.name)
        size = _binary_size(tensor)
        if size is None:
            if not tensor.data:
                message = f"input {quoted(tensor.name)} has neither `data` nor the parameter `binary_data_size`"
                raise fail(ErrorCode.INVALID_ARGUMENT, message)
            inputs[tensor.name] = read_json(tensor.name, dtype, tensor.shape, bytes(tensor.data))
            continue
        if at + size > len(binary):
            message = f"input {quoted(tensor.name)}: its {size} bytes end after the body"
            raise fail(ErrorCode.INVALID_ARGUMENT, message)
        inputs[tensor.name] = read_tensor(tensor.name, dtype, tensor.shape, binary[at : at + size])
        at += size
    if at != len(binary):
        message = f"the body has {len(binary) - at} bytes that belong to no input"
        raise fail(ErrorCode.INVALID_ARGUMENT, message, "`binary_data_size` of each input gives its length")
    return inputs


def _binary_size(tensor: _Input) -> int | None:
    """Return the length of an input's binary data; None if its data is in JSON."""
    if not tensor.parameters:
        return None
    check_input_parameters(tensor.name, tensor.parameters)
    size: Any = tensor.parameters["binary_data_size"]
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= MOST_INTEGER:
        shown = integer_text(size) if isinstance(size, int) else str(size)
        message = f"input {quoted(tensor.name)}: `binary_data_size` is {quoted(shown)}, not a size"
        raise fail(ErrorCode.INVALID_ARGUMENT, message)
    if tensor.data:
        message = f"input {quoted(tensor.name)} has both `data` and `binary_data_size`"
        raise fail(ErrorCode.INVALID_ARGUMENT, message)
    return size
