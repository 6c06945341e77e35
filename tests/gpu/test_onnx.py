"""ONNX Runtime on a real GPU: `pytest -m gpu tests/gpu/test_onnx.py`; needs onnxruntime-gpu, pycuda and onnx."""

import ctypes
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import numpy as np
import pytest

pytest.importorskip("pycuda.driver", reason="needs pycuda and a driver", exc_type=ImportError)
ort = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

from aegisrt import ExecutionRequest, ONNXBackend  # noqa: E402
from aegisrt.core.resources import configs_dir  # noqa: E402
from aegisrt.core.result import ErrorCode  # noqa: E402
from aegisrt.devices.options import StreamOptions  # noqa: E402

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif("CUDAExecutionProvider" not in ort.get_available_providers(), reason="needs onnxruntime-gpu"),
]
DIGITS = configs_dir() / "model" / "digits.onnx"


@pytest.fixture(scope="module", autouse=True)
def libraries():
    """Let ONNX Runtime find the CUDA libraries of `nvidia-*` packages, as an application would."""
    if hasattr(ort, "preload_dlls"):
        ort.preload_dlls()


def images(count, seed=0):
    return np.random.default_rng(seed).integers(0, 17, (count, 1, 8, 8)).astype(np.float32)


def want(value):
    return ort.InferenceSession(str(DIGITS), providers=["CPUExecutionProvider"]).run(None, {"image": value})[0]


def run(backend, value):
    return backend.execute(ExecutionRequest(inputs={"image": value})).unwrap().outputs["probabilities"]


def check(backend, value):
    np.testing.assert_allclose(run(backend, value), want(value), rtol=2e-2, atol=2e-3)


@pytest.mark.parametrize("graph", [False, True])
@pytest.mark.parametrize("stream", [None, StreamOptions(device="gpu0", priority="high")])
def test_digits_on_the_gpu(graph, stream):
    backend = ONNXBackend({"cuda_graph": graph}, device="cuda:0", stream=stream)
    backend.load(DIGITS).unwrap()
    for count in (1, 1, 1, 64, 64, 64, 1, 3, 3, 64):
        check(backend, images(count, count))
    result = backend.execute(ExecutionRequest(inputs={"image": images(1)})).unwrap()
    assert result.metadata["providers"][0] == "CUDAExecutionProvider"
    assert "cpu_nodes" in result.metadata
    if graph:
        assert result.metadata["cuda_graph"] == "on", result.metadata
    backend.unload().unwrap()


def test_onnx_runtime_warns_of_nothing(capfd):
    backend = ONNXBackend(device="cuda:0")
    backend.load(DIGITS).unwrap()
    check(backend, images(2))
    backend.unload().unwrap()
    out, err = capfd.readouterr()
    assert out == ""
    assert "[W:onnxruntime" not in err, err


def test_four_instances_in_eight_threads():
    backend = ONNXBackend(device="cuda:0", instances=4)
    backend.load(DIGITS).unwrap()
    wrong = []

    def work(seed):
        value = images(1 + seed, seed)
        right = want(value)
        for _ in range(50):
            if not np.allclose(run(backend, value), right, rtol=2e-2, atol=2e-3):
                wrong.append(seed)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    backend.unload().unwrap()
    assert wrong == []


def test_one_shared_stream():
    backend = ONNXBackend(device="cuda:0", instances=2, stream=StreamOptions(device="gpu0", shared=True))
    backend.load(DIGITS).unwrap()
    check(backend, images(5))
    backend.unload().unwrap()


def test_results_on_the_device_go_to_torch():
    torch = pytest.importorskip("torch", reason="torch reads the result")
    backend = ONNXBackend({"outputs": "device"}, device="cuda:0")
    backend.load(DIGITS).unwrap()
    for _ in range(3):
        found = torch.as_tensor(run(backend, images(4)), device="cuda")
        np.testing.assert_allclose(found.cpu().numpy(), want(images(4)), rtol=2e-2, atol=2e-3)
    backend.unload().unwrap()


def test_torch_tensors_go_in_without_a_copy():
    torch = pytest.importorskip("torch", reason="torch makes the input")
    backend = ONNXBackend(device="cuda:0")
    backend.load(DIGITS).unwrap()
    for seed in range(3):
        value = images(4, seed)
        found = run(backend, torch.from_numpy(value).cuda())
        np.testing.assert_allclose(found, want(value), rtol=2e-2, atol=2e-3)
    check(backend, images(4, 9))
    backend.unload().unwrap()


def test_what_torch_still_writes_on_a_stream_of_its_own_is_waited_for():
    torch = pytest.importorskip("torch", reason="torch makes the input")
    backend, side = ONNXBackend(device="cuda:0"), torch.cuda.Stream()
    backend.load(DIGITS).unwrap()
    tensor = torch.zeros(4, 1, 8, 8, device="cuda")
    run(backend, tensor)
    for seed in range(5):
        value = images(4, seed)
        there = torch.from_numpy(value).cuda()
        torch.cuda.synchronize()
        with torch.cuda.stream(side):
            torch.cuda._sleep(100_000_000)
            tensor.copy_(there)
            found = run(backend, tensor)
        np.testing.assert_allclose(found, want(value), rtol=2e-2, atol=2e-3)
    backend.unload().unwrap()


@pytest.fixture
def allocating():
    """Let a thread of the application allocate all the while, with the driver: it answers how often that failed."""
    library, stop, failed = ctypes.CDLL("libcuda.so.1"), threading.Event(), []

    def work():
        context, memory = ctypes.c_void_p(), ctypes.c_uint64()
        library.cuInit(0)
        library.cuDevicePrimaryCtxRetain(ctypes.byref(context), 0)
        library.cuCtxSetCurrent(context)
        while not stop.is_set():
            if library.cuMemAlloc_v2(ctypes.byref(memory), 2**20):
                failed.append(1)
            else:
                library.cuMemFree_v2(memory)

    def failed_meanwhile():
        before = len(failed)
        time.sleep(0.1)
        return len(failed) - before

    thread = threading.Thread(target=work)
    thread.start()
    yield failed_meanwhile
    stop.set()
    thread.join()


def test_an_application_that_breaks_recordings_breaks_no_request(allocating):
    for _ in range(5):
        backend = ONNXBackend({"cuda_graph": True}, device="cuda:0")
        backend.load(DIGITS).unwrap()
        for count in (1, 2, 3) * 6:
            check(backend, images(count, count))
        note = backend.execute(ExecutionRequest(inputs={"image": images(1)})).unwrap().metadata["cuda_graph"]
        assert note == "on" or "broke the recording 3 times" in note
        assert allocating() == 0
        backend.unload().unwrap()


def test_a_recording_of_the_application_s_breaks_no_call_of_other_threads_and_none_breaks_it():
    torch = pytest.importorskip("torch", reason="torch makes the recording")
    x, stop, calls = torch.ones(1000, device="cuda"), threading.Event(), []
    ready = threading.Barrier(5, timeout=60)

    def serve(seed):
        backend = ONNXBackend(device="cuda:0")
        backend.load(DIGITS).unwrap()
        for count in (1, 2, 50 + seed) * 3:  # before: a load, and cuDNN's kernels for new shapes, break a recording
            check(backend, images(count, count))
        ready.wait()
        while not stop.is_set():
            for count in (1, 2, 50 + seed):
                check(backend, images(count, count))
                calls.append(1)
        backend.unload().unwrap()

    with ThreadPoolExecutor(4) as pool:
        served = [pool.submit(serve, seed) for seed in range(4)]
        try:
            ready.wait()
            for turn in range(20):
                recording, before = torch.cuda.CUDAGraph(), len(calls)
                with torch.cuda.graph(recording):
                    y = x * turn
                    while len(calls) == before and not any(future.done() for future in served):
                        time.sleep(0.01)
                recording.replay()
                assert y.sum().item() == 1000 * turn
        finally:
            stop.set()
        for future in served:
            future.result()


@pytest.mark.parametrize("graph", [False, True])
def test_threads_that_come_and_go_take_no_memory_with_them(graph):
    from aegisrt.devices.cuda.context import cuda_context

    backend = ONNXBackend({"cuda_graph": graph}, device="cuda:0")
    backend.load(DIGITS).unwrap()

    def call(seed):
        with ThreadPoolExecutor(1) as pool:
            for _ in range(3):
                pool.submit(check, backend, images(8, seed)).result()

    for seed in range(8):
        call(seed)
    before = cuda_context(0).memory()[0]
    for seed in range(50):
        call(seed)
    assert before - cuda_context(0).memory()[0] < 32 * 2**20
    backend.unload().unwrap()


@pytest.mark.parametrize("graph", [False, True])
def test_device_memory_is_flat_over_200_cycles(graph):
    from aegisrt.devices.cuda.context import cuda_context

    def cycle():
        backend = ONNXBackend({"cuda_graph": graph}, device="cuda:0")
        backend.load(DIGITS).unwrap()
        for _ in range(3):
            run(backend, images(8))
        backend.unload().unwrap()

    for _ in range(10):
        cycle()
    before = cuda_context(0).memory()[0]
    for _ in range(200):
        cycle()
    lost = before - cuda_context(0).memory()[0]
    assert lost < 32 * 2**20, f"{lost / 2**20:.0f} MiB are gone"


def test_a_memory_limit_that_is_too_small_is_resource_exhausted_and_another_backend_serves():
    backend = ONNXBackend({"memory_limit_bytes": 2**20}, device="cuda:0")
    loaded = backend.load(DIGITS)
    error = loaded.unwrap_err() if loaded.is_err() else None
    if error is None:
        answered = backend.execute(ExecutionRequest(inputs={"image": images(4096)}))
        error = answered.unwrap_err()
    assert error.code is ErrorCode.RESOURCE_EXHAUSTED, error
    other = ONNXBackend(device="cuda:0")
    other.load(DIGITS).unwrap()
    check(other, images(4))
    other.unload().unwrap()


@pytest.mark.parametrize("elsewhere", [False, True])
def test_what_a_recording_of_the_application_forbids_is_to_be_tried_again(elsewhere):
    torch = pytest.importorskip("torch", reason="torch makes the recording")
    warm = ONNXBackend(device="cuda:0")
    warm.load(DIGITS).unwrap()
    run(warm, images(2))

    def during_a_recording(work):
        """Return what work answers meanwhile; it may break the recording, which torch then raises."""
        tensor, answers = torch.zeros(4, device="cuda"), []
        with suppress(RuntimeError), torch.cuda.graph(torch.cuda.CUDAGraph()):
            tensor += 1
            with ThreadPoolExecutor(1) as pool:
                answers.append(pool.submit(work).result() if elsewhere else work())
        return answers[0]

    cold = ONNXBackend(device="cuda:0")
    answers = [during_a_recording(lambda: cold.load(DIGITS))]
    for count in (2, 500):
        request = ExecutionRequest(inputs={"image": images(count)})
        answers.append(during_a_recording(lambda: warm.execute(request)))  # noqa: B023
    refused = answers[:1] if elsewhere else answers
    for answer in refused:
        error = answer.unwrap_err()
        assert error.code is ErrorCode.UNAVAILABLE
        assert "records a CUDA graph" in error.message
    assert all(answer.is_ok() for answer in answers[len(refused) :])
    check(warm, images(500))
    cold.load(DIGITS).unwrap()
    check(cold, images(2))
