"""TVM on a GPU: the slot, on code for the CPU and a fake GPU whose memory is host memory; and the build's target."""

import os
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from aegisrt import ExecutionRequest, TVMBackend
from aegisrt.backends.tvm import backend as tvm_backend
from aegisrt.backends.tvm.run import cuda_slot as tvm_cuda
from aegisrt.backends.tvm.target import check_runs_here, cpu_target, target_of
from aegisrt.core.result import ErrorCode, ResultError
from aegisrt.core.sidecar import file_sha256
from aegisrt.core.tensor import DataType
from aegisrt.devices.base import Device
from aegisrt.devices.cuda.arrays import DeviceArray, JoinedArray
from aegisrt.devices.cuda.context import cuda_context
from aegisrt.devices.cuda.memory import DeviceBuffer
from aegisrt.devices.options import StreamOptions
from tests.backends import onnx_models as made
from tests.backends.onnx_models import ELEMENT, INT64, node, tensor
from tests.fakes.cuda import context_handle, fake_cuda

__all__ = ["fake_cuda"]
pytestmark = pytest.mark.engine("tvm")
MODELS = Path(__file__).resolve().parents[3] / "configs" / "model"
BOOL, FP16 = ELEMENT[DataType.BOOL], ELEMENT[DataType.FP16]
GPU = Device.parse("cuda:0")


@pytest.fixture(scope="module")
def digits(tmp_path_factory) -> Path:
    source = tmp_path_factory.mktemp("digits") / "digits.onnx"
    shutil.copy(MODELS / "digits.onnx", source)
    TVMBackend().build(source, source.with_suffix(".so")).unwrap()
    return source.with_suffix(".so")


@pytest.fixture
def on_fake_gpu(fake_cuda, monkeypatch):
    """Let TVM run on the CPU what the backend thinks is on the GPU."""
    import tvm

    monkeypatch.setattr(tvm_cuda, "tvm_device", lambda ordinal: tvm.cpu(ordinal))
    monkeypatch.setattr(tvm_backend, "check_cuda", lambda device: cuda_context(device.ordinal))
    monkeypatch.setattr(tvm_backend, "check_runs_here", lambda target, device, what: None)
    monkeypatch.setattr(tvm_backend, "target_of", lambda declared, device, threads: cpu_target(declared, threads))
    monkeypatch.setattr(fake_cuda, "holds", lambda address, size=1: True)
    return fake_cuda


def images(count, seed=0):
    return np.random.default_rng(seed).integers(0, 17, (count, 1, 8, 8)).astype(np.float32)


def load(path, **settings) -> TVMBackend:
    backend = TVMBackend(settings.pop("options", None), device="cuda:0", **settings)
    backend.load(path).unwrap()
    return backend


def call(backend, value):
    return backend.execute(ExecutionRequest(inputs={"image": value})).unwrap().outputs["probabilities"]


def want(digits, value):
    backend = TVMBackend()
    backend.load(digits).unwrap()
    return call(backend, value)


def on_gpu(value, offset=0):
    """Return the array in the fake GPU's memory, `offset` bytes from where an allocation begins."""
    memory = DeviceBuffer(cuda_context(0), value.nbytes + offset)
    view = np.ctypeslib.as_array((np.ctypeslib.ctypes.c_uint8 * value.nbytes).from_address(memory.pointer + offset))
    view[:] = value.view(np.uint8).reshape(-1)
    return DeviceArray(memory.pointer + offset, value.shape, value.dtype, owner=memory)


def test_calls_of_changing_shapes_answer_what_the_cpu_answers_and_all_memory_comes_back(digits, on_fake_gpu):
    backend = load(digits, instances=2)
    for step, count in enumerate((1, 1, 64, 3, 1, 64, 2)):
        value = images(count, step)
        np.testing.assert_allclose(call(backend, value), want(digits, value), rtol=1e-6)
    backend.unload().unwrap()
    assert on_fake_gpu.allocations == {}
    assert on_fake_gpu.streams == {}
    assert on_fake_gpu.stack == [context_handle(0)]


def test_results_are_the_callers_own(digits, on_fake_gpu):
    backend = load(digits)
    first = call(backend, images(2))
    kept = first.copy()
    for seed in range(1, 4):
        call(backend, images(2, seed))
    np.testing.assert_array_equal(first, kept)
    backend.unload().unwrap()
    np.testing.assert_array_equal(first, kept)


@pytest.mark.parametrize("offset", [0, 4])
def test_an_array_on_the_gpu_goes_in_as_it_is_or_is_moved_where_it_is_not_aligned(digits, on_fake_gpu, offset):
    backend = load(digits)
    value = images(3)
    for _ in range(2):
        on_fake_gpu.calls.clear()
        np.testing.assert_allclose(call(backend, on_gpu(value, offset)), want(digits, value), rtol=1e-6)
        assert "cuMemcpyHtoDAsync_v2" not in on_fake_gpu.calls
        assert ("cuMemcpyDtoDAsync_v2" in on_fake_gpu.calls) == bool(offset)
    backend.unload().unwrap()


def test_results_stay_on_the_gpu_and_outlive_the_model(digits, on_fake_gpu):
    backend = load(digits, options={"outputs": "device"})
    found = call(backend, images(2))
    assert isinstance(found, DeviceArray)
    call(backend, images(2, 1))
    backend.unload().unwrap()
    np.testing.assert_allclose(found.numpy(), want(digits, images(2)), rtol=1e-6)


def test_a_call_on_the_gpu_copies_nothing_to_the_host_and_allocates_nothing(digits, on_fake_gpu):
    backend = load(digits, options={"outputs": "device"})
    seen, values = [], [on_gpu(images(2, seed)) for seed in range(5)]
    for step, value in enumerate(values):
        if step == 2:
            on_fake_gpu.calls.clear()
            on_fake_gpu.watch = lambda name, work: seen.append(name) or work()
        np.testing.assert_allclose(call(backend, value).numpy(), want(digits, images(2, step)), rtol=1e-6)
    assert not {"mem_alloc", "pagelocked_empty", "DeviceAllocation.free", "cuEventCreate"} & set(seen)
    assert not {"cuMemcpyHtoDAsync_v2", "cuMemcpyDtoHAsync_v2"} & set(on_fake_gpu.calls)
    backend.unload().unwrap()


def test_arrays_on_the_gpu_that_are_joined(digits, on_fake_gpu):
    backend = load(digits)
    for seed in range(3):
        parts = [images(count, seed + count) for count in (1, 3)]
        found = call(backend, JoinedArray(tuple(on_gpu(part) for part in parts)))
        np.testing.assert_allclose(found, want(digits, np.concatenate(parts)), rtol=1e-6)
    backend.unload().unwrap()


def test_kernels_of_two_instances_follow_each_other_on_the_gpu_and_the_host_waits_for_neither(digits, on_fake_gpu):
    backend = load(digits, instances=2)
    one, two = backend._loaded.slots
    for slot, waits in ((one, False), (one, False), (two, True), (two, False), (one, True)):
        on_fake_gpu.calls.clear()
        slot.call({"image": images(2)}, ("probabilities",))
        assert ("cuStreamWaitEvent" in on_fake_gpu.calls) is waits
    backend.unload().unwrap()
    assert tvm_cuda._latest == {}


def code_of(library) -> list[str]:
    """Return the mappings of executable code that came of a library, under its own name or a copy's."""
    names = (str(library), f"{file_sha256(library)}.so")
    lines = Path("/proc/self/maps").read_text().splitlines()
    return [line for line in lines if "r-xp" in line and any(name in line for name in names)]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/maps")
def test_two_of_one_file_do_not_share_the_variables_that_point_to_kernels(digits, on_fake_gpu):
    first, second = load(digits), load(digits)
    assert len(code_of(digits)) == 2
    first.unload().unwrap()
    assert len(code_of(digits)) == 1
    np.testing.assert_allclose(call(second, images(2)), want(digits, images(2)), rtol=1e-6)
    second.unload().unwrap()


def test_no_rows_give_no_rows_without_a_kernel(digits, on_fake_gpu):
    backend = load(digits)
    on_fake_gpu.calls.clear()
    assert call(backend, images(0)).shape == (0, 10)
    assert on_fake_gpu.calls == []
    assert call(backend, images(2)).shape == (2, 10)
    backend.unload().unwrap()


def test_dtypes_and_several_outputs(on_fake_gpu, tmp_path):
    backend = TVMBackend(device="cuda:0")
    source = made.save(
        tmp_path,
        made.model(
            [node("Not", "b", "not_b"), node("Neg", "i", "neg_i"), node("Identity", "h", "same_h")],
            [tensor("b", BOOL), tensor("i", INT64), tensor("h", FP16)],
            [tensor("not_b", BOOL), tensor("neg_i", INT64), tensor("same_h", FP16)],
        ),
    )
    backend.build(source, tmp_path / "m.so").unwrap()
    backend.load(tmp_path / "m.so").unwrap()
    inputs = {"b": np.array([True, False]), "i": np.array([1, -2]), "h": np.array([0.5, -2], np.float16)}
    for wanted in (None, ("same_h", "not_b")):
        outputs = backend.execute(ExecutionRequest(inputs=inputs, outputs=wanted)).unwrap().outputs
        assert list(outputs) == list(wanted or ("not_b", "neg_i", "same_h"))
        np.testing.assert_array_equal(outputs["not_b"], [False, True])
        np.testing.assert_array_equal(outputs["same_h"], inputs["h"])
        assert outputs["same_h"].dtype == np.float16
    backend.unload().unwrap()


@pytest.mark.parametrize("shared", [False, True])
def test_instances_in_threads(digits, on_fake_gpu, shared):
    backend = load(digits, instances=3, stream=StreamOptions(device="gpu0", shared=shared))
    assert len(on_fake_gpu.streams) == (1 if shared else 3)
    wrong = []

    def work(seed):
        value = images(1 + seed, seed)
        right = want(digits, value)
        wrong.extend(seed for _ in range(20) if not np.allclose(call(backend, value), right, rtol=1e-6))

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(work, range(6)))
    backend.unload().unwrap()
    assert wrong == []


def test_a_fault_on_the_gpu_is_told_once_and_nothing_is_freed_there(digits, on_fake_gpu):
    backend = load(digits)
    call(backend, images(1))
    on_fake_gpu.fail["cuStreamSynchronize"] = 700
    first = backend.execute(ExecutionRequest(inputs={"image": images(1)})).unwrap_err()
    assert first.code is ErrorCode.UNAVAILABLE
    assert "illegal" in str(first)
    again = backend.execute(ExecutionRequest(inputs={"image": images(1)})).unwrap_err()
    assert "cannot be used after an earlier error" in again.message
    backend.unload()
    assert on_fake_gpu.allocations


@pytest.mark.parametrize("lost", [False, True])
def test_an_interrupt_waits_for_the_kernels_and_stays_an_interrupt(lost, digits, on_fake_gpu, monkeypatch):
    def interrupted(*_):
        on_fake_gpu.calls.clear()
        if lost:
            on_fake_gpu.fail["cuStreamSynchronize"] = 700
        raise KeyboardInterrupt

    backend = load(digits)
    monkeypatch.setattr(tvm_cuda.TVMCudaSlot, "_output", interrupted)
    with pytest.raises(KeyboardInterrupt):
        backend.execute(ExecutionRequest(inputs={"image": images(1)}))
    assert on_fake_gpu.calls == ["cuStreamSynchronize"]
    backend.unload()


def test_a_device_that_another_library_lost_is_found_out_before_anything_is_freed_there(digits, on_fake_gpu):
    backend = load(digits)
    call(backend, images(1))
    kept = len(tvm_cuda._lost)
    on_fake_gpu.fail["cuStreamSynchronize"] = 700
    backend.unload()
    assert len(tvm_cuda._lost) == kept + 2  # the VM, and the code


def test_where_another_gpu_is_lost_tvm_s_pools_are_left_alone(digits, on_fake_gpu, monkeypatch):
    import tvm_ffi

    backend = load(digits)
    on_fake_gpu.count = 2
    with pytest.raises(ResultError):
        cuda_context(1).check("cuX", 700)
    monkeypatch.setattr(tvm_ffi, "get_global_func", lambda *_: pytest.fail("it frees on each GPU"))
    backend.unload().unwrap()


def test_an_error_of_cuda_s_runtime_is_not_left_to_the_next_library(digits, on_fake_gpu, monkeypatch):
    asked = []
    monkeypatch.setattr(tvm_cuda, "_runtime", lambda: SimpleNamespace(cudaGetLastError=lambda: asked.append(1)))
    backend = load(digits)
    call(backend, images(1))
    assert asked == []
    on_fake_gpu.fail["cuMemcpyHtoDAsync_v2"] = 2
    error = backend.execute(ExecutionRequest(inputs={"image": images(1)})).unwrap_err()
    assert error.code is ErrorCode.RESOURCE_EXHAUSTED
    assert asked == [1]
    backend.unload().unwrap()


# -- the target ------------------------------------------------------------------------------------------------------


def test_the_target_of_a_gpu_has_its_compute_capability_and_not_its_name(fake_cuda):
    target = target_of(None, GPU, None)
    assert target["kind"] == "cuda"
    assert target["arch"] == "sm_90"
    assert target["host"]["kind"] == "llvm"
    assert "Fake" not in str(target)
    assert TVMBackend(device="cuda:0").recipe().unwrap()["target"] == target


def test_a_target_of_the_other_kind_is_refused(fake_cuda):
    with pytest.raises(ResultError) as refused:
        target_of({"kind": "cuda", "arch": "sm_90"}, Device.parse("cpu"), None)
    assert refused.value.error.code is ErrorCode.INVALID_ARGUMENT
    with pytest.raises(ResultError):
        target_of({"kind": "llvm"}, GPU, None)
    assert target_of({"kind": "cuda", "arch": "sm_80"}, GPU, None)["arch"] == "sm_80"


@pytest.mark.parametrize(("arch", "runs"), [("sm_90", True), ("sm_80", False), ("sm_91", False), ("sm_90a", True)])
def test_code_for_another_compute_capability_is_refused(fake_cuda, arch, runs):
    target = {"kind": "cuda", "arch": arch}
    if runs:
        check_runs_here(target, GPU, "model.so")
        return
    with pytest.raises(ResultError) as refused:
        check_runs_here(target, GPU, "model.so")
    assert refused.value.error.code is ErrorCode.FAILED_PRECONDITION
    assert "9.0" in refused.value.error.message


def test_code_for_the_other_kind_of_device_is_refused(digits, fake_cuda, monkeypatch):
    monkeypatch.setattr(tvm_backend, "check_cuda", lambda device: None)
    error = TVMBackend(device="cuda:0").load(digits).unwrap_err()
    assert error.code is ErrorCode.FAILED_PRECONDITION
    assert "compiled for a CPU" in error.message


def test_tuning_is_for_the_cpu(fake_cuda):
    error = TVMBackend({"tuning": {}, "shapes": {"image": [[1, 1, 8, 8]]}}, device="cuda:0").recipe().unwrap_err()
    assert error.code is ErrorCode.UNIMPLEMENTED


def test_without_a_gpu_every_call_says_why(tmp_path, monkeypatch):
    from aegisrt.devices.cuda import driver as cuda_driver

    def no_driver():
        raise ResultError(cuda_driver.driver_error("cuInit", 100, "no CUDA-capable device is detected").error)

    monkeypatch.setattr("aegisrt.devices.cuda.context.cuda_driver", no_driver)
    monkeypatch.setattr("aegisrt.backends.tvm.target.cuda_driver", no_driver)
    library = tmp_path / "m.so"
    library.write_bytes(b"\x7fELF" + bytes(100))
    backend = TVMBackend(device="cuda:0")
    for answer in (backend.load(library), backend.recipe(), backend.build(library, tmp_path / "n.so")):
        assert answer.unwrap_err().code is ErrorCode.UNAVAILABLE
        assert "no CUDA-capable device" in str(answer.unwrap_err())


def test_a_build_for_a_gpu_runs_the_passes_of_gpus(fake_cuda, monkeypatch, tmp_path):
    """Without its CUDA runtime TVM keeps the kernels as source; what nvcc would be given is in the library."""
    import tvm_ffi

    if tvm_ffi.get_global_func("runtime.GetCudaDeviceCount", allow_missing=True) is not None:
        pytest.skip("with a GPU tests/gpu builds for it")
    compiler = tmp_path / "bin" / "nvcc"
    compiler.parent.mkdir()
    compiler.write_text("#!/bin/sh\nexit 1\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("PATH", f"{compiler.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("TVM_CUDA_COMPILE_MODE", "nvcc")
    monkeypatch.setattr(tvm_backend, "check_cuda", lambda device: None)
    source = tmp_path / "digits.onnx"
    shutil.copy(MODELS / "digits.onnx", source)
    answer = TVMBackend(device="cuda:0").build(source, tmp_path / "digits.so")
    assert answer.is_ok(), answer
    assert b"__global__" in (tmp_path / "digits.so").read_bytes()
