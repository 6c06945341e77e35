"""The header of an engine file: what made it is known before TensorRT sees the file."""

import pytest

from aegisrt.backends.tensorrt.distribution import TensorRT
from aegisrt.backends.tensorrt.plan import check_version, read_header
from aegisrt.core.result import ErrorCode, ResultError
from tests.fakes.tensorrt import plan


def engine(version, distribution="tensorrt"):
    return TensorRT(None, distribution, version, None, None)


def write(path, version, family=b"ftrt"):
    path.write_bytes(plan(version, inputs={}, outputs={}, family=family))
    return path


def refusal(call, *arguments, **options):
    with pytest.raises(ResultError) as caught:
        call(*arguments, **options)
    return caught.value.error


def test_the_version_is_at_byte_24(tmp_path):
    header = read_header(write(tmp_path / "m.engine", (8, 6, 1, 6)))
    assert header.version == (8, 6, 1, 6)
    assert header.display_name == "TensorRT 8.6.1.6"
    assert header.runners == ("tensorrt", "tensorrt_lean", "tensorrt_dispatch")


def test_a_plan_of_rtx_is_told_apart(tmp_path):
    header = read_header(write(tmp_path / "m.engine", (1, 7, 1, 116), b"vtrt"))
    assert header.display_name == "TensorRT for RTX 1.7.1.116"
    assert header.runners == ("tensorrt_rtx",)


@pytest.mark.parametrize(
    ("content", "code", "words"),
    [
        (b"\x08\x07\x12\x04test" + bytes(40), ErrorCode.INVALID_ARGUMENT, "an ONNX model"),
        (b"\x7fELF" + bytes(60), ErrorCode.INVALID_ARGUMENT, "a native library"),
        (b"ftrt" + bytes(8), ErrorCode.DATA_LOSS, "cut short"),
        (bytes(64), ErrorCode.INVALID_ARGUMENT, "something else"),
    ],
)
def test_what_is_no_engine_file(content, code, words, tmp_path):
    path = tmp_path / "m.engine"
    path.write_bytes(content)
    error = refusal(read_header, path)
    assert error.code is code
    assert words in error.message


def test_a_plan_of_rtx_knows_its_size(tmp_path):
    path = write(tmp_path / "m.engine", (1, 7, 1, 116), b"vtrt")
    path.write_bytes(path.read_bytes()[:-1])
    assert refusal(read_header, path).code is ErrorCode.DATA_LOSS


@pytest.mark.parametrize(
    ("built_by", "here", "options", "fits"),
    [
        ((8, 6, 1, 6), (8, 6, 1, 6), {}, True),
        ((8, 6, 1, 6), (8, 6, 1, 7), {}, True),
        ((8, 6, 0, 12), (8, 6, 1, 6), {}, True),
        ((8, 5, 3, 1), (8, 6, 1, 6), {}, False),
        ((8, 6, 1, 6), (10, 16, 1, 11), {}, False),
        ((10, 3, 0, 26), (10, 16, 1, 11), {}, False),
        ((10, 3, 0, 26), (10, 16, 1, 11), {"version_compatible": True}, True),
        ((10, 16, 1, 11), (10, 3, 0, 26), {"version_compatible": True}, False),
        ((8, 6, 1, 6), (10, 16, 1, 11), {"version_compatible": True}, False),
        ((8, 6, 1, 6), (10, 16, 1, 11), {"version_compatible": True, "host_code_allowed": True}, True),
        ((0, 0, 0, 0), (10, 16, 1, 11), {}, True),
    ],
)
def test_versions(built_by, here, options, fits, tmp_path):
    path = write(tmp_path / "m.engine", built_by)
    options = {"version_compatible": False, "host_code_allowed": False, **options}
    if fits:
        check_version(path, read_header(path), engine(here), **options)
        return
    error = refusal(check_version, path, read_header(path), engine(here), **options)
    assert error.code is ErrorCode.FAILED_PRECONDITION
    assert ".".join(map(str, built_by)) in error.message
    assert ".".join(map(str, here)) in error.message
    assert "aegisrt build" in error.hint


def test_lean_takes_compatible_plans_of_its_own_major_version(tmp_path):
    path = write(tmp_path / "m.engine", (10, 3, 0, 26))
    options = {"version_compatible": False, "host_code_allowed": False}
    check_version(path, read_header(path), engine((10, 16, 1, 11), "tensorrt_lean"), **options)
    old = write(tmp_path / "old.engine", (8, 6, 1, 6))
    error = refusal(check_version, old, read_header(old), engine((10, 16, 1, 11), "tensorrt_lean"), **options)
    assert error.code is ErrorCode.FAILED_PRECONDITION
