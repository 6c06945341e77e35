"""`read_infer_message`: a `ModelInferRequest`, with raw or with typed contents."""

from __future__ import annotations

import struct

import numpy as np

from aegisrt.core.result import ErrorCode, fail
from aegisrt.core.suggest import quoted
from aegisrt.core.tensor import Array, DataType
from aegisrt.serving.protocol.inference import InferRequest, Parameter
from aegisrt.serving.protocol.parameters import (
    apply_parameters,
    check_input_parameters,
    check_names,
    wanted_output,
    wanted_outputs,
)
from aegisrt.serving.protocol.tensors import data_type, element_count, read_tensor
from aegisrt.serving.protocol.wire import DELIMITED, content, fields, number, signed, text, unpacked

_CONTENTS = {
    DataType.BOOL: 1,
    DataType.INT8: 2, DataType.INT16: 2, DataType.INT32: 2, DataType.INT64: 3,
    DataType.UINT8: 4, DataType.UINT16: 4, DataType.UINT32: 4, DataType.UINT64: 5,
    DataType.FP32: 6, DataType.FP64: 7, DataType.BYTES: 8,
}  # fmt: skip
"""The field of `InferTensorContents` that carries each data type; FP16 and BF16 are raw only."""


class _InputTensor:
    __slots__ = ("contents", "datatype", "name", "parameters", "shape")

    def __init__(self) -> None:
        self.name = self.datatype = ""
        self.shape: list[int] = []
        self.parameters: dict[str, Parameter] = {}
        self.contents: list[memoryview] = []


def read_infer_message(message: bytes) -> tuple[str, str, InferRequest]:
    """Return the model's name, its version (empty if none is named), and the request.

    Arrays of raw contents are read-only views of `message`.
    INVALID_ARGUMENT: if it is not a `ModelInferRequest`, or a tensor or a parameter is wrong.
    UNIMPLEMENTED: if it asks for shared memory, classification or sequences.
    UNAVAILABLE: if it has a BF16 tensor and ml_dtypes is not installed.
    """
    model = version = request_id = ""
    parameters: dict[str, Parameter] = {}
    tensors: list[_InputTensor] = []
    outputs = []
    raw: list[memoryview] = []
    for at, _, value in fields(memoryview(message)):
        if at == 1:
            model = text(value)
        elif at == 2:
            version = text(value)
        elif at == 3:
            request_id = text(value)
        elif at == 4:
            _add_parameter(parameters, content(value))
        elif at == 5:
            tensors.append(_tensor(content(value)))
        elif at == 6:
            outputs.append(_output(content(value)))
        elif at == 7:
            raw.append(content(value))
    check_names([tensor.name for tensor in tensors])
    request = InferRequest(
        _inputs(tensors, raw), wanted_outputs([wanted_output(*output) for output in outputs]), request_id or None
    )
    if parameters:
        apply_parameters(request, parameters)
    return model, version, request


def _tensor(message: memoryview) -> _InputTensor:
    tensor = _InputTensor()
    for at, wire, value in fields(message):
        if at == 1:
            tensor.name = text(value)
        elif at == 2:
            tensor.datatype = text(value)
        elif at == 3:
            sizes = unpacked(content(value)).tolist() if wire == DELIMITED else [number(value)]
            tensor.shape += map(signed, sizes)
        elif at == 4:
            _add_parameter(tensor.parameters, content(value))
        elif at == 5:
            tensor.contents.append(content(value))
    return tensor


def _output(message: memoryview) -> tuple[str, dict[str, Parameter]]:
    name, parameters = "", dict[str, Parameter]()
    for at, _, value in fields(message):
        if at == 1:
            name = text(value)
        elif at == 2:
            _add_parameter(parameters, content(value))
    return name, parameters


def _add_parameter(parameters: dict[str, Parameter], entry: memoryview) -> None:
    """Add an entry of a `map<string, InferParameter>`."""
    key, chosen = "", None
    for at, _, value in fields(entry):
        if at == 1:
            key = text(value)
        elif at == 2:
            for kind, _, inner in fields(content(value)):
                chosen = _parameter(kind, inner)
    parameters[key] = chosen


def _parameter(kind: int, value: int | memoryview) -> Parameter:
    match kind:
        case 1:
            return bool(number(value))
        case 2:
            return signed(number(value))
        case 3:
            return text(value)
        case 4:
            return float(struct.unpack("<d", content(value))[0]) if len(content(value)) == 8 else None
        case 5:
            return number(value)
    return None


def _inputs(tensors: list[_InputTensor], raw: list[memoryview]) -> dict[str, Array]:
    if raw and len(raw) != len(tensors):
        message = f"the request has {len(tensors)} inputs and {len(raw)} raw contents"
        raise fail(ErrorCode.INVALID_ARGUMENT, message, "give one of `raw_input_contents` for each input")
    inputs = {}
    for index, tensor in enumerate(tensors):
        check_input_parameters(tensor.name, tensor.parameters)
        dtype = data_type(tensor.datatype, tensor.name)
        if not raw:
            inputs[tensor.name] = _typed(tensor, dtype)
        elif tensor.contents:
            message = f"input {quoted(tensor.name)} has typed contents, and the request has raw contents"
            raise fail(ErrorCode.INVALID_ARGUMENT, message, "give either for all inputs")
        else:
            inputs[tensor.name] = read_tensor(tensor.name, dtype, tensor.shape, raw[index])
    return inputs


def _typed(tensor: _InputTensor, dtype: DataType) -> Array:
    """Return the array in the typed contents of a tensor."""
    count = element_count(tensor.shape, tensor.name)
    field = _CONTENTS.get(dtype)
    parts: list[Array] = []
    strings: list[bytes] = []
    for message in tensor.contents:
        for at, wire, value in fields(message):
            if at != field:
                message_ = f"input {quoted(tensor.name)} is {dtype}, and its contents are of another field"
                hint = "give its data in `raw_input_contents`" if field is None else None
                raise fail(ErrorCode.INVALID_ARGUMENT, message_, hint)
            if dtype is DataType.BYTES:
                strings.append(bytes(content(value)))
            else:
                parts.append(_values(dtype, wire, value))
    if dtype is DataType.BYTES:
        array = np.empty(len(strings), object)
        array[:] = strings
    else:
        array = np.concatenate(parts) if parts else np.empty(0, dtype.numpy)
    if array.size != count:
        message_ = f"input {quoted(tensor.name)} has {array.size} elements, and its shape has {count}"
        raise fail(ErrorCode.INVALID_ARGUMENT, message_)
    return _narrowed(array, dtype, tensor.name).reshape(tensor.shape)


def _values(dtype: DataType, wire: int, value: int | memoryview) -> Array:
    if dtype in (DataType.FP32, DataType.FP64):
        data = content(value)
        if len(data) % dtype.numpy.itemsize:
            raise fail(ErrorCode.INVALID_ARGUMENT, f"contents of {len(data)} bytes are not a sequence of {dtype}")
        return np.frombuffer(data, dtype.numpy.newbyteorder("<"))
    numbers = unpacked(content(value)) if wire == DELIMITED else np.asarray([number(value)], np.uint64)
    if dtype in (DataType.UINT64, DataType.UINT32, DataType.UINT16, DataType.UINT8, DataType.BOOL):
        return numbers
    return numbers.view(np.int64)


def _narrowed(array: Array, dtype: DataType, name: str) -> Array:
    if dtype is DataType.BOOL:
        return np.not_equal(array, 0)
    if array.dtype == dtype.numpy or dtype is DataType.BYTES:
        return array
    if array.size and array.dtype.kind in "iu":
        limits = np.iinfo(dtype.numpy)
        if array.min() < limits.min or array.max() > limits.max:
            message = f"input {quoted(name)}: a value is outside {limits.min} to {limits.max}, the range of {dtype}"
            raise fail(ErrorCode.INVALID_ARGUMENT, message)
    return array.astype(dtype.numpy)
