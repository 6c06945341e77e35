"""The helpers that an author of a backend imports: what each refuses, and with which code."""

import ast
from pathlib import Path

import numpy as np
import pytest

import aegisrt.conformance
from aegisrt.backends.helpers import check_fits, check_onnx, data_type, element_name
from aegisrt.core.result import ErrorCode, ResultError
from aegisrt.core.tensor import DataType

KIT = Path(aegisrt.conformance.__file__).parent / "models"


def code_of(call, *words):
    with pytest.raises(ResultError) as caught:
        call(*words)
    return caught.value.error.code


def test_an_onnx_file_is_described():
    model = check_onnx(KIT / "external.onnx")
    assert model.external_files == ("external.weights",)
    assert [spec.name for spec in model.signature.inputs]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda content: content[:-1], ErrorCode.DATA_LOSS),
        (lambda content: content[: len(content) // 2], ErrorCode.DATA_LOSS),
        (lambda content: b"PK\x03\x04" + content, ErrorCode.INVALID_ARGUMENT),
        (lambda content: b"a text", ErrorCode.INVALID_ARGUMENT),
        (lambda content: content, ErrorCode.NOT_FOUND),
    ],
    ids=["one byte short", "half", "a ZIP archive", "a text", "without its weights"],
)
def test_a_damaged_or_other_file_is_refused(change, code, tmp_path):
    file = tmp_path / "model.onnx"
    file.write_bytes(change((KIT / "external.onnx").read_bytes()))
    assert code_of(check_onnx, file) is code


def test_values_that_do_not_fit_are_refused():
    int32 = np.dtype(np.int32)
    for value in (np.array([2**31 - 1, -(2**31)]), np.zeros(0, np.int64), np.array(5)):
        check_fits(value, int32, "x", "it")
    for value in (np.array([0, 2**31]), np.array(-(2**31) - 1), np.array([2**63], np.uint64)):
        assert code_of(check_fits, value, int32, "x", "it") is ErrorCode.INVALID_ARGUMENT


def test_element_types_by_name():
    assert data_type("float") is data_type("FLOAT") is DataType.FP32
    assert data_type("string") is DataType.BYTES
    assert data_type("float8e4m3fn") is None
    assert {data_type(element_name(number)) for number in range(40)} == {*DataType, None}


def test_no_engine_of_this_project_imports_the_helpers():
    """They are the public names of what engines here import from its own place."""
    package = Path(aegisrt.__file__).parent
    named = [
        file.relative_to(package).as_posix()
        for file in package.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and node.module == "aegisrt.backends.helpers"
    ]
    assert named == []
