"""Rows of a batch on a real GPU: row-wise models batch in FP32, TF32 and FP16, and mixing ones are refused."""

import numpy as np
import pytest

pytest.importorskip("pycuda.driver", reason="needs pycuda and a driver", exc_type=ImportError)
ort = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

from aegisrt import ErrorCode, deploy  # noqa: E402
from tests.backends.onnx_models import FLOAT, model, node, save, tensor, weight  # noqa: E402
from tests.runtime.row_models import MIXING, ROW_WISE, inputs_of  # noqa: E402

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif("CUDAExecutionProvider" not in ort.get_available_providers(), reason="needs onnxruntime-gpu"),
]
GPU = ["+devices.gpu0={kind: cuda}", "backends.onnx.device=gpu0"]


@pytest.fixture(scope="module", autouse=True)
def libraries():
    """Let ONNX Runtime find the CUDA libraries of `nvidia-*` packages, as an application would."""
    if hasattr(ort, "preload_dlls"):
        ort.preload_dlls()


def deep(half: bool):
    """Return a network of 12 convolutions of 64 channels with residuals, computed in FP32 (TF32) or in FP16."""
    random = np.random.default_rng(5)
    dtype = np.float16 if half else np.float32
    first = random.normal(0, 0.3, (64, 3, 3, 3)).astype(dtype)
    nodes = [node("Cast", "x", "h", to=10)] if half else [node("Identity", "x", "h")]
    nodes.append(node("Conv", "h first", "a0", pads=[1, 1, 1, 1]))
    weights = [weight("first", first)]
    for layer in range(12):
        weights.append(weight(f"w{layer}", random.normal(0, 0.04, (64, 64, 3, 3)).astype(dtype)))
        nodes += [
            node("Relu", f"a{layer}", f"r{layer}"),
            node("Conv", f"r{layer} w{layer}", f"c{layer}", pads=[1, 1, 1, 1]),
            node("Add", f"a{layer} c{layer}", f"a{layer + 1}"),
        ]
    nodes += [node("GlobalAveragePool", "a12", "p"), node("Flatten", "p", "f"), node("Cast", "f", "y", to=1)]
    return model(nodes, [tensor("x", FLOAT, ("n", 3, 56, 56))], [tensor("y", FLOAT, ("n", 64))], weights)


def declared(folder, made, *, sampled):
    options = {"path": str(save(folder, made)), "backend": "onnx", "batching": {"max_batch_size": 8}}
    if sampled:
        np.savez(folder / "sample.npz", **inputs_of(made, 5, seed=1))
        options["sample"] = {"inputs": str(folder / "sample.npz")}
    return {"models": {"m": options}}


MODELS = {**ROW_WISE, "deep": lambda: deep(False), "deep-half": lambda: deep(True)}


@pytest.mark.parametrize("sampled", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_a_row_wise_model_batches(tmp_path, name, sampled):
    with deploy(declared(tmp_path, MODELS[name](), sampled=sampled), GPU).unwrap() as context:
        assert context.graph.models[0].batching == "on"


@pytest.mark.parametrize("name", ["deep", "deep-half"])
def test_a_row_wise_model_batches_with_a_cuda_graph(tmp_path, name):
    manifest = declared(tmp_path, MODELS[name](), sampled=True)
    with deploy(manifest, [*GPU, "backends.onnx.cuda_graph=true"]).unwrap() as context:
        assert context.graph.models[0].batching == "on"


@pytest.mark.parametrize("name", sorted(MIXING.keys() - {"batch-statistics"}))
def test_a_model_that_mixes_rows_is_refused(tmp_path, name):
    """Statistics of the batch are left out: ONNX Runtime's CUDA provider has no batch normalization that trains."""
    error = deploy(declared(tmp_path, MIXING[name](), sampled=True), GPU).unwrap_err()
    assert error.code is ErrorCode.FAILED_PRECONDITION, error


@pytest.mark.parametrize("outputs", ["host", "device"])
def test_requests_on_the_gpu_are_joined_there(tmp_path, outputs):
    from aegisrt import ExecutionRequest
    from aegisrt.devices.cuda.arrays import LEGACY_STREAM, DeviceArray
    from aegisrt.devices.cuda.context import cuda_context
    from aegisrt.devices.cuda.memory import DeviceBuffer

    def on_gpu(value):
        memory = DeviceBuffer(cuda_context(0), value.nbytes)
        with cuda_context(0) as context:
            context.pycuda.memcpy_htod(memory.pointer, value)
        return DeviceArray(memory.pointer, value.shape, value.dtype, owner=memory, stream=LEGACY_STREAM)

    path = save(
        tmp_path, model([node("Relu", "x", "y")], [tensor("x", FLOAT, ("n", 5))], [tensor("y", FLOAT, ("n", 5))])
    )
    batching = {"max_batch_size": 8, "max_queue_delay_us": 200_000}
    manifest = {"models": {"m": {"path": str(path), "backend": "onnx", "batching": batching}}}
    values = [np.random.default_rng(seed).normal(size=(1 + seed % 2, 5)).astype(np.float32) for seed in range(5)]
    with deploy(manifest, [*GPU, f"backends.onnx.outputs={outputs}"]).unwrap() as context:
        waiting = [context.submit(ExecutionRequest(inputs={"x": on_gpu(value)})) for value in values]
        results = [future.result(60).unwrap() for future in waiting]
    for value, result in zip(values, results, strict=True):
        found = result.outputs["y"]
        np.testing.assert_array_equal(found if isinstance(found, np.ndarray) else found.numpy(), np.maximum(value, 0))
    assert max(result.metadata.get("batch_size", 1) for result in results) > 1
