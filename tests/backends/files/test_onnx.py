from __future__ import annotations

from pathlib import Path

import pytest

from aegisrt.backends.files.onnx import looks_like_onnx, read_onnx
from aegisrt.bench.one_node import one_node_model
from aegisrt.core.resources import configs_dir
from aegisrt.core.result import ErrorCode, ResultError
from aegisrt.core.tensor import DataType, TensorSpec

DIGITS = configs_dir() / "model" / "digits.onnx"


def field(number: int, value: int | str | bytes) -> bytes:
    """Return one protobuf field; written here again, so that reader and writer of the package are not compared."""
    if isinstance(value, int):
        assert value < 128
        return bytes([number << 3, value])
    content = value.encode() if isinstance(value, str) else value
    size = len(content)
    tag = [number << 3 | 2] if number < 16 else [(number << 3 | 2) & 127 | 128, number >> 4]
    return bytes([*tag, *([size] if size < 128 else [size & 127 | 128, size >> 7])]) + content


def tensor(name: str, element: int, dims: list[int | str | None] | None) -> bytes:
    kinds = {int: 1, str: 2}
    shape = b"".join(field(1, b"" if dim is None else field(kinds[type(dim)], dim)) for dim in dims or [])
    described = field(1, element) + (b"" if dims is None else field(2, shape))
    return field(1, name) + field(2, field(1, described))


def model(graph: bytes, *, ir: int = 8, opsets: tuple[tuple[str, int], ...] = (("", 17),)) -> bytes:
    imports = b"".join(
        field(8, (field(1, domain) if domain else b"") + field(2, version)) for domain, version in opsets
    )
    return field(1, ir) + field(2, "tests") + field(7, graph) + imports


def read(folder: Path, content: bytes):
    path = folder / "model.onnx"
    path.write_bytes(content)
    return read_onnx(path)


def code_of(folder: Path, content: bytes) -> ErrorCode:
    with pytest.raises(ResultError) as caught:
        read(folder, content)
    return caught.value.error.code


def test_the_digits_model():
    found = read_onnx(DIGITS)
    assert found.ir_version <= 10
    assert 1 <= found.opset <= 17
    (image,) = found.signature.inputs
    assert (image.dtype, len(image.shape)) == (DataType.FP32, 4)
    assert isinstance(image.shape[0], str)
    assert found.external_files == ()


def test_the_one_node_model(tmp_path):
    found = read(tmp_path, one_node_model((1, 300)))
    assert (found.ir_version, found.opset) == (8, 17)
    assert found.signature.inputs == (TensorSpec("x", DataType.FP32, (1, 300)),)
    assert found.signature.outputs == (TensorSpec("y", DataType.FP32, (1, 300)),)


@pytest.mark.parametrize("dims", [None, [], [1], ["batch", 3, None], ["a*b+1"], [0, 2]])
def test_shapes(tmp_path, dims):
    found = read(tmp_path, model(field(11, tensor("x", 1, dims)) + field(12, tensor("y", 1, dims))))
    assert found.signature.inputs[0].shape == (None if dims is None else tuple(dims))


@pytest.mark.parametrize("size", [-1, -(1 << 63)])
def test_a_negative_dimension_is_a_dynamic_one(tmp_path, size):
    varint = bytes([size >> shift & 127 | 128 for shift in range(0, 63, 7)]) + b"\x01"
    described = field(1, 1) + field(2, field(1, b"\x08" + varint))
    content = field(1, "x") + field(2, field(1, described))
    found = read(tmp_path, model(field(11, content) + field(12, content)))
    assert found.signature.inputs == (TensorSpec("x", DataType.FP32, (None,)),)


@pytest.mark.parametrize(
    ("element", "dtype"),
    [(1, "FP32"), (2, "UINT8"), (3, "INT8"), (4, "UINT16"), (5, "INT16"), (6, "INT32"), (7, "INT64"), (8, "BYTES"),
     (9, "BOOL"), (10, "FP16"), (11, "FP64"), (12, "UINT32"), (13, "UINT64"), (16, "BF16")],
)  # fmt: skip
def test_dtypes(tmp_path, element, dtype):
    found = read(tmp_path, model(field(11, tensor("x", element, [1])) + field(12, tensor("y", element, [1]))))
    assert [spec.dtype for spec in (*found.signature.inputs, *found.signature.outputs)] == [dtype, dtype]


def test_weights_that_are_listed_as_inputs_are_optional_inputs(tmp_path):
    graph = field(5, field(8, "w")) + field(11, tensor("w", 1, [4])) + field(11, tensor("x", 1, [4]))
    found = read(tmp_path, model(graph)).signature
    assert [(spec.name, spec.optional) for spec in found.inputs] == [("x", False), ("w", True)]
    assert [spec.name for spec in found.required] == ["x"]


def test_external_files_are_named_once_and_sorted(tmp_path):
    weights = field(5, weight("a", "z.bin")) + field(5, weight("b", "a.bin")) + field(5, weight("c", "z.bin"))
    assert read(tmp_path, model(weights + field(12, tensor("y", 1, [4])))).external_files == ("a.bin", "z.bin")


def weight(name: str, file: str) -> bytes:
    """Return a `TensorProto` with external data."""
    return field(8, name) + field(13, field(1, "location") + field(2, file)) + field(14, 1)


def attribute(content: bytes) -> bytes:
    """Return a node with one attribute."""
    return field(1, field(5, field(1, "value") + content))


W = weight("w", "deep.bin")
DEEP = {
    "constant": attribute(field(5, W)),
    "tensors": attribute(field(10, W)),
    "subgraph": attribute(field(6, field(5, W))),
    "subgraphs": attribute(field(11, attribute(field(5, W)))),
    "sparse-attribute": attribute(field(22, field(1, W))),
    "sparse-attributes": attribute(field(23, field(2, W))),
    "sparse-initializer": field(15, field(1, W)),
    "sparse-indices": field(15, field(2, W)),
}


@pytest.mark.parametrize("graph", DEEP.values(), ids=DEEP)
def test_external_files_of_tensors_below_the_top_level(tmp_path, graph):
    assert read(tmp_path, model(graph + field(12, tensor("y", 1, [4])))).external_files == ("deep.bin",)


def test_external_files_of_functions_and_of_training(tmp_path):
    whole = model(field(12, tensor("y", 1, [4])))
    function = field(25, field(7, field(5, field(5, W)))) + field(25, field(11, field(5, weight("v", "default.bin"))))
    training = field(20, field(1, field(5, weight("u", "train.bin"))))
    assert read(tmp_path, whole + function + training).external_files == ("deep.bin", "default.bin", "train.bin")


def test_deep_nesting_is_no_recursion(tmp_path):
    graph = field(5, W)
    for _ in range(60):  # `field` writes sizes below 16 KiB
        graph = attribute(field(6, graph))
    assert read(tmp_path, model(graph + field(12, tensor("y", 1, [4])))).external_files == ("deep.bin",)


@pytest.mark.parametrize(
    ("kind", "words"), [(4, "a sequence"), (5, "a map"), (8, "a sparse tensor"), (9, "an optional")]
)
def test_what_is_no_tensor(tmp_path, kind, words):
    other = field(1, "s") + field(2, field(kind, b""))
    found = read(tmp_path, model(field(12, tensor("y", 1, [1])) + field(12, other)))
    assert [spec.name for spec in found.signature.outputs] == ["y"]
    assert found.signature.omitted == (("s", words),)
    with pytest.raises(ResultError, match=words) as caught:
        read(tmp_path, model(field(11, other) + field(12, tensor("y", 1, [1]))))
    assert caught.value.error.code is ErrorCode.UNIMPLEMENTED
    assert caught.value.error.hint


@pytest.mark.parametrize("element", [0, 14, 15, 17, 21])
def test_element_types_that_no_data_type_has(tmp_path, element):
    assert code_of(tmp_path, model(field(11, tensor("x", element, [1])))) is ErrorCode.UNIMPLEMENTED
    found = read(tmp_path, model(field(12, tensor("y", element, [1]))))
    assert found.signature.omitted[0][0] == "y"


@pytest.mark.parametrize(
    ("opsets", "opset"), [((("", 13),), 13), ((("ai.onnx", 12),), 12), ((("ai.onnx.ml", 3), ("", 9)), 9), ((), 0)]
)
def test_opset_of_the_default_domain(tmp_path, opsets, opset):
    assert read(tmp_path, model(field(12, tensor("y", 1, [1])), opsets=opsets)).opset == opset


def test_every_truncation_is_data_loss(tmp_path):
    whole = one_node_model()
    graph_ends = len(whole) - 4
    for keep in range(2, graph_ends):
        assert code_of(tmp_path, whole[:keep]) is ErrorCode.DATA_LOSS, f"cut after {keep} of {len(whole)} bytes"


def test_truncations_of_a_real_model(tmp_path):
    whole = DIGITS.read_bytes()
    for keep in (2, 100, 5_000, len(whole) // 2, len(whole) - 100):
        assert code_of(tmp_path, whole[:keep]) is ErrorCode.DATA_LOSS, f"cut after {keep} of {len(whole)} bytes"


@pytest.mark.parametrize(
    "content", [b"\x00", b"hello, world\n", b"\xff" * 40, b"PK\x03\x04" + bytes(60), b"\x0a\x02ab"]
)
def test_what_is_no_onnx_file(tmp_path, content):
    assert code_of(tmp_path, content) is ErrorCode.INVALID_ARGUMENT


def test_flipped_bytes_never_escape_as_another_exception(tmp_path):
    whole = one_node_model()
    codes = set()
    for at in range(len(whole)):
        for flip in (0x01, 0x80, 0xFF):
            broken = bytearray(whole)
            broken[at] ^= flip
            try:
                read(tmp_path, bytes(broken))
            except ResultError as caught:
                codes.add(caught.error.code)
    assert codes == {ErrorCode.DATA_LOSS, ErrorCode.INVALID_ARGUMENT, ErrorCode.UNIMPLEMENTED}


def test_looks_like_onnx():
    assert looks_like_onnx(DIGITS.read_bytes()[:16])
    assert not looks_like_onnx(b"")
    assert not looks_like_onnx(b"\x7fELF")
