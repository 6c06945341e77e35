"""What is left after the n-th call of the driver or of TensorRT failed or was interrupted, for each n in turn.

Each time the request is made again, which must be answered rightly, and at the end nothing may be left.
"""

import gc
import sys

import numpy as np
import pytest

from aegisrt import ExecutionRequest, TensorRTBackend
from aegisrt.backends.tensorrt import distribution as tensorrt_library
from aegisrt.core.result import ErrorCode
from aegisrt.devices.cuda import context as cuda
from aegisrt.devices.cuda import driver as cuda_driver
from aegisrt.devices.cuda import memory as cuda_memory
from aegisrt.devices.options import StreamOptions
from tests.backends.tensorrt.test_run import on_device, write
from tests.fakes.cuda import FakeCuda, pycuda_modules
from tests.fakes.tensorrt import RUNTIMES, FakeTensorRT

WIDE = {"inputs": {"x": ("FLOAT", [-1, 300])}, "outputs": {"y": ("FLOAT", [-1, 300])}}
SPANS = [{"x": ([1, 300], [4, 300], [8, 300])}, {"x": ([9, 300], [12, 300], [32, 300])}]
LATE = {"inputs": {"x": ("FLOAT", [-1, 300])}, "outputs": {"y": ("INT32", [2, -1])}, "operation": "nonzero"}
CASES = {
    "plain": ("8", {}, WIDE, [1, 1, 5, "lent", 1, 12]),
    "recorded": ("8", {"cuda_graph": True, "cuda_graph_limit": 2}, WIDE, [1, 1, 1, 5, 5, "lent", 5, 1, 1, 2, 12]),
    "recorded by 10": ("10", {"cuda_graph": True, "cuda_graph_limit": 2}, WIDE, [1, 1, 5, 5, 5, 12, 12, 2, 5]),
    "on the device": ("10", {"outputs": "device"}, WIDE, [1, 5, "lent", 12, 1]),
    "late": ("10", {}, LATE, [1, 5, 1, 12]),
    "late on the device, by 8": ("8", {"outputs": "device"}, LATE, [1, 5]),
    "on a shared stream": ("10", {"cuda_graph": True}, WIDE, [1, 1, 1, 5]),
}
"""Version, options, engine, and how many rows the calls have."""
KEPT_BY_THE_PROCESS = (
    "cuCtx",
    "cuThread",
    "cuInit",
    "cuDevice",
    "cuPointer",
    "deserialize",
    "get_tensor",
    "init_lib",
    "__init__",
    "logger",
)
MADE = ("Create", "EndCapture", "Instantiate", "mem_alloc", "pagelocked", "create_")
RELEASES = ("Destroy", ".free", "EndCapture")
ON_THE_GPU = ("cu", "mem_alloc", "pagelocked", "execute", "create", "deserialize", "set_optimization")
OUT_OF_MEMORY = "Error Code 2: OutOfMemory (Requested size was 99 bytes.)"


class Machine:
    """A fake GPU with a fake TensorRT, one of whose calls fails."""

    def __init__(self, trt, patch):
        self.cuda = FakeCuda()
        patch.setattr(cuda_driver, "_load", lambda: self.cuda)
        for name, module in pycuda_modules(self.cuda).items():
            patch.setitem(sys.modules, name, module)
        patch.setattr(cuda, "_contexts", {})
        patch.setattr(cuda, "_thread", cuda._Thread())
        patch.setattr(cuda_memory, "_pools", {})
        cuda_driver.cuda_driver.cache_clear()
        self.trt = trt
        trt.cuda, trt.calls, trt.destroyed, trt.destroyed_in_use = self.cuda, [], [], []
        patch.setitem(sys.modules, self.trt.family, self.trt.module)
        patch.setattr(tensorrt_library, "installed", lambda: {self.trt.family: None})
        patch.setattr(tensorrt_library, "_module_name", lambda name: name if name == self.trt.family else None)
        patch.setattr(tensorrt_library, "_loaded", {})
        self.cuda.watch = self.watch
        self.fault, self.left, self.failed = None, -1, None
        self.lost = False
        self.errors = sys.modules["pycuda.driver"]

    def watch(self, name, work):
        if self.lost:
            return self.fail(name, 700) if name.startswith(ON_THE_GPU) or "." in name else work()
        if name.startswith(KEPT_BY_THE_PROCESS):
            return work()
        self.left -= 1
        if self.left:
            return work()
        self.failed = name
        if self.fault == "interrupt before" and not any(word in name for word in RELEASES):
            raise KeyboardInterrupt
        if self.fault.startswith("interrupt"):
            made = work()
            if any(word in name for word in MADE):
                return made  # nobody knows of it yet: Python itself has no better than this
            raise KeyboardInterrupt
        self.lost = self.fault == "lose"
        if self.lost:
            return self.watch(name, work)
        if any(word in name for word in RELEASES):
            work()
        return self.fail(name, 2)

    def fail(self, name, code):
        if name in ("mem_alloc", "pagelocked_empty"):
            raise (self.errors.LaunchError if code == 700 else self.errors.MemoryError)(
                f"{name} failed: it was told to"
            )
        if name.startswith("cu"):
            return code
        if name in ("DeviceAllocation.free", "HostAllocation.free"):
            return None  # pycuda warns of it, and goes on
        self.trt.log("Cuda Runtime (an illegal memory access was encountered)" if self.lost else OUT_OF_MEMORY)
        if name == "infer_shapes" or "profile" in name:
            raise RuntimeError(name)
        return None if name.startswith(("create", "deserialize")) or name.endswith(("=", "memory")) else False


def value_of(machine, rows, step):
    host = np.random.default_rng(step).integers(0, 2, (5 if rows == "lent" else rows, 300)).astype(np.float32)
    """Return rows as they are, and as they go in."""
    if rows != "lent" or machine.lost:
        return host, host
    watch, machine.cuda.watch = machine.cuda.watch, lambda name, work: work()
    try:
        return host, on_device(machine.cuda, host)
    finally:
        machine.cuda.watch = watch


def answer_of(machine, output):
    if isinstance(output, np.ndarray):
        return output
    stored = machine.cuda.allocations[output.pointer][: output.nbytes]
    return np.frombuffer(stored.tobytes(), output.dtype).reshape(output.shape)


def attempt(machine, work):
    """Return what `work` answers, None where it was interrupted; nothing may be under way then."""
    try:
        result = work()
    except KeyboardInterrupt:
        result = None
    if not machine.lost:
        assert machine.cuda.in_flight == [], machine.failed
        assert machine.cuda.captures == {}, machine.failed
        assert len(machine.cuda.stack) <= 1, machine.failed
    return result


def scenario(trt, arguments, engine, calls, folder, fault=None, number=-1):
    """Load, call and unload with the call of this number failing; return how many calls of the driver there are."""
    with pytest.MonkeyPatch.context() as patch:
        machine = Machine(trt, patch)
        path = write(folder, trt, **engine, profiles=SPANS)
        machine.fault, machine.left = fault, number
        stream = StreamOptions(device="gpu", shared=True) if arguments.get("stream") else None
        backend = TensorRTBackend(**{**arguments, "stream": stream})
        for _ in range(2):
            loaded = attempt(machine, lambda: backend.load(path))
            if loaded is not None and loaded.is_ok():
                break
            assert loaded is None or loaded.unwrap_err().code in told(fault), (machine.failed, loaded)
        for step, rows in enumerate(calls):
            host, value = value_of(machine, rows, step)
            serve(machine, backend, value, np.argwhere(host).T if engine is LATE else host * 2)
        released = attempt(machine, backend.unload)
        assert released is None or released.is_ok() or released.unwrap_err().code in told(fault), machine.failed
        used, machine.left = number - machine.left, -1
        backend = value = None
        gc.collect()
        if not machine.lost:
            nothing_is_left(machine, unloaded=released is not None)
        cuda_driver.cuda_driver.cache_clear()
        return used


def serve(machine, backend, value, wanted):
    """Make a request, and once more where it was the one that failed."""
    request = ExecutionRequest(inputs={"x": value})
    for _ in range(2):
        before = machine.failed
        result = attempt(machine, lambda: backend.execute(request))
        if result is not None and result.is_ok():
            output = result.unwrap().outputs["y"]
            if not machine.lost:
                np.testing.assert_array_equal(answer_of(machine, output), wanted, machine.failed)
            return
        if machine.lost:
            assert result.unwrap_err().code in told("lose") | {ErrorCode.NOT_LOADED}, (machine.failed, result)
            return
        assert before is None, f"{machine.failed} failed, and a later request too: {result}"
        assert (machine.fault == "fail") is (result is not None), (machine.failed, result)
    raise AssertionError(f"{machine.failed} failed, and the request once more: {result}")


def told(fault):
    return {ErrorCode.RESOURCE_EXHAUSTED} if fault == "fail" else {ErrorCode.UNAVAILABLE}


def nothing_is_left(machine, *, unloaded):
    gpu, failed = machine.cuda, machine.failed
    assert gpu.allocations == {}, failed
    assert gpu.streams == {}, failed
    assert gpu.events == {}, failed
    assert gpu.executables == {}, failed
    assert gpu.graphs == {}, failed
    assert machine.trt.destroyed_in_use == [], failed
    assert not unloaded or machine.trt.destroyed[-2:] == ["ICudaEngine", "Runtime"], (failed, machine.trt.destroyed)
    kept = [buffer.address for pool in cuda_memory._pools.values() for free in pool._free.values() for buffer in free]
    assert sorted(kept) == sorted(gpu.pinned), (failed, "each piece of page-locked memory is free once")


@pytest.fixture
def quick_collection():
    """Let the garbage collector look at what the test made alone."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.usefixtures("quick_collection")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # an interrupt that `__del__` ate
@pytest.mark.parametrize("fault", ["fail", "interrupt before", "interrupt after", "lose"])
@pytest.mark.parametrize("case", CASES)
def test_any_one_call_may_fail(case, fault, tmp_path):
    version, options, engine, calls = CASES[case]
    trt = FakeTensorRT(next(path for path in RUNTIMES if path.stem.startswith(f"tensorrt-{version}")), None)
    backend = {"options": options}
    if case == "on a shared stream":
        backend |= {"instances": 2, "stream": "shared"}
    whole = scenario(trt, backend, engine, calls, tmp_path)
    assert whole > 30
    for number in range(1, whole + 1):
        scenario(trt, backend, engine, calls, tmp_path, fault, number)
