"""`read_infer_message`: a `ModelInferRequest`, with raw or with typed contents."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import numpy as np

from aegisrt.core.result import ErrorCode, fail
from aegisrt.core.suggest import quoted
from aegisrt.core.tensor import Array, DataType
from aegisrt.serving.protocol.inference import InferRequest, Parameter
from aegisrt.serving.protocol.parameters import (
    apply_parameters,
    check_input_parameters,
    check_names,
    check_number,
    wanted_output,
    wanted_outputs,
)
from aegisrt.serving.protocol.tensors import MOST_DIMENSIONS, data_type, element_count, read_tensor
from aegisrt.serving.protocol.wire import (
    DELIMITED,
    content,
    fields,
    number,
    signed,
    text,
    unpacked,
    unpacked_count,
    unpacked_parts,
)

_CONTENTS = {
    DataType.BOOL: 1,
    DataType.INT8: 2, DataType.INT16: 2, DataType.INT32: 2, DataType.INT64: 3,
    DataType.UINT8: 4, DataType.UINT16: 4, DataType.UINT32: 4, DataType.UINT64: 5,
    DataType.FP32: 6, DataType.FP64: 7, DataType.BYTES: 8,
}  # fmt: skip
"""The field of `InferTensorContents` that carries each data type; FP16 and BF16 are raw only."""
_MOST_SHAPE_BYTES = 10 * MOST_DIMENSIONS
_UNSIGNED = frozenset({DataType.UINT64, DataType.UINT32, DataType.UINT16, DataType.UINT8, DataType.BOOL})
_REALS = frozenset({DataType.FP32, DataType.FP64})


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
            check_number(len(tensors), "inputs")
        elif at == 6:
            outputs.append(_output(content(value)))
            check_number(len(outputs), "outputs")
        elif at == 7:
            raw.append(content(value))
            check_number(len(raw), "raw contents")
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
            tensor.shape += _sizes(tensor.name, wire, value)
            if len(tensor.shape) > MOST_DIMENSIONS:
                element_count(tensor.shape, tensor.name)  # refuses it
        elif at == 4:
            _add_parameter(tensor.parameters, content(value))
        elif at == 5:
            tensor.contents.append(content(value))
    return tensor


def _sizes(name: str, wire: int, value: int | memoryview) -> list[int]:
    if wire != DELIMITED:
        return [signed(number(value))]
    if len(content(value)) > _MOST_SHAPE_BYTES:
        message = f"the shape of input {quoted(name)} has {len(content(value))} bytes"
        raise fail(ErrorCode.INVALID_ARGUMENT, message, f"at most {MOST_DIMENSIONS} dimensions are accepted")
    return [signed(size) for size in unpacked(content(value)).tolist()]


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
    """Return the array in the typed contents of a tensor; the elements are counted before memory is taken for them."""
    count = element_count(tensor.shape, tensor.name)
    found = sum(_size(dtype, wire, value) for wire, value in _contents(tensor, dtype))
    if found != count:
        message = f"input {quoted(tensor.name)} has {found} elements, and its shape has {count}"
        raise fail(ErrorCode.INVALID_ARGUMENT, message)
    array = np.empty(count, dtype.numpy)
    at = 0
    for wire, value in _contents(tensor, dtype):
        if dtype is DataType.BYTES:
            array[at] = bytes(content(value))
            at += 1
            continue
        for part in _parts(dtype, wire, value):
            array[at : at + part.size] = _narrowed(part, dtype, tensor.name)
            at += part.size
    return array.reshape(tensor.shape)


def _contents(tensor: _InputTensor, dtype: DataType) -> Iterator[tuple[int, int | memoryview]]:
    """Yield the wire type and the value of each field of the typed contents."""
    field = _CONTENTS.get(dtype)
    for contents in tensor.contents:
        for at, wire, value in fields(contents):
            if at != field:
                message = f"input {quoted(tensor.name)} is {dtype}, and its contents are of another field"
                hint = "give its data in `raw_input_contents`" if field is None else None
                raise fail(ErrorCode.INVALID_ARGUMENT, message, hint)
            yield wire, value


def _size(dtype: DataType, wire: int, value: int | memoryview) -> int:
    """Return the number of elements in a field."""
    if dtype in _REALS:
        size, rest = divmod(len(content(value)), dtype.numpy.itemsize)
        if rest:
            raise fail(ErrorCode.INVALID_ARGUMENT, f"contents of {len(content(value))} bytes are not of {dtype}")
        return size
    return unpacked_count(content(value)) if wire == DELIMITED and dtype is not DataType.BYTES else 1


def _parts(dtype: DataType, wire: int, value: int | memoryview) -> Iterator[Array]:
    """Yield the elements of a field, in order."""
    if dtype in _REALS:
        yield np.frombuffer(content(value), dtype.numpy.newbyteorder("<"))
        return
    for numbers in unpacked_parts(content(value)) if wire == DELIMITED else [np.asarray([number(value)], np.uint64)]:
        yield numbers if dtype in _UNSIGNED else numbers.view(np.int64)


def _narrowed(array: Array, dtype: DataType, name: str) -> Array:
    if dtype is DataType.BOOL:
        return np.not_equal(array, 0)
    if array.size and array.dtype.kind in "iu":
        limits = np.iinfo(dtype.numpy)
        if array.min() < limits.min or array.max() > limits.max:
            message = f"input {quoted(name)}: a value is outside {limits.min} to {limits.max}, the range of {dtype}"
            raise fail(ErrorCode.INVALID_ARGUMENT, message)
    return array
