"""TVM on a real GPU: `pytest -m gpu tests/gpu/test_tvm_cuda.py`; needs apache-tvm, pycuda, onnx, g++, nvcc."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

pytest.importorskip("pycuda.driver", reason="needs pycuda and a driver", exc_type=ImportError)
pytest.importorskip("tvm", reason="apache-tvm is not installed")

from aegisrt import ExecutionRequest, TVMBackend, deploy
from aegisrt.core.resources import configs_dir
from aegisrt.core.result import ErrorCode
from aegisrt.core.sidecar import read_sidecar
from aegisrt.devices.cuda.arrays import LEGACY_STREAM, DeviceArray
from aegisrt.devices.cuda.context import cuda_context
from aegisrt.devices.cuda.memory import DeviceBuffer
from aegisrt.devices.options import StreamOptions

pytestmark = [pytest.mark.gpu, pytest.mark.engine("tvm")]
MODELS = configs_dir() / "model"
SHAPES = {"image": [[1, 1, 8, 8], [16, 1, 8, 8]]}


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    target = tmp_path_factory.mktemp("digits") / "digits.so"
    TVMBackend({"shapes": SHAPES}, device="cuda:0").build(MODELS / "digits.onnx", target).unwrap()
    return target


@pytest.fixture(scope="module")
def right():
    """Return what answers on the CPU what the GPU must answer."""
    ort = pytest.importorskip("onnxruntime")
    session = ort.InferenceSession(str(MODELS / "digits.onnx"), providers=["CPUExecutionProvider"])
    return lambda value: session.run(None, {"image": value})[0]


def images(count, seed=0):
    return np.random.default_rng(seed).integers(0, 17, (count, 1, 8, 8)).astype(np.float32)


def load(path, options=None, **settings):
    backend = TVMBackend(options, device="cuda:0", **settings)
    backend.load(path).unwrap()
    return backend


def run(backend, value):
    return backend.execute(ExecutionRequest(inputs={"image": value})).unwrap().outputs["probabilities"]


def check(backend, value, right):
    np.testing.assert_allclose(run(backend, value), right(value), rtol=1e-3, atol=1e-4)


def free_bytes():
    return cuda_context(0).memory()[0]


def test_the_target_is_this_gpu_s_and_the_code_is_machine_code(digits):
    target = read_sidecar(digits).recipe["target"]
    major, minor = cuda_context(0).driver.compute_capability(0)
    assert target["arch"] == f"sm_{major}{minor}"
    assert target["max_threads_per_block"] == 1024
    assert b"__global__" not in digits.read_bytes()


@pytest.mark.parametrize("stream", [None, StreamOptions(device="gpu0", priority="high")], ids=["own", "declared"])
def test_fixed_and_dynamic_shapes(digits, right, stream):
    backend = load(digits, stream=stream)
    for count in (1, 16, 3, 1, 16, 64, 200, 2):
        check(backend, images(count, count), right)
    backend.unload().unwrap()


def test_no_rows_give_no_rows_and_the_next_call_is_right(digits, right):
    backend = load(digits)
    assert run(backend, images(0)).shape == (0, 10)
    check(backend, images(3), right)
    backend.unload().unwrap()


def test_real_digits_are_recognised(digits):
    backend = load(digits)
    pictures, labels = np.load(MODELS / "digits.images.npy"), np.load(MODELS / "digits.labels.npy")
    assert (run(backend, pictures).argmax(1) == labels).mean() > 0.9
    backend.unload().unwrap()


@pytest.mark.parametrize("shared", [False, True])
def test_four_instances_in_eight_threads(digits, right, shared):
    backend = load(digits, instances=4, stream=StreamOptions(device="gpu0", shared=shared))
    wrong = []

    def work(seed):
        value = images((1, 16, 3, 40)[seed % 4], seed)
        want = right(value)
        wrong.extend(seed for _ in range(200) if not np.allclose(run(backend, value), want, rtol=1e-3, atol=1e-4))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    backend.unload().unwrap()
    assert wrong == []


@pytest.mark.parametrize("offset", [0, 4])
def test_an_array_on_the_gpu_goes_in(digits, right, offset):
    backend = load(digits)
    for seed in range(3):
        value = images(16, seed)
        memory = DeviceBuffer(cuda_context(0), value.nbytes + offset)
        with cuda_context(0) as context:
            context.pycuda.memcpy_htod(memory.pointer + offset, value)
        array = DeviceArray(memory.pointer + offset, value.shape, value.dtype, owner=memory, stream=LEGACY_STREAM)
        np.testing.assert_allclose(run(backend, array), right(value), rtol=1e-3, atol=1e-4)
    check(backend, images(16, 9), right)
    backend.unload().unwrap()


def test_torch_tensors_go_in_and_results_go_to_torch(digits, right):
    torch = pytest.importorskip("torch", reason="torch makes the input")
    backend = load(digits, {"outputs": "device"})
    for seed in range(3):
        value = images(4, seed)
        found = run(backend, torch.from_numpy(value).cuda())
        got = torch.as_tensor(found, device="cuda").cpu().numpy()
        np.testing.assert_allclose(got, right(value), rtol=1e-3, atol=1e-4)
    backend.unload().unwrap()


def test_results_on_the_gpu_outlive_the_model(digits, right):
    backend = load(digits, {"outputs": "device"})
    found = run(backend, images(16))
    run(backend, images(16, 1))
    backend.unload().unwrap()
    np.testing.assert_allclose(found.numpy(), right(images(16)), rtol=1e-3, atol=1e-4)


def test_one_that_is_unloaded_takes_nothing_from_another_of_the_same_file(digits, right):
    first = load(digits)
    check(first, images(3), right)
    second = load(digits)
    check(second, images(3), right)
    first.unload().unwrap()
    check(second, images(5), right)
    second.load(digits).unwrap()
    check(second, images(5), right)
    second.unload().unwrap()


def test_device_memory_is_flat_over_200_cycles(digits):
    def cycle():
        backend = load(digits)
        for count in (1, 16, 5):
            run(backend, images(count))
        backend.unload().unwrap()

    for _ in range(5):
        cycle()
    before = free_bytes()
    for _ in range(200):
        cycle()
    lost = before - free_bytes()
    assert lost < 32 * 2**20, f"{lost / 2**20:.0f} MiB are gone"


def test_unload_gives_back_what_a_large_call_took(digits):
    backend = load(digits)
    run(backend, images(8))
    before = free_bytes()
    run(backend, images(200_000))
    assert before - free_bytes() > 2**20
    backend.unload().unwrap()
    assert before - free_bytes() < 32 * 2**20


def test_out_of_memory_is_resource_exhausted_and_the_next_call_is_right(digits, right):
    import pycuda.driver as driver

    torch = pytest.importorskip("torch", reason="torch asks libcudart for its last error")
    torch.zeros(1, device="cuda")
    backend = load(digits)
    check(backend, images(3), right)
    with cuda_context(0):
        held = driver.mem_alloc(free_bytes() - 700 * 2**20)
    try:
        answer = backend.execute(ExecutionRequest(inputs={"image": images(1_000_000)}))
        assert answer.unwrap_err().code is ErrorCode.RESOURCE_EXHAUSTED, answer
    finally:
        with cuda_context(0):
            held.free()
    assert torch.zeros(1, device="cuda").add_(1).item() == 1, "torch heard of the error that libcudart kept"
    check(backend, images(3), right)
    backend.unload().unwrap()


def test_a_manifest_builds_caches_and_serves(tmp_path, monkeypatch):
    monkeypatch.setenv("AEGISRT_CACHE_DIR", str(tmp_path))
    manifest = {
        "devices": {"gpu0": {"kind": "cuda"}},
        "streams": {"fast": {"device": "gpu0", "priority": "high"}},
        "backends": {"tvm": {"kind": "tvm", "device": "gpu0", "stream": "fast"}},
        "models": {"digits": {"path": str(MODELS / "digits.onnx"), "backend": "tvm", "instances": 2}},
    }
    pictures, labels = np.load(MODELS / "digits.images.npy"), np.load(MODELS / "digits.labels.npy")
    for _ in range(2):
        context = deploy(manifest).unwrap()
        found = context.execute(ExecutionRequest(inputs={"image": pictures})).unwrap()
        assert (found.outputs["probabilities"].argmax(1) == labels).mean() > 0.9
        assert found.device == "gpu0"
        context.close().unwrap()
