"""Requests whose size is in their structure: many tensors, long numbers, packed fields and names."""

import json
import time
import tracemalloc

import numpy as np
import pytest

from aegisrt.core.result import Error, ErrorCode, ResultError
from aegisrt.serving.protocol.grpc_request import read_infer_message
from aegisrt.serving.protocol.http_request import read_infer
from aegisrt.serving.protocol.status import error_body, public
from aegisrt.serving.protocol.wire import length_delimited, unpacked, varint

INPUT = {"name": "x", "datatype": "UINT8", "shape": [1], "data": [1]}


def refused(read, *message):
    with pytest.raises(ResultError) as raised:
        read(*message)
    assert raised.value.error.code is ErrorCode.INVALID_ARGUMENT
    return str(raised.value.error)


def infer(**changes):
    return json.dumps({"inputs": [INPUT], **changes}).encode()


def tensor(datatype, *parts):
    """Return a `ModelInferRequest` of one input."""
    return length_delimited(5, length_delimited(1, b"x") + length_delimited(2, datatype) + b"".join(parts))


@pytest.mark.parametrize("kind", ["inputs", "outputs"])
def test_many_tensors_are_refused_at_once(kind):
    since = time.perf_counter()
    body = infer(**{kind: [{**INPUT, "name": f"{at}"} for at in range(20_000)]})
    entry = length_delimited(5 if kind == "inputs" else 6, length_delimited(1, b"a"))
    assert "more than 1024" in refused(read_infer, body, None)
    assert "more than 1024" in refused(read_infer_message, entry * 100_000)
    assert time.perf_counter() - since < 1.0
    named = {kind: [{**INPUT, "name": f"{at}"} for at in range(1024)]}
    read_infer(infer(**named), None)
    named[kind][-1] = named[kind][0]
    assert "`0` is" in refused(read_infer, infer(**named), None)


HUGE = int("1" + "0" * 4200)


@pytest.mark.parametrize("number", [10**400, HUGE, -HUGE, 1 << 64])
@pytest.mark.parametrize("name", ["timeout", "priority", "binary_data_output", "custom"])
def test_a_long_number_in_a_parameter_is_refused(name, number):
    assert f"`{name}`" in refused(read_infer, infer(parameters={name: number}), None)


@pytest.mark.parametrize("number", [HUGE, 1 << 63, -HUGE])
def test_a_long_size_is_refused(number):
    entry = {"name": "x", "datatype": "UINT8", "shape": [number, HUGE], "parameters": {"binary_data_size": 1}}
    refused(read_infer, infer(inputs=[entry]) + b"a", str(len(infer(inputs=[entry]))))
    refused(read_infer, infer(inputs=[{**INPUT, "shape": [number]}]), None)
    refused(read_infer, infer(inputs=[{**INPUT, "parameters": {"binary_data_size": number}}]), None)


def test_a_long_shape_is_refused_before_it_is_decoded():
    ones = length_delimited(3, b"\x01" * (8 << 20))
    tracemalloc.start()
    try:
        assert "dimensions" in refused(read_infer_message, tensor(b"UINT8", ones))
        assert "dimensions" in refused(read_infer_message, tensor(b"UINT8", b"\x18\x01" * 100_000))
        assert tracemalloc.get_traced_memory()[1] < 40 << 20  # the message and its copies are 16 MiB
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(("datatype", "field", "element"), [(b"UINT8", 4, b"\x01"), (b"INT16", 2, b"\x81\x01")])
def test_packed_contents_need_little_more_memory_than_the_tensor(datatype, field, element):
    count = 4 << 20
    data = length_delimited(5, length_delimited(field, element * count))
    wrong = tensor(datatype, data, length_delimited(3, varint(count + 1)))
    right = tensor(datatype, data, length_delimited(3, varint(count)))
    tracemalloc.start()
    try:
        assert f"{count} elements" in refused(read_infer_message, wrong)
        array = read_infer_message(right)[2].inputs["x"]
        assert tracemalloc.get_traced_memory()[1] < array.nbytes + len(data) + (8 << 20)
    finally:
        tracemalloc.stop()
    assert np.all(array == (1 if element == b"\x01" else 129))


def test_packed_numbers_of_every_length_are_decoded_across_parts():
    values = [1 << (at % 64) for at in range(60_000)]
    assert unpacked(memoryview(b"".join(map(varint, values)))).tolist() == values
    assert unpacked(memoryview(b"")).tolist() == []
    for damaged in (b"\x80", b"\x80" * 100_000, b"\x01" * 65_536 + b"\x80", b"\x80" * 10 + b"\x01"):
        refused(unpacked, memoryview(damaged))


def test_public_messages_are_cut():
    error = Error(ErrorCode.NOT_FOUND, f"`{'ä' * 100_000}` is not a model", "b" * 5000)
    shown = public(error)
    assert len(shown.message.encode()) <= 1024
    assert len(shown.hint) <= 1024
    assert shown.message.startswith("`ää")
    assert shown.message.endswith("` is not a model")
    assert error_body(Error(ErrorCode.NOT_FOUND, "short"))["error"] == "short"


def test_http_has_no_final_answers():
    assert "no streams" in refused(read_infer, infer(parameters={"triton_enable_empty_final_response": True}), None)
    read_infer(infer(parameters={"triton_enable_empty_final_response": False}), None)
