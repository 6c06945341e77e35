from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from aegisrt.backends.onnx.backend import ONNXBackend
from aegisrt.core.request import ExecutionRequest
from aegisrt.core.result import ErrorCode
from aegisrt.core.tensor import Array, DataType
from tests.backends.onnx_models import BF16, ELEMENT, FLOAT, STRING, identity, model, node, save, tensor

pytestmark = pytest.mark.engine("onnx")
SHAPES = [(), (0,), (1,), (5,), (2, 0, 3), (2, 3, 4)]


def values(dtype: DataType, shape: tuple[int, ...]) -> Array:
    """Return an array with the extremes of its dtype in it, where it has room."""
    count = int(np.prod(shape))
    if dtype is DataType.BYTES:
        return np.array([f"é{number}\0" for number in range(count)], object).reshape(shape)
    if dtype is DataType.BOOL:
        return (np.arange(count) % 2 == 0).reshape(shape)
    if dtype in (DataType.FP16, DataType.FP32, DataType.FP64, DataType.BF16):
        special = [np.nan, np.inf, -np.inf, -0.0, 1e-40]
    else:
        limits = np.iinfo(dtype.numpy)
        special = [limits.min, limits.max]
    made = np.resize(np.array(special, object), count).reshape(shape)
    return np.asarray(made.astype(dtype.numpy))


def bits(array: Array) -> bytes | list[object]:
    return array.tolist() if array.dtype == object else array.tobytes()


def load(path: Path) -> ONNXBackend:
    backend = ONNXBackend({"intra_op_threads": 1})
    backend.load(path).unwrap()
    return backend


def run(backend: ONNXBackend, wanted=None, **inputs) -> dict[str, Array]:
    return backend.execute(ExecutionRequest(inputs=inputs, outputs=wanted)).unwrap().outputs


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", list(DataType))
def test_every_dtype_comes_back_bit_for_bit(tmp_path, dtype, shape):
    if dtype is DataType.BF16:
        pytest.importorskip("ml_dtypes", reason="ml_dtypes is not installed")
    backend = load(save(tmp_path, identity(ELEMENT[dtype], [None] * len(shape))))
    x = values(dtype, shape)
    y = run(backend, x=x)["y"]
    assert isinstance(y, np.ndarray)
    assert (y.dtype, y.shape) == (dtype.numpy, shape)
    assert bits(y) == bits(x)
    assert not np.shares_memory(x, y)


@pytest.mark.parametrize("dtype", [d for d in DataType if d not in (DataType.BYTES, DataType.BF16)])
@pytest.mark.parametrize("form", ["big-endian", "read-only", "strided", "unaligned", "fortran"])
def test_every_form_of_an_array_gives_the_same_answer(tmp_path, dtype, form):
    backend = load(save(tmp_path, identity(ELEMENT[dtype], [3, 4])))
    x = values(dtype, (3, 4))
    forms = {
        "big-endian": lambda: x.astype(x.dtype.newbyteorder(">")),
        "read-only": lambda: np.frombuffer(x.tobytes(), x.dtype).reshape(3, 4),
        "strided": lambda: np.repeat(x, 2, axis=1)[:, ::2],
        "unaligned": lambda: np.frombuffer(b"1" + x.tobytes(), np.uint8)[1:].view(x.dtype).reshape(3, 4),
        "fortran": lambda: np.asfortranarray(x),
    }
    assert bits(run(backend, x=forms[form]())["y"]) == bits(x)


def test_one_model_serves_many_shapes(tmp_path):
    backend = load(save(tmp_path, identity(FLOAT, ["n", None])))
    for shape in ((1, 1), (0, 5), (7, 3), (5, 0), (1, 1)):
        assert run(backend, x=np.ones(shape, np.float32))["y"].shape == shape


class TestStrings:
    @pytest.fixture
    def backend(self, tmp_path: Path) -> ONNXBackend:
        return load(save(tmp_path, identity(STRING, [None])))

    @pytest.mark.parametrize(
        "x",
        [
            np.array(["a", "é"], object),
            np.array([b"a", "é".encode()], object),
            np.array(["a", "é".encode()], object),
            np.array(["a", "é"]),
            np.array([b"a", "é".encode()]),
        ],
    )
    def test_text_and_utf8_bytes_are_one(self, backend, x):
        assert run(backend, x=x)["y"].tolist() == ["a", "é"]

    def test_other_bytes_are_refused(self, backend):
        error = backend.execute(ExecutionRequest(inputs={"x": np.array([b"\xff"], object)})).unwrap_err()
        assert error.code is ErrorCode.INVALID_ARGUMENT
        assert "not UTF-8" in error.message

    def test_half_of_a_surrogate_pair_is_refused(self, backend):
        error = backend.execute(ExecutionRequest(inputs={"x": np.array(["\ud800"], object)})).unwrap_err()
        assert error.code is ErrorCode.INVALID_ARGUMENT
        assert error.message == "a string among the inputs cannot be encoded as UTF-8: surrogates not allowed"

    def test_the_callers_array_keeps_its_bytes(self, backend):
        x = np.array([b"a"], object)
        run(backend, x=x)
        assert x.tolist() == [b"a"]


class TestBF16:
    @pytest.fixture
    def mixed(self, tmp_path: Path) -> ONNXBackend:
        """Return `x` FP32 and `b` BF16 -> `y` = x as BF16, `z` = y as FP32, `c` = b, `s` = x as text."""
        pytest.importorskip("ml_dtypes", reason="ml_dtypes is not installed")
        nodes = [node("Cast", "x", "y", to=BF16), node("Cast", "y", "z", to=FLOAT), node("Identity", "b", "c"),
                 node("Cast", "x", "s", to=STRING)]  # fmt: skip
        outputs = [tensor("y", BF16), tensor("z"), tensor("c", BF16), tensor("s", STRING)]
        return load(save(tmp_path, model(nodes, [tensor("x"), tensor("b", BF16)], outputs)))

    def test_beside_other_dtypes(self, mixed):
        x = np.array([1.0009765625, -3], np.float32)
        b = np.array([np.nan, 0.1, np.inf], DataType.BF16.numpy)
        made = run(mixed, x=x, b=b)
        assert list(made) == ["y", "z", "c", "s"]
        np.testing.assert_array_equal(made["y"], x.astype(DataType.BF16.numpy))
        np.testing.assert_array_equal(made["z"], np.array([1, -3], np.float32))
        assert bits(made["c"]) == bits(b)
        assert made["s"].dtype == object

    @pytest.mark.parametrize("wanted", [["z"], ["c"], ["s", "y"]])
    def test_subsets(self, mixed, wanted):
        made = run(mixed, wanted, x=np.ones(2, np.float32), b=np.ones(1, DataType.BF16.numpy))
        assert list(made) == wanted

    def test_outputs_are_the_callers_own(self, mixed):
        inputs = {"x": np.ones(2, np.float32), "b": np.full(3, 2, DataType.BF16.numpy)}
        first, second = run(mixed, **inputs), run(mixed, **inputs)
        mixed.unload().unwrap()
        for value in first.values():
            value[...] = 0
        assert second["c"].tolist() == [2, 2, 2]
        assert second["z"].tolist() == [1, 1]
        assert inputs["b"].tolist() == [2, 2, 2]

    def test_its_bits_as_uint16_are_refused(self, mixed):
        inputs = {"x": np.ones(2, np.float32), "b": np.ones(3, np.uint16)}
        error = mixed.execute(ExecutionRequest(inputs=inputs)).unwrap_err()
        assert error.message == "input `b` is UINT16, the model takes BF16"

    def test_with_a_string_input_it_does_not_load(self, tmp_path):
        pytest.importorskip("ml_dtypes", reason="ml_dtypes is not installed")
        nodes = [node("Identity", "t", "u"), node("Identity", "b", "c")]
        inputs = [tensor("t", STRING), tensor("b", BF16)]
        path = save(tmp_path, model(nodes, inputs, [tensor("u", STRING), tensor("c", BF16)]))
        assert ONNXBackend().load(path).unwrap_err().code is ErrorCode.UNIMPLEMENTED
