from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest

from aegisrt.backends.mock import MockBackend
from aegisrt.bench.one_node import one_node_model
from aegisrt.core.request import ExecutionRequest
from aegisrt.core.resources import configs_dir
from aegisrt.core.result import ErrorCode
from aegisrt.core.tensor import DataType, TensorSpec

NUMPY_DTYPES = sorted(MockBackend.capabilities.dtypes)


def tensor(name: str, dtype: str = "FP32", shape: tuple = ("n",)) -> dict:
    return {"name": name, "dtype": dtype, "shape": list(shape)}


def output(name: str, operation: dict, dtype: str = "FP32", shape: tuple = ("n",)) -> dict:
    return {**tensor(name, dtype, shape), "operation": operation}


def write(folder: Path, inputs: list[dict], outputs: list[dict], **more) -> Path:
    path = folder / "model.mock.json"
    path.write_text(json.dumps({"format": "aegisrt-mock/v1", "inputs": inputs, "outputs": outputs, **more}))
    return path


def load(path: Path, options: dict | None = None) -> MockBackend:
    backend = MockBackend(options)
    backend.load(path).unwrap()
    return backend


def run(backend: MockBackend, **inputs) -> dict:
    return backend.execute(ExecutionRequest(inputs=inputs)).unwrap().outputs


@pytest.fixture
def identity(tmp_path: Path) -> Path:
    return write(tmp_path, [tensor("x")], [output("y", {"kind": "identity", "input": "x"})])


class TestOperations:
    @pytest.mark.parametrize("dtype", NUMPY_DTYPES)
    def test_identity_of_every_dtype(self, tmp_path, dtype):
        path = write(tmp_path, [tensor("x", dtype)], [output("y", {"kind": "identity", "input": "x"}, dtype)])
        x = np.array(["a", "é"], object) if dtype is DataType.BYTES else np.array([0, 1], dtype.numpy)
        y = run(load(path), x=x)["y"]
        assert y.dtype == dtype.numpy
        np.testing.assert_array_equal(y, x)
        assert not np.shares_memory(x, y)

    @pytest.mark.parametrize("shape", [(), (0,), (2, 0, 3), (1,)])
    def test_scalars_and_empty_tensors(self, tmp_path, shape):
        path = write(
            tmp_path, [tensor("x", shape=shape)], [output("y", {"kind": "identity", "input": "x"}, shape=shape)]
        )
        assert run(load(path), x=np.zeros(shape, np.float32))["y"].shape == shape

    def test_affine(self, tmp_path):
        operation = {"kind": "affine", "input": "x", "scale": 2.0, "offset": -1.0}
        path = write(tmp_path, [tensor("x")], [output("y", operation)])
        np.testing.assert_array_equal(run(load(path), x=np.array([0, 1.5], np.float32))["y"], [-1, 2])

    def test_add_broadcasts(self, tmp_path):
        inputs = [tensor("a", shape=("n", 2)), tensor("b", shape=(2,))]
        path = write(tmp_path, inputs, [output("y", {"kind": "add", "inputs": ["a", "b"]}, shape=("n", 2))])
        made = run(load(path), a=np.ones((3, 2), np.float32), b=np.array([1, 2], np.float32))["y"]
        np.testing.assert_array_equal(made, [[2, 3]] * 3)

    def test_add_that_does_not_fit_is_an_error(self, tmp_path):
        path = write(tmp_path, [tensor("a"), tensor("b")], [output("y", {"kind": "add", "inputs": ["a", "b"]})])
        inputs = {"a": np.ones(2, np.float32), "b": np.ones(3, np.float32)}
        error = load(path).execute(ExecutionRequest(inputs=inputs)).unwrap_err()
        assert error.code is ErrorCode.INVALID_ARGUMENT

    @pytest.mark.parametrize("shape", [(), (3,), (2, 2)])
    def test_an_unknown_rank_takes_any(self, tmp_path, shape):
        path = write(tmp_path, [tensor("x") | {"shape": None}], [output("y", {"kind": "digest"}) | {"shape": None}])
        assert run(load(path), x=np.ones(shape, np.float32))["y"].shape == ()

    @pytest.mark.parametrize("dtype", NUMPY_DTYPES)
    def test_a_digest_depends_on_every_input_and_on_nothing_else(self, tmp_path, dtype):
        made = [output("y", {"kind": "digest"}, dtype, ("n", 3)), output("z", {"kind": "digest"}, dtype, ("n", 3))]
        path = write(tmp_path, [tensor("a"), tensor("b", "BYTES")], made)
        first, second = load(path), load(path)
        a, b = np.ones(2, np.float32), np.array(["u", "v"], object)
        y = run(first, a=a, b=b)["y"]
        assert (y.shape, y.dtype) == ((2, 3), dtype.numpy)
        np.testing.assert_array_equal(run(second, b=b, a=a)["y"], y)
        if dtype is not DataType.BOOL:
            assert not np.array_equal(run(first, a=a * 2, b=b)["y"], y)
            assert not np.array_equal(run(first, a=a, b=b[::-1])["y"], y)
            assert not np.array_equal(run(first, a=a, b=b)["z"], y)


class TestOptions:
    def test_delay(self, identity):
        backend = load(identity, {"delay_ms": 20})
        started = time.perf_counter_ns()
        result = backend.execute(ExecutionRequest(inputs={"x": np.zeros(1, np.float32)})).unwrap()
        assert time.perf_counter_ns() - started >= 20e6
        assert result.timings.compute >= 20e6

    def test_load_delay(self, identity):
        started = time.perf_counter_ns()
        load(identity, {"load_delay_ms": 20})
        assert time.perf_counter_ns() - started >= 20e6

    @pytest.mark.parametrize("code", list(ErrorCode))
    def test_fail_load(self, identity, code):
        assert MockBackend({"fail_load": code.value}).load(identity).unwrap_err().code is code

    @pytest.mark.parametrize("code", list(ErrorCode))
    def test_fail_execute(self, identity, code):
        backend = load(identity, {"fail_execute": code.value})
        result = backend.execute(ExecutionRequest(inputs={"x": np.zeros(1, np.float32)}))
        assert result.unwrap_err().code is code

    def test_fail_every_third(self, identity):
        backend = load(identity, {"fail_execute": "UNAVAILABLE", "fail_every": 3})
        request = ExecutionRequest(inputs={"x": np.zeros(1, np.float32)})
        assert [backend.execute(request).is_ok() for _ in range(6)] == [True, True, False, True, True, False]

    @pytest.mark.parametrize(
        "options",
        [
            {"delay_ms": -1},
            {"delay_ms": "5"},
            {"fail_load": "NO_SUCH_CODE"},
            {"fail_every": 0},
            {"kind": "onnx"},
            {"x": 1},
        ],
    )
    def test_wrong_options_are_refused(self, options):
        with pytest.raises(ValueError, match=next(iter(options))):
            MockBackend(options)


class TestFiles:
    def test_the_signature_is_the_files(self, identity):
        signature = load(identity).signature
        assert signature.inputs == (TensorSpec("x", DataType.FP32, ("n",)),)
        assert signature.outputs == (TensorSpec("y", DataType.FP32, ("n",)),)

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            ({"format": "other/v1"}, "format"),
            ({"outputs": []}, "outputs"),
            ({"inputs": [{"name": "x", "dtype": "FP128", "shape": []}]}, "inputs.0.dtype"),
            ({"inputs": [{"name": "x", "dtype": "FP32"}]}, "inputs.0.shape"),
            ({"outputs": [output("y", {"kind": "negate", "input": "x"})]}, "outputs.0.operation"),
            ({"outputs": [output("y", {"kind": "identity", "input": "w"})]}, "`w`, which is not an input"),
            ({"outputs": [output("y", {"kind": "add", "inputs": ["x", "w"]})]}, "`w`, which is not an input"),
            ({"extra": 1}, "extra"),
        ],
    )
    def test_json_that_is_no_mock_model(self, tmp_path, change, said):
        whole = {"inputs": [tensor("x")], "outputs": [output("y", {"kind": "identity", "input": "x"})], **change}
        error = MockBackend().load(write(tmp_path, **whole)).unwrap_err()
        assert error.code is ErrorCode.INVALID_ARGUMENT
        assert said in error.message

    @pytest.mark.parametrize("keep", [1, 20, 0.5, 0.99])
    def test_json_that_is_cut_short(self, identity, keep):
        content = identity.read_bytes()
        identity.write_bytes(content[: keep if keep >= 1 else int(len(content) * keep)])
        assert MockBackend().load(identity).unwrap_err().code is ErrorCode.DATA_LOSS

    def test_what_is_neither_json_nor_onnx(self, tmp_path):
        path = tmp_path / "model.onnx"
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
        error = MockBackend().load(path).unwrap_err()
        assert error.code is ErrorCode.INVALID_ARGUMENT
        assert "a PNG picture" in error.message

    def test_a_digest_of_a_row_does_not_depend_on_the_rows_beside_it(self):
        backend = load(configs_dir() / "model" / "digits.onnx")
        (image,) = backend.signature.inputs
        batch = np.random.default_rng(0).random((5, *image.shape[1:]), np.float32)
        whole, alone = (run(backend, **{image.name: x}) for x in (batch, batch[3:4]))
        for name, value in whole.items():
            np.testing.assert_array_equal(value[3:4], alone[name])

    def test_an_onnx_file_gives_its_signature_and_digests(self):
        backend = load(configs_dir() / "model" / "digits.onnx")
        (image,) = backend.signature.inputs
        batch = np.random.default_rng(0).random((5, *image.shape[1:]), np.float32)
        made = run(backend, **{image.name: batch})
        assert [(name, value.shape[0]) for name, value in made.items()] == [
            (spec.name, 5) for spec in backend.signature.outputs
        ]
        np.testing.assert_array_equal(*(run(backend, **{image.name: batch})[name] for name in [next(iter(made))] * 2))

    @pytest.mark.parametrize("keep", [3, 20, 60])
    def test_an_onnx_file_that_is_cut_short(self, tmp_path, keep):
        path = tmp_path / "model.onnx"
        path.write_bytes(one_node_model()[:keep])
        assert MockBackend().load(path).unwrap_err().code is ErrorCode.DATA_LOSS
