"""TensorRT on a real GPU, whatever is installed of it: `pytest -m gpu tests/gpu/test_tensorrt.py`."""

import gc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

pytest.importorskip("pycuda.driver", reason="needs pycuda and a driver", exc_type=ImportError)

from aegisrt import ExecutionRequest, TensorRTBackend
from aegisrt.backends.tensorrt.distribution import installed
from aegisrt.core.resources import configs_dir

BUILDER = next((name for name in ("tensorrt", "tensorrt_rtx") if name in installed()), None)
pytestmark = [pytest.mark.gpu, pytest.mark.skipif(BUILDER is None, reason="no TensorRT that builds is installed")]
MODELS = configs_dir() / "model"


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    target = tmp_path_factory.mktemp("engine") / "digits.engine"
    TensorRTBackend({"external_tactics": False}).build(MODELS / "digits.onnx", target).unwrap()
    return target


@pytest.fixture(scope="module")
def digits():
    return np.load(MODELS / "digits.images.npy"), np.load(MODELS / "digits.labels.npy")


def run(backend, value):
    return backend.execute(ExecutionRequest(inputs={"image": value})).unwrap().outputs["probabilities"]


@pytest.mark.parametrize("options", [{}, {"cuda_graph": True}], ids=["plain", "graph"])
def test_real_digits_are_recognised(options, engine, digits):
    backend = TensorRTBackend(options)
    backend.load(engine).unwrap()
    images, labels = digits
    for size in (1, 7, 32, 32, 32, 7, 7, 1, 1):
        found = np.concatenate([run(backend, images[i : i + size]) for i in range(0, 64 - size + 1, size)])
        assert (found.argmax(1) == labels[: len(found)]).mean() > 0.9
    result = backend.execute(ExecutionRequest(inputs={"image": images[:1]})).unwrap()
    if options:
        assert result.metadata["cuda_graph"] == "on", result.metadata
    backend.unload().unwrap()


def test_graphs_answer_what_plain_calls_answer(engine, digits):
    plain, graph = TensorRTBackend(), TensorRTBackend({"cuda_graph": True})
    plain.load(engine).unwrap()
    graph.load(engine).unwrap()
    for size in (4, 4, 4, 9, 9, 9, 4, 9, 4):
        value = digits[0][size : 2 * size]
        np.testing.assert_array_equal(run(graph, value), run(plain, value))
    plain.unload().unwrap()
    graph.unload().unwrap()


def test_instances_in_threads(engine, digits):
    backend = TensorRTBackend(instances=3)
    backend.load(engine).unwrap()
    want = {size: run(backend, digits[0][:size]) for size in (1, 5, 32)}
    wrong = []

    def work(size):
        for _ in range(50):
            if not np.array_equal(run(backend, digits[0][:size]), want[size]):
                wrong.append(size)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(work, (1, 5, 32) * 2))
    backend.unload().unwrap()
    assert wrong == []


def test_device_memory_is_flat_over_200_cycles(engine, digits):
    from aegisrt.devices.cuda.context import cuda_context

    def cycle():
        backend = TensorRTBackend({"cuda_graph": True})
        backend.load(engine).unwrap()
        for _ in range(3):
            run(backend, digits[0][:8])
        backend.unload().unwrap()

    for _ in range(10):
        cycle()
    gc.collect()
    before = cuda_context(0).memory()[0]
    for _ in range(200):
        cycle()
    lost = before - cuda_context(0).memory()[0]
    assert lost < 16 * 2**20, f"{lost / 2**20:.0f} MiB are gone"


@pytest.mark.parametrize("precision", ["fp32", "tf32", "fp16"])
def test_precisions(precision, digits, tmp_path):
    target = tmp_path / "digits.engine"
    backend = TensorRTBackend({"precision": precision, "external_tactics": False})
    backend.build(MODELS / "digits.onnx", target).unwrap()
    backend.load(target).unwrap()
    found = run(backend, digits[0][:32])
    assert (found.argmax(1) == digits[1][:32]).mean() > 0.9
    backend.unload().unwrap()
