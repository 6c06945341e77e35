"""Requests and answers over HTTP: what tritonclient writes is read, and what is written tritonclient reads."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aegisrt.core.result import ErrorCode, ResultError
from aegisrt.serving.protocol.http_answer import infer_answer
from aegisrt.serving.protocol.http_request import read_infer
from aegisrt.serving.protocol.inference import InferRequest, WantedOutput
from tests.serving.protocol.values import REFUSALS, arrays, refusal, same

tritonclient = pytest.importorskip("tritonclient.http")


def written(values, *, binary, outputs=None, **options):
    """Return the body that tritonclient sends for arrays by name, and the length of its JSON."""
    inputs = []
    for name, (dtype, array) in values.items():
        tensor = tritonclient.InferInput(name, array.shape, dtype.value)
        tensor.set_data_from_numpy(array, binary_data=binary)
        inputs.append(tensor)
    body, length = tritonclient.InferenceServerClient.generate_request_body(inputs, outputs=outputs, **options)
    return body, None if length is None else str(length)


@given(st.dictionaries(st.text(min_size=1, max_size=3), arrays(), min_size=1, max_size=3))
@settings(max_examples=100, deadline=None)
def test_what_tritonclient_writes_in_binary_is_read(values):
    request = read_infer(*written(values, binary=True))
    assert list(request.inputs) == list(values)
    assert all(same(request.inputs[name], array) for name, (_, array) in values.items())
    assert request.binary_output
    assert request.outputs is None


def in_json(values):
    tensors = [
        {"name": name, "shape": array.shape, "datatype": dtype.value, "data": _plain(array)}
        for name, (dtype, array) in values.items()
    ]
    return json.dumps({"inputs": tensors}).encode()


def _plain(array):
    if array.dtype.kind == "O":
        return [item.decode() for item in array.flat]
    if array.dtype.kind == "f":
        special = {np.inf: "Infinity", -np.inf: "-Infinity"}
        with np.errstate(invalid="ignore"):  # a signaling NaN
            numbers = array.astype(float).ravel().tolist()
        return ["NaN" if x != x else special.get(x, x) for x in numbers]
    return array.tolist() if array.ndim else [array.item()]


@given(st.dictionaries(st.text(min_size=1, max_size=3), arrays(text_only=True), min_size=1, max_size=3))
@settings(max_examples=100, deadline=None)
def test_json_is_read_exactly_nested_and_flat(values):
    request = read_infer(in_json(values), None)
    assert all(same(request.inputs[name], array) for name, (_, array) in values.items())


class _Reply:
    """An HTTP answer, as tritonclient reads it."""

    def __init__(self, body, length):
        self._body, self._length, self._at = body, length, 0
        self.headers = {}

    def get(self, name):
        return None if self._length is None or name == "Content-Encoding" else str(self._length)

    def read(self, length=-1):
        start, self._at = self._at, len(self._body) if length == -1 else self._at + length
        return self._body[start : self._at]


@given(st.dictionaries(st.text(min_size=1, max_size=3), arrays(text_only=True), min_size=1, max_size=3), st.booleans())
@settings(max_examples=100, deadline=None)
def test_tritonclient_reads_an_answer(values, binary):
    request = InferRequest({}, binary_output=binary, id="7")
    body, length = infer_answer(request, "m", "1", {name: array for name, (_, array) in values.items()})
    answer = tritonclient.InferResult(_Reply(body, length), False)
    head = answer.get_response()
    assert (head["model_name"], head["model_version"], head["id"]) == ("m", "1", "7")
    for name, (dtype, array) in values.items():
        assert answer.get_output(name)["datatype"] == dtype
        assert same(answer.as_numpy(name).astype(array.dtype), array)


def test_an_output_decides_over_the_request():
    request = InferRequest({}, (WantedOutput("a", binary=False), WantedOutput("b")), binary_output=True)
    one = np.ones(2, np.float32)
    body, length = infer_answer(request, "m", "1", {"a": one, "b": one})
    first, second = json.loads(body[:length])["outputs"]
    assert first["data"] == [1, 1]
    assert second["parameters"] == {"binary_data_size": 8}
    assert body[length:] == one.tobytes()


def test_parameters_of_the_protocol_are_applied():
    outputs = [tritonclient.InferRequestedOutput("y", binary_data=True)]
    values = {"x": (tritonclient_dtype(), np.ones(2, np.float32))}
    body, length = written(values, binary=True, outputs=outputs, request_id="r1", priority=1, timeout=2500)
    request = read_infer(body, length)
    assert (request.id, request.priority, request.timeout_us) == ("r1", "high", 2500)
    assert request.output_names == ["y"]
    assert request.outputs[0].binary


def tritonclient_dtype():
    from aegisrt.core.tensor import DataType

    return DataType.FP32


def test_a_parameter_of_the_user_is_kept():
    body = b'{"inputs": [], "parameters": {"tenant": "a", "priority": 9, "sequence_id": 0}}'
    request = read_infer(body, None)
    assert (request.parameters, request.priority) == ({"tenant": "a"}, "low")


X = {"name": "x", "shape": [2], "datatype": "FP32"}
DATA = {**X, "data": [1, 2]}


def body_of(*inputs, **more):
    return json.dumps({"inputs": list(inputs), **more}).encode()


def binary_of(size, content, **fields):
    head = body_of({**X, **fields, "parameters": {"binary_data_size": size}})
    return head + content, str(len(head))


@pytest.mark.parametrize(
    ("body", "length", "code", "words"),
    [
        (b"", None, "INVALID_ARGUMENT", "not an inference request in JSON"),
        (b"[]", None, "INVALID_ARGUMENT", "not an inference request in JSON"),
        (b'{"inputs": [', None, "INVALID_ARGUMENT", "not an inference request in JSON"),
        (b'{"inputs": [{"name": "\xff"}]}', None, "INVALID_ARGUMENT", "not an inference request"),
        (b'{"inputs": ' + b"[" * 100_000, None, "INVALID_ARGUMENT", "not an inference request in JSON"),
        (body_of({**X, "shape": "2", "data": [1, 2]}), None, "INVALID_ARGUMENT", "$.inputs[0].shape"),
        (body_of(X), None, "INVALID_ARGUMENT", "neither `data` nor"),
        (body_of({**DATA, "datatype": "FP33"}), None, "INVALID_ARGUMENT", "did you mean `FP32`?"),
        (body_of({**DATA, "shape": [-1]}), None, "INVALID_ARGUMENT", "the shape [-1]"),
        (body_of({**DATA, "shape": [1] * 33}), None, "INVALID_ARGUMENT", "33 dimensions"),
        (body_of({**DATA, "shape": [2**62, 2**62]}), None, "INVALID_ARGUMENT", "not an array of"),
        (body_of({**DATA, "shape": [2**40, 0]}), None, "INVALID_ARGUMENT", "not an array of"),
        (body_of({**DATA, "data": [[1, 2], [3]]}), None, "INVALID_ARGUMENT", "nested or flat"),
        (body_of({**DATA, "data": "ab"}), None, "INVALID_ARGUMENT", "nested or flat"),
        (body_of({**DATA, "data": [1, None]}), None, "INVALID_ARGUMENT", "not FP32[2]"),
        (body_of({**DATA, "data": [1, 1e39]}), None, "INVALID_ARGUMENT", "too large for FP32"),
        (body_of({**DATA, "datatype": "INT8", "data": [1, 128]}), None, "INVALID_ARGUMENT", "outside -128 to 127"),
        (body_of({**DATA, "datatype": "UINT64", "data": [1, -1]}), None, "INVALID_ARGUMENT", "not UINT64[2]"),
        (body_of({**DATA, "datatype": "INT64", "data": [1, 2**63]}), None, "INVALID_ARGUMENT", "not INT64[2]"),
        (body_of({**DATA, "datatype": "INT64", "data": [1, 2.5]}), None, "INVALID_ARGUMENT", "not INT64[2]"),
        (body_of({**DATA, "datatype": "BOOL", "data": [True, 2]}), None, "INVALID_ARGUMENT", "not BOOL[2]"),
        (body_of({**DATA, "datatype": "BYTES", "data": ["a", 2]}), None, "INVALID_ARGUMENT", "not BYTES[2]"),
        (body_of(DATA, DATA), None, "INVALID_ARGUMENT", "`x` is given twice"),
        (body_of(DATA, outputs=[{"name": "y"}] * 2), None, "INVALID_ARGUMENT", "`y` is named twice"),
        (body_of(DATA, parameters={"timeout": "a"}), None, "INVALID_ARGUMENT", "`timeout` is `a`"),
        (body_of(DATA, parameters={"priority": -1}), None, "INVALID_ARGUMENT", "`priority` is `-1`"),
        (body_of(DATA, parameters={"priority": True}), None, "INVALID_ARGUMENT", "`priority` is `True`"),
        (body_of(DATA, parameters={"triton_x": 1}), None, "INVALID_ARGUMENT", "reserved"),
        (body_of(DATA, parameters={"a": [1]}), None, "INVALID_ARGUMENT", "$.parameters"),
        (body_of(DATA, parameters={"sequence_id": 5}), None, "UNIMPLEMENTED", "sequences"),
        (body_of({**X, "parameters": {"shared_memory_region": "r"}}), None, "UNIMPLEMENTED", "shared memory"),
        (body_of({**DATA, "parameters": {"b": 1}}), None, "INVALID_ARGUMENT", "parameter `b`"),
        (
            body_of(DATA, outputs=[{"name": "y", "parameters": {"classification": 3}}]),
            None,
            "UNIMPLEMENTED",
            "classification",
        ),
        (
            body_of(DATA, outputs=[{"name": "y", "parameters": {"binary_data": 1}}]),
            None,
            "INVALID_ARGUMENT",
            "a boolean",
        ),
        (body_of(DATA), "-1", "INVALID_ARGUMENT", "the body has"),
        (body_of(DATA), "\u0662", "INVALID_ARGUMENT", "the body has"),
        (body_of(DATA), "9" * 5000, "INVALID_ARGUMENT", "the body has"),
        (*binary_of(8, b"1234567"), "INVALID_ARGUMENT", "its 8 bytes end after the body"),
        (*binary_of(8, b"123456789"), "INVALID_ARGUMENT", "1 bytes that belong to no input"),
        (*binary_of(7, b"1234567"), "INVALID_ARGUMENT", "has 7 bytes of data, and FP32[2] has 8"),
        (*binary_of(-1, b""), "INVALID_ARGUMENT", "not a size"),
        (*binary_of(True, b"1"), "INVALID_ARGUMENT", "not a size"),
        (*binary_of(8, b"12345678", data=[1, 2]), "INVALID_ARGUMENT", "both `data` and"),
        (*binary_of(8, b"\x00\x00\x00\x00\x05\x00\x00\x00", datatype="BYTES"), "INVALID_ARGUMENT", "element 1"),
        (*binary_of(9, b"\0\0\0\0\0\0\0\0x", datatype="BYTES"), "INVALID_ARGUMENT", "1 bytes behind its 2"),
        (*binary_of(4, b"\0\0\0\0", datatype="BYTES"), "INVALID_ARGUMENT", "too few for 2 strings"),
        (*binary_of(8, b"12345678", shape=[2**31, 2**31]), "INVALID_ARGUMENT", "8 bytes of data"),
    ],
    ids=lambda value: value if isinstance(value, str) and len(value) < 60 else "body",
)
def test_a_mistake_is_named(body, length, code, words):
    with pytest.raises(ResultError) as raised:
        read_infer(body, length)
    assert raised.value.error.code is ErrorCode(code)
    assert words in str(raised.value.error)


def test_bytes_that_are_not_utf8_need_a_binary_answer():
    value = np.asarray([b"\xff"], object)
    with pytest.raises(ResultError, match="not UTF-8"):
        infer_answer(InferRequest({}), "m", "1", {"y": value})
    assert infer_answer(InferRequest({}, binary_output=True), "m", "1", {"y": value})[0].endswith(b"\x01\0\0\0\xff")


def test_the_largest_json_needs_memory_in_proportion():
    """68 MiB of `[]` are refused before a list is made of each."""
    import tracemalloc

    body = b'{"inputs": [{"name": "x", "datatype": "FP32", "shape": [2], "data": [' + b"[]," * (1 << 22) + b"[]]}]}"
    tracemalloc.start()
    with pytest.raises(ResultError, match="nested or flat"):
        read_infer(body, None)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * len(body)


@given(st.binary(max_size=200), st.none() | st.text(max_size=4))
@settings(max_examples=100, deadline=None)
def test_arbitrary_bytes_are_refused(body, length):
    with pytest.raises(ResultError):
        read_infer(body, length)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.fixed_dictionaries(
        {"inputs": st.lists(st.fixed_dictionaries({"name": st.text(max_size=2), "shape": JSON | st.just([2]),
         "datatype": st.sampled_from(["FP32", "INT8", "BYTES", "BOOL", "FP16"]), "data": JSON}), max_size=2)},
        optional={"outputs": JSON, "id": JSON, "parameters": JSON},
    )
)  # fmt: skip
@settings(max_examples=100, deadline=None)
def test_any_json_is_read_or_refused(document):
    assert refusal(lambda body: read_infer(body, None), json.dumps(document).encode()) in REFUSALS
