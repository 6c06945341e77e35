"""gRPC's messages against the stubs that tritonclient has from protoc."""

from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aegisrt.core.result import ErrorCode, ResultError
from aegisrt.core.tensor import DataType
from aegisrt.serving.protocol.grpc_answer import final_parameters, infer_message, stream_answer, stream_error
from aegisrt.serving.protocol.grpc_request import read_infer_message
from aegisrt.serving.protocol.inference import InferRequest
from aegisrt.serving.protocol.messages import decode, encode
from tests.serving.protocol.values import DATA_TYPES, REFUSALS, arrays, refusal, same

grpc = pytest.importorskip("tritonclient.grpc")
pb = grpc.service_pb2


def written(values, **options):
    """Return the message that tritonclient sends for arrays by name."""
    inputs = []
    for name, (dtype, array) in values.items():
        tensor = grpc.InferInput(name, array.shape, dtype.value)
        tensor.set_data_from_numpy(array)
        inputs.append(tensor)
    return grpc._utils._get_inference_request(
        **{
            "inputs": inputs, "model_name": "m", "model_version": "2", "request_id": "r", "outputs": None,
            "sequence_id": 0, "sequence_start": False, "sequence_end": False, "priority": 0, "timeout": None,
            "parameters": None,
        }
        | options
    )  # fmt: skip


NAMED = st.dictionaries(st.text(min_size=1, max_size=3), arrays(), min_size=1, max_size=3)


@given(NAMED)
@settings(max_examples=100, deadline=None)
def test_what_tritonclient_writes_is_read(values):
    model, version, request = read_infer_message(written(values).SerializeToString())
    assert (model, version, request.id) == ("m", "2", "r")
    assert list(request.inputs) == list(values)
    assert all(same(request.inputs[name], array) for name, (_, array) in values.items())


FIELDS = {
    DataType.BOOL: "bool_contents", DataType.INT8: "int_contents", DataType.INT16: "int_contents",
    DataType.INT32: "int_contents", DataType.INT64: "int64_contents", DataType.UINT8: "uint_contents",
    DataType.UINT16: "uint_contents", DataType.UINT32: "uint_contents", DataType.UINT64: "uint64_contents",
    DataType.FP32: "fp32_contents", DataType.FP64: "fp64_contents", DataType.BYTES: "bytes_contents",
}  # fmt: skip


def typed(name, dtype, array):
    contents = pb.InferTensorContents()
    getattr(contents, FIELDS[dtype]).extend(array.ravel().tolist())
    return pb.ModelInferRequest.InferInputTensor(
        name=name, datatype=dtype.value, shape=array.shape, contents=contents if array.size else None
    )


@given(arrays([dtype for dtype in DATA_TYPES if dtype in FIELDS]))
@settings(max_examples=100, deadline=None)
def test_typed_contents_are_read(value):
    dtype, array = value
    message = pb.ModelInferRequest(model_name="m", inputs=[typed("x", dtype, array)]).SerializeToString()
    assert same(read_infer_message(message)[2].inputs["x"], array)


def test_contents_in_several_pieces_are_joined():
    """A message that appears twice is merged, and a packed field may be split."""
    pieces = [
        typed("x", DataType.INT32, np.asarray(part, np.int32)).contents.SerializeToString() for part in ([1], [-2])
    ]
    head = pb.ModelInferRequest.InferInputTensor(name="x", datatype="INT32", shape=[2]).SerializeToString()
    tensor = head + b"".join(b"\x2a" + bytes([len(piece)]) + piece for piece in pieces)
    message = b"\x2a" + bytes([len(tensor)]) + tensor
    assert read_infer_message(message)[2].inputs["x"].tolist() == [1, -2]
    unpacked = b"\x10\x01" + b"\x10" + b"\xfe" + b"\xff" * 8 + b"\x01"
    tensor = head + b"\x2a" + bytes([len(unpacked)]) + unpacked
    assert read_infer_message(b"\x2a" + bytes([len(tensor)]) + tensor)[2].inputs["x"].tolist() == [1, -2]


@given(NAMED)
@settings(max_examples=100, deadline=None)
def test_tritonclient_reads_an_answer(values):
    outputs = {name: array for name, (_, array) in values.items()}
    parameters = {"a": True, "b": -5, "c": 2.5, "d": "x", "e": 1 << 63}
    message = infer_message(InferRequest({}, id="r"), "m", "3", outputs, parameters)
    answer = grpc.InferResult(pb.ModelInferResponse.FromString(message))
    response = answer.get_response()
    assert (response.model_name, response.model_version, response.id) == ("m", "3", "r")
    assert [tensor.name for tensor in response.outputs] == list(values)
    for name, (dtype, array) in values.items():
        assert answer.get_output(name).datatype == dtype
        assert same(answer.as_numpy(name), array)
    found = response.parameters
    assert (found["a"].bool_param, found["b"].int64_param, found["c"].double_param) == (True, -5, 2.5)
    assert (found["d"].string_param, found["e"].uint64_param) == ("x", 1 << 63)


def test_parameters_of_every_type_are_read():
    custom = {"i": 3, "s": "x", "b": True}
    message = written({"x": (DataType.INT8, np.ones(1, np.int8))}, priority=1, timeout=2500, parameters=custom)
    message.parameters["d"].double_param = 0.5
    message.parameters["u"].uint64_param = 1 << 63
    request = read_infer_message(message.SerializeToString())[2]
    assert (request.priority, request.timeout_us) == ("high", 2500)
    assert request.parameters == {**custom, "d": 0.5, "u": 1 << 63}


def test_wanted_outputs_are_read():
    message = pb.ModelInferRequest(outputs=[{"name": "b"}, {"name": "a"}])
    assert read_infer_message(message.SerializeToString())[2].output_names == ["b", "a"]


def test_answers_of_a_stream():
    message = infer_message(InferRequest({}, id="r"), "m", "1", {}, final_parameters())
    streamed = pb.ModelStreamInferResponse.FromString(stream_answer(message))
    assert streamed.infer_response.parameters["triton_final_response"].bool_param
    failed = pb.ModelStreamInferResponse.FromString(
        stream_error("no", infer_message(InferRequest({}, id="r"), "m", "1", {}))
    )
    assert (failed.error_message, failed.infer_response.id) == ("no", "r")


MESSAGES = {
    "ServerMetadataResponse": {"name": "aegisrt", "version": "1", "extensions": ["a", "b"]},
    "ModelMetadataResponse": {
        "name": "m",
        "versions": ["1", "2"],
        "platform": "onnx",
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 3, 1 << 40]}],
        "outputs": [{"name": "y", "datatype": "BYTES", "shape": []}],
    },
    "ModelConfigResponse": {
        "config": {
            "name": "m",
            "platform": "onnx",
            "max_batch_size": 8,
            "input": [{"name": "x", "data_type": "TYPE_BF16", "dims": [-1, 3], "optional": True}],
            "output": [{"name": "y", "data_type": "TYPE_STRING", "dims": [1]}],
            "instance_group": [{"name": "m_0", "count": 2, "gpus": [1], "kind": "KIND_GPU"}],
            "dynamic_batching": {"preferred_batch_size": [8], "max_queue_delay_microseconds": 500},
            "backend": "onnx",
            "model_transaction_policy": {"decoupled": False},
        }
    },
    "ModelStatisticsResponse": {
        "model_stats": [
            {
                "name": "m",
                "version": "1",
                "last_inference": 1 << 41,
                "inference_count": 7,
                "execution_count": 3,
                "inference_stats": {
                    key: {"count": 7, "ns": 1 << 33}
                    for key in ("success", "fail", "queue", "compute_input", "compute_infer", "compute_output")
                },
                "batch_stats": [{"batch_size": 4, "compute_infer": {"count": 1, "ns": 2}}],
            }
        ]
    },
    "RepositoryIndexResponse": {"models": [{"name": "m", "version": "1", "state": "READY", "reason": "x"}]},
    "ServerLiveResponse": {"live": True},
}


@pytest.mark.parametrize("name", MESSAGES)
def test_a_message_is_what_protoc_makes_of_the_same_values(name):
    from google.protobuf.json_format import ParseDict

    values = MESSAGES[name]
    wanted = ParseDict(values, getattr(pb, name)())
    assert getattr(pb, name).FromString(encode(name, values)) == wanted


def test_small_requests_are_read():
    load = pb.RepositoryModelLoadRequest(model_name="m")
    load.parameters["config"].string_param = "{}"
    load.parameters["file:1/m.onnx"].bytes_param = b"\xff"
    found = decode("RepositoryModelRequest", load.SerializeToString())
    assert (found["model_name"], found["repository_name"]) == ("m", "")
    values = {entry["key"]: entry["value"] for entry in found["parameters"]}
    assert (values["config"]["string_param"], values["file:1/m.onnx"]["bytes_param"]) == ("{}", b"\xff")
    named = pb.ModelReadyRequest(name="m", version="1").SerializeToString()
    assert decode("ModelRequest", named) == {"name": "m", "version": "1"}
    assert decode("ModelRequest", b"") == {"name": "", "version": ""}


INPUT = {"name": "x", "datatype": "INT8", "shape": [2]}


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        ({"inputs": [INPUT], "raw_input_contents": [b"a"]}, "1 bytes of data, and INT8[2] has 2"),
        ({"inputs": [INPUT], "raw_input_contents": [b"ab", b"ab"]}, "1 inputs and 2 raw contents"),
        ({"inputs": [INPUT]}, "0 elements, and its shape has 2"),
        ({"inputs": [{**INPUT, "shape": [-2]}]}, "the shape [-2]"),
        ({"inputs": [{**INPUT, "shape": [1 << 62, 1 << 62]}], "raw_input_contents": [b""]}, "0 bytes of data"),
        ({"inputs": [{**INPUT, "contents": {"int_contents": [1, 300]}}]}, "outside -128 to 127"),
        ({"inputs": [{**INPUT, "contents": {"uint_contents": [1, 3]}}]}, "contents are of another field"),
        ({"inputs": [{**INPUT, "datatype": "FP16", "contents": {"fp32_contents": [1, 3]}}]}, "another field"),
        (
            {"inputs": [{**INPUT, "contents": {"int_contents": [1, 3]}}], "raw_input_contents": [b"ab"]},
            "has typed contents, and the request has raw contents",
        ),
        ({"inputs": [INPUT, INPUT], "raw_input_contents": [b"ab", b"ab"]}, "`x` is given twice"),
    ],
)
def test_a_mistake_is_named(request_, words):
    with pytest.raises(ResultError) as raised:
        read_infer_message(pb.ModelInferRequest(**request_).SerializeToString())
    assert raised.value.error.code is ErrorCode.INVALID_ARGUMENT
    assert words in str(raised.value.error)


@given(st.binary(max_size=100))
@settings(max_examples=500, deadline=None)
def test_arbitrary_bytes_are_read_or_refused(message):
    assert refusal(read_infer_message, message) in REFUSALS
    assert refusal(partial(decode, "RepositoryModelRequest"), message) in REFUSALS


@given(NAMED, st.data())
@settings(max_examples=100, deadline=None)
def test_a_damaged_request_is_read_or_refused(values, data):
    message = bytearray(written(values).SerializeToString())
    for _ in range(data.draw(st.integers(1, 3))):
        message[data.draw(st.integers(0, len(message) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(message)))
    assert refusal(read_infer_message, bytes(message[:cut])) in REFUSALS
