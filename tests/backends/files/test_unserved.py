"""What is not served is called by the name that ONNX's own tools give it."""

from __future__ import annotations

import pytest

from aegisrt import MockBackend, ONNXBackend
from aegisrt.backends.files.onnx import read_onnx
from aegisrt.backends.files.onnx_elements import element_name
from aegisrt.backends.files.unserved import ort_kind, unserved
from aegisrt.core.result import ErrorCode, ResultError
from tests.backends import onnx_models as made

UNSERVED = [14, 15, *range(17, 29)]


def test_names_are_those_of_the_package_onnx():
    for name, number in made.onnx.TensorProto.DataType.items():
        assert element_name(number) == name
    assert element_name(99) == "element type 99 of onnx.TensorProto"


@pytest.mark.parametrize("element", UNSERVED, ids=element_name)
def test_an_input_names_its_element_type(tmp_path, element):
    path = made.save(
        tmp_path, made.model([made.node("Cast", "x", "y", to=1)], [made.tensor("x", element)], [made.tensor("y")])
    )
    for refuse in (lambda: read_onnx(path), lambda: MockBackend().load(path).unwrap()):
        with pytest.raises(ResultError) as caught:
            refuse()
        assert caught.value.error.code is ErrorCode.UNIMPLEMENTED
        assert f"`x` of {path} is a tensor of {element_name(element)}, and this element" in caught.value.error.message


def test_an_output_names_its_element_type(tmp_path):
    graph = made.model([made.node("Cast", "x", "y", to=17)], [made.tensor("x")], [made.tensor("y", 17)], opset=19)
    assert read_onnx(made.save(tmp_path, graph)).signature.omitted == (("y", "a tensor of FLOAT8E4M3FN"),)


@pytest.mark.engine("onnx")
def test_onnx_runtime_names_it_alike(tmp_path):
    graph = made.model([made.node("Cast", "x", "y", to=1)], [made.tensor("x", 17)], [made.tensor("y")], opset=19)
    error = ONNXBackend().load(made.save(tmp_path, graph)).unwrap_err()
    assert error.code is ErrorCode.UNIMPLEMENTED
    assert "`x` of" in error.message
    assert "is a tensor of FLOAT8E4M3FN, and this element type is not served" in error.message


def test_types_of_onnx_runtime():
    assert ort_kind("tensor(complex64)") == "a tensor of COMPLEX64"
    assert ort_kind("seq(tensor(float))") == "seq(tensor(float))"
    assert unserved("seq(tensor(float))")[0] == "seq(tensor(float)), and only tensors are served"
