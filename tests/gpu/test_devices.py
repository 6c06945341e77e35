"""Contexts, streams, memory and graphs on a real GPU: `pytest -m gpu tests/gpu`. torch makes the work to overlap."""

import json
import os
import subprocess
import sys
import threading

import numpy as np
import pytest

from aegisrt import CudaStream

pytestmark = pytest.mark.gpu
CYCLES = 100_000_000


@pytest.fixture
def context():
    pytest.importorskip("pycuda.driver", reason="needs pycuda and a driver", exc_type=ImportError)
    from aegisrt.devices.cuda.context import cuda_context

    return cuda_context(0)


@pytest.fixture
def torch():
    return pytest.importorskip("torch", reason="torch makes the kernels of this test")


def sleep(torch, stream, cycles=CYCLES):
    with torch.cuda.stream(torch.cuda.ExternalStream(stream.handle)):
        torch.cuda._sleep(cycles)


def test_discovery_says_what_nvidia_smi_says():
    def run(*command):
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=every_gpu)
        return done.stdout

    every_gpu = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
    listed = run("nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader").splitlines()
    devices = json.loads(run(sys.executable, "-m", "aegisrt", "devices", "--json"))
    found = [device for device in devices if device["kind"] == "cuda"]
    assert [device["name"] for device in found] == [line.split(", ")[0] for line in listed]
    assert found[0]["driver"].startswith(listed[0].split(", ")[1])
    assert found[0]["memory_bytes"] > 2**30


def test_two_streams_overlap_and_one_does_not(context, torch):
    with CudaStream("cuda:0") as one, CudaStream("cuda:0", priority="high") as two:
        sleep(torch, one, 1000)
        one.synchronize()
        start = one.record_event()
        sleep(torch, one)
        alone = one.record_event()
        alone.synchronize()
        single = alone.milliseconds_since(start)

        start = one.record_event()
        two.wait_for(start)
        sleep(torch, one)
        sleep(torch, two)
        end = two.record_event()
        one.wait_for(end)
        last = one.record_event()
        last.synchronize()
        both = last.milliseconds_since(start)

        start = one.record_event()
        sleep(torch, one)
        sleep(torch, one)
        last = one.record_event()
        last.synchronize()
        serial = last.milliseconds_since(start)
    assert both < 1.3 * single, f"two streams took {both:.1f} ms, one took {single:.1f} ms"
    assert serial > 1.7 * single, f"one stream did both in {serial:.1f} ms, one alone took {single:.1f} ms"


def test_staging_overlaps_with_compute(context, torch):
    from aegisrt.devices.cuda.memory import DeviceBuffer, copy_to_device, staging_pool

    size = 256 * 2**20
    with CudaStream("cuda:0") as compute, CudaStream("cuda:0") as copies, context:
        pinned, memory = staging_pool(context).take(size), DeviceBuffer(context, size)
        start = compute.record_event()
        copies.wait_for(start)
        sleep(torch, compute)
        copy_to_device(context, memory.pointer, pinned.address, size, copies.handle)
        copied = copies.record_event()
        computed = compute.record_event()
        copied.synchronize()
        computed.synchronize()
        copy_ms, compute_ms = copied.milliseconds_since(start), computed.milliseconds_since(start)
        memory.free()
    assert copy_ms < compute_ms, f"the copy ended after {copy_ms:.1f} ms, the kernel after {compute_ms:.1f} ms"


def test_priorities_differ(context):
    with CudaStream("cuda:0", priority="low") as low, CudaStream("cuda:0", priority="high") as high:
        assert low.handle != high.handle


def test_copies_in_threads(context):
    from aegisrt.devices.cuda.memory import DeviceBuffer, copy_to_device, copy_to_host, staging_pool

    wrong = []

    def work(seed):
        value = np.random.default_rng(seed).random(100_000)
        for _ in range(20):
            with CudaStream("cuda:0") as stream, context:
                pool = staging_pool(context)
                there, back, memory = (
                    pool.take(value.nbytes),
                    pool.take(value.nbytes),
                    DeviceBuffer(context, value.nbytes),
                )
                there.write(value)
                copy_to_device(context, memory.pointer, there.address, value.nbytes, stream.handle)
                copy_to_host(context, back.address, memory.pointer, value.nbytes, stream.handle)
                stream.synchronize()
                if not np.array_equal(back.read(value.shape, value.dtype), value):
                    wrong.append(seed)
                pool.release(there)
                pool.release(back)
                memory.free()

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_device_memory_is_flat(context):
    from aegisrt.devices.cuda.memory import DeviceBuffer

    def cycle():
        with CudaStream("cuda:0") as stream:
            buffer = DeviceBuffer(context, 64 * 2**20)
            stream.record_event().synchronize()
            buffer.free()

    cycle()
    before = context.memory()[0]
    for _ in range(200):
        cycle()
    assert abs(before - context.memory()[0]) < 8 * 2**20


def test_out_of_memory_is_told_and_the_context_goes_on(context):
    from aegisrt.core.result import ErrorCode, ResultError
    from aegisrt.devices.cuda.memory import DeviceBuffer

    with pytest.raises(ResultError) as caught:
        DeviceBuffer(context, 2**45)
    assert caught.value.error.code is ErrorCode.RESOURCE_EXHAUSTED
    DeviceBuffer(context, 2**20).free()


def test_a_graph_of_copies_replays(context):
    from aegisrt.devices.cuda.graph import CudaGraph
    from aegisrt.devices.cuda.memory import DeviceBuffer, copy_to_device, copy_to_host, staging_pool

    value = np.arange(1000, dtype=np.float32)
    with CudaStream("cuda:0") as stream, context:
        pool = staging_pool(context)
        there, back, memory = pool.take(value.nbytes), pool.take(value.nbytes), DeviceBuffer(context, value.nbytes)

        def work(handle):
            copy_to_device(context, memory.pointer, there.address, value.nbytes, handle)
            copy_to_host(context, back.address, memory.pointer, value.nbytes, handle)

        graph = CudaGraph.capture(stream, work)
        for step in range(3):
            there.write(value + step)
            graph.launch(stream.handle)
            stream.synchronize()
            np.testing.assert_array_equal(back.read(value.shape, value.dtype), value + step)
        graph.close()
        memory.free()


def test_a_graph_of_torch_kernels_on_our_stream(context, torch):
    """What other libraries enqueue on the stream is captured too: one primary context for all."""
    from aegisrt.devices.cuda.graph import CudaGraph

    x = torch.ones(1000, device="cuda")
    with CudaStream("cuda:0") as stream:
        external = torch.cuda.ExternalStream(stream.handle)
        with torch.cuda.stream(external):
            x.add_(0)
        stream.synchronize()

        def work(handle):
            with torch.cuda.stream(external):
                x.mul_(2)

        graph = CudaGraph.capture(stream, work)
        for _ in range(3):
            stream.enqueue(graph.launch)
        stream.synchronize()
        graph.close()
    assert x.sum().item() == 8000


def test_work_that_cannot_be_captured_is_told(context, torch):
    from aegisrt.core.result import ErrorCode, ResultError
    from aegisrt.devices.cuda.graph import CudaGraph
    from aegisrt.devices.cuda.memory import DeviceBuffer

    with CudaStream("cuda:0") as stream:
        with pytest.raises(ResultError) as caught:
            CudaGraph.capture(stream, lambda handle: stream.synchronize())
        assert caught.value.error.code is ErrorCode.FAILED_PRECONDITION
        stream.synchronize()
    DeviceBuffer(context, 1000).free()


def test_arrays_go_to_torch_without_a_copy(context, torch):
    from aegisrt.core.tensor import DataType, TensorSpec
    from aegisrt.devices.cuda.arrays import DeviceArray, device_array
    from aegisrt.devices.cuda.memory import DeviceBuffer

    tensor = torch.arange(12, dtype=torch.float32, device="cuda").reshape(3, 4)
    seen = device_array(tensor, TensorSpec("x", DataType.FP32, (3, 4)))
    assert (seen.pointer, seen.shape, seen.dtype) == (tensor.data_ptr(), (3, 4), np.dtype("f4"))
    np.testing.assert_array_equal(seen.numpy(), tensor.cpu().numpy())
    memory = DeviceBuffer(context, 48)
    array = DeviceArray(memory.pointer, (3, 4), np.dtype("f4"), owner=memory)
    assert torch.as_tensor(array, device="cuda").data_ptr() == memory.pointer


def test_the_driver_tells_which_gpu_holds_an_array(context, torch):
    tensor, pinned = torch.zeros(8, device="cuda"), torch.zeros(8).pin_memory()
    assert context.driver.other_gpu(tensor.data_ptr(), 0) is None
    assert context.driver.other_gpu(tensor.data_ptr() + 16, 1) == 0
    assert context.driver.other_gpu(pinned.data_ptr(), 0) is None
    assert context.driver.other_gpu(torch.zeros(8).data_ptr(), 0) is None


def test_a_sticky_error_is_told_once_clearly_and_the_process_ends_well(context):
    """In a process of its own: an illegal address makes the device unusable for the rest of it."""
    code = (
        "from aegisrt import CudaStream\n"
        "from aegisrt.core.result import ResultError\n"
        "from tests.gpu.losing import lose\n"
        "stream = CudaStream('cuda:0')\n"
        "lose(0)\n"
        "for _ in range(2):\n"
        "    try:\n"
        "        stream.synchronize()\n"
        "    except ResultError as failure:\n"
        "        print(failure.error.code, failure.error.message)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    lines = [line for line in done.stdout.splitlines() if line.startswith("UNAVAILABLE")]
    assert len(lines) == 2, done.stdout + done.stderr
    assert "cannot be used" in lines[1]
    assert "PyCUDA ERROR" not in done.stderr
