"""Inputs with default values: a weight of the same name that a request may replace."""

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="the models of this test are made with the package onnx")

from aegisrt import ErrorCode, ExecutionRequest, MockBackend, ONNXBackend, deploy  # noqa: E402
from aegisrt.backends.files.onnx import read_onnx  # noqa: E402
from aegisrt.cli.main import main  # noqa: E402
from aegisrt.core.tensor import DataType, TensorSpec  # noqa: E402
from tests.backends.onnx_models import FLOAT, INT64, helper, model, node, save, tensor, weight  # noqa: E402

X = np.arange(6, dtype=np.float32).reshape(2, 3)
GAIN = TensorSpec("gain", DataType.FP32, (), optional=True)
SHIFT = TensorSpec("shift", DataType.FP32, (3,), optional=True)


@pytest.fixture
def path(tmp_path):
    """Return a model of y = gain x + shift, whose weights are declared before its input."""
    nodes = [node("Mul", "x gain", "t"), node("Add", "t shift", "y")]
    weights = [weight("gain", np.float32(2)), weight("shift", np.array([0, 0, 1], np.float32))]
    inputs = [tensor("gain", FLOAT, []), tensor("x", FLOAT, ["n", 3]), tensor("shift", FLOAT, [3])]
    return save(tmp_path, model(nodes, inputs, [tensor("y", FLOAT, ["n", 3])], weights))


def answer(backend, **inputs):
    return backend.execute(ExecutionRequest(inputs=inputs)).unwrap().outputs["y"]


def test_the_header_declares_them_last(path):
    assert read_onnx(path).signature.inputs[1:] == (GAIN, SHIFT)
    assert [spec.name for spec in read_onnx(path).signature.required] == ["x"]
    assert str(GAIN) == "gain FP32[] (optional)"


def test_before_ir_version_4_each_weight_is_an_input_and_a_constant(path):
    made = onnx.load(path)
    made.ir_version = 3
    made.opset_import[0].version = 8
    onnx.save(made, path)
    assert [spec.name for spec in read_onnx(path).signature.inputs] == ["x"]


@pytest.mark.engine("onnx")
class TestOnnxRuntime:
    @pytest.fixture
    def backend(self, path):
        backend = ONNXBackend({"intra_op_threads": 1})
        backend.load(path).unwrap()
        yield backend
        backend.unload()

    def test_it_has_the_signature_of_the_header(self, backend, path):
        assert backend.signature == read_onnx(path).signature

    def test_each_is_used_when_it_is_given_and_its_default_when_not(self, backend):
        gain, shift = np.array(5, np.float32), np.array([1, 2, 3], np.float32)
        for _ in range(2):
            np.testing.assert_array_equal(answer(backend, x=X), 2 * X + [0, 0, 1])
            np.testing.assert_array_equal(answer(backend, x=X, gain=gain), 5 * X + [0, 0, 1])
            np.testing.assert_array_equal(answer(backend, shift=shift, x=X), 2 * X + shift)
            np.testing.assert_array_equal(answer(backend, gain=gain, shift=shift, x=X), 5 * X + shift)

    @pytest.mark.parametrize(
        ("inputs", "message"),
        [
            ({"gain": np.array(5, np.float32)}, "input `x` is missing"),
            ({"gain": np.array(5, np.float32), "shift": np.zeros(3, np.float32)}, "input `x` is missing"),
            ({"x": X, "gian": np.array(5, np.float32)}, "`gian` is not an input of the model"),
            ({"x": X, "gain": np.array(5, np.float64)}, "input `gain` is FP64, the model takes FP32"),
            ({"x": X, "shift": np.zeros(2, np.float32)}, "input `shift` has shape [2], the model takes [3]"),
        ],
    )
    def test_it_is_checked_like_any_other(self, inputs, message, backend):
        error = backend.execute(ExecutionRequest(inputs=inputs)).unwrap_err()
        assert (error.code, error.message) == (ErrorCode.INVALID_ARGUMENT, message)

    def test_old_models_have_none(self, path):
        made = onnx.load(path)
        made.ir_version = 3
        made.opset_import[0].version = 8
        onnx.save(made, path)
        backend = ONNXBackend()
        backend.load(path).unwrap()
        assert backend.signature == read_onnx(path).signature
        np.testing.assert_array_equal(answer(backend, x=X), 2 * X + [0, 0, 1])

    @pytest.mark.parametrize("element", ["STRING", "BFLOAT16"])
    def test_of_a_dtype_that_is_converted(self, element, tmp_path):
        kind = getattr(onnx.TensorProto, element)
        default = helper.make_tensor("w", kind, [1], [b"default"] if element == "STRING" else [3.0])
        nodes = [node("Identity", "w", "y"), node("Identity", "x", "z")]
        infos = [tensor("x", INT64, [1]), tensor("w", kind, [1])]
        made = model(nodes, infos, [tensor("y", kind, [1]), tensor("z", INT64, [1])], [default])
        backend = ONNXBackend()
        backend.load(save(tmp_path, made)).unwrap()
        one = np.ones(1, np.int64)
        if element == "STRING":
            assert answer(backend, x=one) == ["default"]
            assert answer(backend, x=one, w=np.array([b"given"], object)) == ["given"]
        else:
            assert answer(backend, x=one) == 3
            assert answer(backend, x=one, w=np.full(1, 7, DataType.BF16.numpy)) == 7

    def test_in_processes_of_its_own(self, path):
        manifest = {
            "backends": {"onnx": {"isolation": "process"}},
            "models": {"m": {"path": str(path), "backend": "onnx", "warmup": 1}},
        }
        with deploy(manifest).unwrap() as context:
            for inputs, gain in (({"x": X}, 2), ({"x": X, "gain": np.array(4, np.float32)}, 4)):
                found = context.execute(ExecutionRequest(inputs=inputs)).unwrap().outputs["y"]
                np.testing.assert_array_equal(found, gain * X + [0, 0, 1])

    @pytest.mark.parametrize(
        ("declared", "problem"),
        [
            ({"x": {"dtype": "FP32"}}, None),
            ({"x": {"dtype": "FP32"}, "gain": {"dtype": "FP32", "optional": True}}, None),
            ({"x": {"dtype": "FP32"}, "gain": {"dtype": "FP32"}}, None),
            ({"x": {"dtype": "FP32"}, "of_others": {"dtype": "FP32", "optional": True}}, None),
            ({"x": {"dtype": "FP32", "optional": True}}, "`x` is declared optional, the model has no default value"),
            ({"x": {"dtype": "FP32"}, "gain": {"dtype": "FP64", "optional": True}}, "`gain` is declared FP64"),
        ],
    )
    def test_a_declared_signature(self, declared, problem, path):
        model = {"path": str(path), "backend": "onnx", "signature": {"inputs": declared}}
        result = deploy({"models": {"m": model}})
        if problem is None:
            result.unwrap().close()
        else:
            assert problem in result.unwrap_err().message

    def test_a_batch_joins_requests_that_give_the_same_ones(self, path):
        model = {"path": str(path), "backend": "onnx", "batching": {"max_batch_size": 8, "max_queue_delay_us": 20_000}}
        with deploy({"models": {"m": model}}).unwrap() as context:
            futures = [context.submit(ExecutionRequest(inputs={"x": X + i})) for i in range(4)]
            for index, future in enumerate(futures):
                np.testing.assert_array_equal(future.result().unwrap().outputs["y"], 2 * (X + index) + [0, 0, 1])


def test_the_mock_takes_them_too(path):
    backend = MockBackend()
    backend.load(path).unwrap()
    assert backend.signature == read_onnx(path).signature
    default, given = answer(backend, x=X), answer(backend, x=X, gain=np.array(5, np.float32))
    assert not np.array_equal(default, given)


@pytest.mark.engine("tvm")
def test_tvm_compiles_the_default_in(path, tmp_path):
    with deploy({"models": {"m": {"path": str(path), "backend": "tvm"}}}).unwrap() as context:
        assert context.signature("m").inputs == read_onnx(path).signature.required
        found = context.execute(ExecutionRequest(inputs={"x": X})).unwrap().outputs["y"]
        np.testing.assert_allclose(found, 2 * X + [0, 0, 1])
        refused = context.execute(ExecutionRequest(inputs={"x": X, "gain": np.array(5, np.float32)})).unwrap_err()
        assert refused.code is ErrorCode.UNIMPLEMENTED


@pytest.mark.engine("onnx")
def test_init_declares_them_and_makes_up_the_others(path, tmp_path, capsys):
    manifest = tmp_path / "deploy.yaml"
    assert main(["init", str(path), "--out", str(manifest)]) == 0
    assert "        gain: {dtype: FP32, shape: [], optional: true}\n" in manifest.read_text()
    (sample,) = tmp_path.glob("*.npz")
    with np.load(sample) as made:
        assert list(made) == ["x"]
    assert main(["run", str(manifest)]) == 0
