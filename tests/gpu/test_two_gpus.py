"""Two GPUs in one process: `pytest -m gpu tests/gpu/test_two_gpus.py`."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

pytest.importorskip("pycuda.driver", reason="needs pycuda and a driver", exc_type=ImportError)
torch = pytest.importorskip("torch", reason="torch makes arrays on either GPU")
ort = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

from aegisrt import CudaStream, ErrorCode, ExecutionRequest, ONNXBackend, TVMBackend, deploy  # noqa: E402
from aegisrt.core.resources import configs_dir  # noqa: E402
from aegisrt.devices.cuda.context import cuda_context  # noqa: E402
from aegisrt.devices.options import StreamOptions  # noqa: E402

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(torch.cuda.device_count() < 2, reason="there are not two GPUs"),
    pytest.mark.skipif("CUDAExecutionProvider" not in ort.get_available_providers(), reason="needs onnxruntime-gpu"),
]
DIGITS = configs_dir() / "model" / "digits.onnx"
ONNX = {"plain": {}, "graph": {"cuda_graph": True}, "device": {"outputs": "device"}}


@pytest.fixture(scope="module", params=[*ONNX, "tvm", "tvm-device"])
def open_on(request, tmp_path_factory):
    """Return what loads digits on a device, with the engine of this turn."""
    if not request.param.startswith("tvm"):
        return lambda device, **settings: loaded(ONNXBackend(ONNX[request.param], device=device, **settings), DIGITS)
    pytest.importorskip("tvm", reason="apache-tvm is not installed")
    library = tmp_path_factory.mktemp("digits") / "digits.so"
    options = {"shapes": {"image": [[1, 1, 8, 8]]}, "outputs": "device" if request.param == "tvm-device" else "host"}
    TVMBackend(options, device="cuda:1").build(DIGITS, library).unwrap()
    return lambda device, **settings: loaded(TVMBackend(options, device=device, **settings), library)


def loaded(backend, path):
    backend.load(path).unwrap()
    return backend


@pytest.fixture(scope="module")
def right():
    session = ort.InferenceSession(str(DIGITS), providers=["CPUExecutionProvider"])
    return lambda value: session.run(None, {"image": value})[0]


def images(count, seed=0):
    return np.random.default_rng(seed).integers(0, 17, (count, 1, 8, 8)).astype(np.float32)


def execute(backend, value):
    return backend.execute(ExecutionRequest(inputs={"image": value}))


def check(backend, count, right, seed=0):
    found = execute(backend, images(count, seed)).unwrap().outputs["probabilities"]
    if hasattr(found, "pointer"):
        assert torch.as_tensor(found, device=f"cuda:{backend.device.ordinal}").data_ptr() == found.pointer
        found = found.numpy()
    np.testing.assert_allclose(found, right(images(count, seed)), rtol=2e-2, atol=2e-3)


def test_one_thread_calls_models_on_both_by_turns(open_on, right):
    first, second = open_on("cuda:0"), open_on("cuda:1")
    for turn in range(30):
        check(first, 1 + turn % 3, right, turn)
        check(second, 1 + turn % 4, right, turn)
    first.unload().unwrap()
    check(second, 5, right)
    second.unload().unwrap()


@pytest.mark.parametrize("current", [0, 1])
def test_the_caller_s_own_device_stays_the_current_one(open_on, right, current):
    torch.cuda.set_device(current)
    torch.zeros(1, device="cuda")
    first, second = open_on("cuda:0"), open_on("cuda:1")
    for turn in range(10):
        check(first, 1, right, turn)
        assert torch.cuda.current_device() == current
        check(second, 1, right, turn)
        assert torch.cuda.current_device() == current
        assert torch.zeros(1, device="cuda").device.index == current
    first.unload().unwrap()
    second.unload().unwrap()
    assert torch.cuda.current_device() == current
    torch.cuda.set_device(0)


def test_many_threads_on_both(open_on, right):
    models = [open_on(f"cuda:{ordinal}", instances=3) for ordinal in (0, 1)]

    def work(seed):
        for turn in range(100):
            check(models[(seed + turn) % 2], 1 + (seed * 7 + turn) % 5, right, seed * 1000 + turn)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    for model in models:
        model.unload().unwrap()


def test_an_array_of_the_other_gpu_is_refused_and_the_device_serves_on(open_on, right):
    for ordinal in (0, 1):
        backend = open_on(f"cuda:{ordinal}")
        value = torch.from_numpy(images(1))
        error = execute(backend, value.to(f"cuda:{1 - ordinal}")).unwrap_err()
        assert error.code is ErrorCode.INVALID_ARGUMENT
        assert f"is on GPU {1 - ordinal}" in error.message
        execute(backend, value.to(f"cuda:{ordinal}")).unwrap()
        check(backend, 1, right)
        backend.unload().unwrap()


def test_the_memory_of_each_is_its_own(open_on, right):
    def free():
        return [cuda_context(ordinal).memory()[0] for ordinal in (0, 1)]

    warm = [open_on("cuda:0"), open_on("cuda:1")]
    for model in warm:
        check(model, 3, right)
        model.unload().unwrap()
    before = free()
    for _ in range(20):
        model = open_on("cuda:1")
        check(model, 3, right)
        model.unload().unwrap()
    after = free()
    assert abs(before[0] - after[0]) < 2**20
    assert before[1] - after[1] < 32 * 2**20


def test_a_stream_of_each(right):
    for ordinal in (1, 0):
        stream = StreamOptions(device="gpu", priority="high", shared=True)
        backend = loaded(ONNXBackend(device=f"cuda:{ordinal}", instances=2, stream=stream), DIGITS)
        check(backend, 2, right)
        backend.unload().unwrap()
    with CudaStream("cuda:1") as second, CudaStream("cuda:0") as first:
        event = second.record_event()
        first.wait_for(event)
        first.synchronize()
        assert event.is_done()


def test_a_manifest_names_both(tmp_path, right):
    manifest = {
        "devices": {"gpu0": {"kind": "cuda"}, "gpu1": {"kind": "cuda", "ordinal": 1}},
        "backends": {f"onnx{n}": {"kind": "onnx", "device": f"gpu{n}"} for n in (0, 1)},
        "models": {f"digits{n}": {"path": str(DIGITS), "backend": f"onnx{n}", "instances": 2} for n in (0, 1)},
    }
    with deploy(manifest).unwrap() as context:
        for turn in range(20):
            for ordinal in (0, 1):
                request = ExecutionRequest(inputs={"image": images(2, turn)}, model=f"digits{ordinal}")
                found = context.execute(request).unwrap()
                assert found.device == f"gpu{ordinal}"
                np.testing.assert_allclose(found.outputs["probabilities"], right(images(2, turn)), rtol=2e-2, atol=2e-3)


def test_a_gpu_that_is_not_there_is_told():
    error = ONNXBackend(device="cuda:9").load(DIGITS).unwrap_err()
    assert error.code is ErrorCode.NOT_FOUND
    assert f"there is no CUDA device 9: {torch.cuda.device_count()} are visible" in error.message
