"""Contexts, streams, events, memory and graphs, on a fake driver that refuses what the real one refuses."""

import gc
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from aegisrt import CudaStream
from aegisrt.core.result import ErrorCode, ResultError, fail
from aegisrt.devices.base import Device
from aegisrt.devices.cuda import context as cuda
from aegisrt.devices.cuda import memory as cuda_memory
from aegisrt.devices.cuda.context import cuda_context
from aegisrt.devices.cuda.graph import CudaGraph
from aegisrt.devices.cuda.memory import (
    BufferPool,
    DeviceBuffer,
    PinnedBuffer,
    copy_to_device,
    copy_to_host,
    staging_pool,
)
from aegisrt.devices.cuda.staged import StagedTensor
from aegisrt.devices.cuda.stream import open_stream, stream_priority
from aegisrt.devices.options import StreamOptions
from aegisrt.devices.shared_stream import SharedStream


def error_of(call, *arguments, **options):
    with pytest.raises(ResultError) as caught:
        call(*arguments, **options)
    return caught.value.error


def test_a_stream_without_a_driver_is_unavailable_in_the_driver_s_words(monkeypatch):
    def no_driver():
        raise fail(ErrorCode.UNAVAILABLE, "there is no NVIDIA driver: libcuda.so.1: cannot open")

    monkeypatch.setattr(cuda, "cuda_driver", no_driver)
    monkeypatch.setattr(cuda, "_contexts", {})
    error = error_of(CudaStream)
    assert error.code is ErrorCode.UNAVAILABLE
    assert "libcuda.so.1" in error.message


def test_a_stream_is_on_a_cuda_device():
    assert error_of(CudaStream, "cpu").code is ErrorCode.INVALID_ARGUMENT


def test_the_primary_context_is_retained_once(fake_cuda):
    assert cuda_context(0) is cuda_context(0)
    assert fake_cuda.calls.count("retain_primary_context") == 1
    assert error_of(cuda_context, 1).code is ErrorCode.NOT_FOUND


def test_the_context_is_current_only_inside_with_and_in_every_thread(fake_cuda):
    stream = CudaStream("cuda:0")
    done = []
    thread = threading.Thread(target=lambda: done.append(stream.enqueue(lambda handle: handle)))
    thread.start()
    thread.join()
    stream.close()
    assert done
    assert fake_cuda.stack == []


@pytest.mark.parametrize(("priority", "rank"), [("low", 0), ("normal", 0), ("high", -5)])
def test_priorities(priority, rank, fake_cuda):
    with CudaStream("cuda:0", priority=priority) as stream:
        assert fake_cuda.streams[stream.handle] == rank
    assert fake_cuda.streams == {}


def test_priorities_of_a_gpu_without_any():
    assert {stream_priority(name, 0, 0) for name in ("low", "normal", "high")} == {0}


def test_normal_is_the_priority_of_a_stream_without_one():
    assert [stream_priority("normal", *span) for span in ((0, -5), (2, -2), (-1, -3), (3, 1))] == [0, 0, -1, 1]


def test_a_closed_stream_refuses_work(fake_cuda):
    stream = CudaStream("cuda:0")
    stream.close()
    stream.close()
    assert error_of(stream.synchronize).code is ErrorCode.FAILED_PRECONDITION


def test_a_forgotten_stream_is_destroyed(fake_cuda):
    CudaStream("cuda:0")
    assert fake_cuda.streams == {}


def test_events_order_two_streams_and_measure(fake_cuda):
    with CudaStream("cuda:0") as first, CudaStream("cuda:0") as second:
        start = first.record_event()
        second.wait_for(start)
        end = second.record_event()
        end.synchronize()
        assert end.is_done()
        assert second.is_done()
        assert end.milliseconds_since(start) > 0
    order = [name for name in fake_cuda.calls if name.startswith(("cuEventRecord", "cuStreamWait"))]
    assert order == ["cuEventRecord", "cuStreamWaitEvent", "cuEventRecord"]


def test_declared_streams(fake_cuda):
    device = Device.parse("cuda:0")
    template = StreamOptions(device="gpu0", priority="high")
    one, owned = open_stream(template, device)
    two, _ = open_stream(template, device)
    assert owned
    assert one is not two
    shared = SharedStream(StreamOptions(device="gpu0", shared=True))
    three, owned = open_stream(shared, device)
    assert not owned
    assert open_stream(shared, device)[0] is three
    assert open_stream(SharedStream(shared.options), device)[0] is not three
    assert open_stream(one, device) == (one, False)
    assert open_stream(None, device)[1]


def test_a_model_runs_on_no_stream_of_another_gpu(fake_cuda):
    fake_cuda.count = 2
    devices = [Device.parse(f"cuda:{ordinal}") for ordinal in (0, 1)]
    with CudaStream("cuda:0") as stream:
        error = error_of(open_stream, stream, devices[1])
        assert error.code is ErrorCode.INVALID_ARGUMENT
        assert error.message == "the stream is on GPU 0, the model on GPU 1"
    shared = SharedStream(StreamOptions(device="gpu0", shared=True))
    opened = [open_stream(shared, device)[0] for device in devices]
    assert [stream.device.ordinal for stream in opened] == [0, 1]


def test_a_shared_stream_ends_with_its_last_user(fake_cuda):
    shared = SharedStream(StreamOptions(device="gpu0", shared=True))
    stream, _ = open_stream(shared, Device.parse("cuda:0"))
    assert len(fake_cuda.streams) == 1
    del stream
    assert fake_cuda.streams == {}


def test_copies_there_and_back(fake_cuda):
    context = cuda_context(0)
    value = np.arange(12, dtype=np.float32).reshape(3, 4)
    with CudaStream("cuda:0") as stream, context:
        pool = staging_pool(context)
        pinned, back, memory = pool.take(value.nbytes), pool.take(value.nbytes), DeviceBuffer(context, value.nbytes)
        pinned.write(value)
        copy_to_device(context, memory.pointer, pinned.address, value.nbytes, stream.handle)
        copy_to_host(context, back.address, memory.pointer, value.nbytes, stream.handle)
        stream.synchronize()
        np.testing.assert_array_equal(back.read((3, 4), value.dtype), value)
        np.testing.assert_array_equal(back.view((3, 4), value.dtype), value)


def test_out_of_memory_is_resource_exhausted_and_the_device_goes_on(fake_cuda):
    context = cuda_context(0)
    assert error_of(DeviceBuffer, context, 2 << 30).code is ErrorCode.RESOURCE_EXHAUSTED
    assert DeviceBuffer(context, 1 << 20).pointer
    assert context.lost is None


def test_a_device_buffer_is_freed_once_and_in_any_thread(fake_cuda):
    buffer = DeviceBuffer(cuda_context(0), 1000)
    thread = threading.Thread(target=buffer.free)
    thread.start()
    thread.join()
    buffer.free()
    assert fake_cuda.allocations == {}


def test_a_forgotten_device_buffer_is_freed(fake_cuda):
    DeviceBuffer(cuda_context(0), 1000)
    assert fake_cuda.used_bytes == 0


def test_the_pool_gives_the_same_pages_again_and_keeps_no_more_than_it_may(fake_cuda):
    pool = BufferPool(cuda_context(0), PinnedBuffer, keep_bytes=4096)
    first, second = pool.take(3000), pool.take(3000)
    assert first.size_bytes == 4096
    pool.release(first)
    pool.release(second)
    assert len(fake_cuda.pinned) == 1
    assert pool.take(4000) is first
    pool.release(first)
    pool.clear()
    assert fake_cuda.pinned == {}


def test_a_sticky_error_is_told_and_remembered_and_other_devices_go_on(fake_cuda):
    fake_cuda.count = 2
    with CudaStream("cuda:0") as stream, CudaStream("cuda:1") as other:
        fake_cuda.fail["cuStreamSynchronize"] = 700
        first = error_of(stream.synchronize)
        assert first.code is ErrorCode.UNAVAILABLE
        assert "illegal memory access" in first.message
        again = error_of(stream.synchronize)
        assert again.code is ErrorCode.UNAVAILABLE
        assert "cuda:0 cannot be used after an earlier error" in again.message
        other.synchronize()


def test_a_sticky_error_that_pycuda_meets_first_is_remembered_too(fake_cuda):
    context = cuda_context(0)
    fake_cuda.fail["mem_alloc"] = "LaunchError"
    assert error_of(DeviceBuffer, context, 10).code is ErrorCode.UNAVAILABLE
    assert context.lost is not None


def test_a_graph_records_without_running_and_replays(fake_cuda):
    context = cuda_context(0)
    value = np.arange(4, dtype=np.int64)
    with CudaStream("cuda:0") as stream, context:
        pool = staging_pool(context)
        pinned, memory = pool.take(32), DeviceBuffer(context, 32)
        pinned.write(value)
        graph = CudaGraph.capture(
            stream, lambda handle: copy_to_device(context, memory.pointer, pinned.address, 32, handle)
        )
        assert fake_cuda.graphs == {}
        assert not fake_cuda.allocations[memory.pointer].any()
        graph.launch(stream.handle)
        assert fake_cuda.allocations[memory.pointer][:32].tobytes() == value.tobytes()
        graph.close()
        graph.close()
    assert fake_cuda.executables == {}


def test_a_recording_of_another_library_stops_nobody(fake_cuda):
    fake_cuda.another_library_records = True
    with CudaStream("cuda:0") as stream, ThreadPoolExecutor(1) as pool:
        stream.synchronize()
        pool.submit(stream.synchronize).result()


def test_work_that_cannot_be_captured_says_why_and_leaves_the_stream_usable(fake_cuda):
    with CudaStream("cuda:0") as stream:

        def work(handle):
            raise fail(ErrorCode.INTERNAL, "it waits for the GPU")

        error = error_of(CudaGraph.capture, stream, work)
        assert error.code is ErrorCode.FAILED_PRECONDITION
        assert "it waits for the GPU" in error.message
        assert fake_cuda.captures == {}
        assert fake_cuda.graphs == {}
        stream.synchronize()


def test_an_interrupt_in_a_capture_ends_it_and_stays_an_interrupt(fake_cuda):
    with CudaStream("cuda:0") as stream:

        def work(handle):
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            CudaGraph.capture(stream, work)
        stream.synchronize()
    assert (fake_cuda.captures, fake_cuda.graphs) == ({}, {})


def test_what_its_owner_forgot_is_given_back(fake_cuda):
    staged = StagedTensor(cuda_context(0))
    staged.reserve(1000)
    assert staged.device_bytes == 1000
    del staged
    assert fake_cuda.allocations == {}
    again = StagedTensor(cuda_context(0))
    again.reserve(1000)
    assert len(fake_cuda.pinned) == 1, "the page-locked memory came from the pool"
    stream = CudaStream()
    graph = CudaGraph.capture(stream, lambda handle: again.to_device(4, handle))
    assert len(fake_cuda.executables) == 1
    del graph
    assert fake_cuda.executables == {}


@pytest.mark.parametrize("refused", ["mem_alloc", "pagelocked_empty"])
def test_a_tensor_that_cannot_grow_is_as_it_was(refused, fake_cuda):
    staged = StagedTensor(cuda_context(0))
    staged.reserve(1000)
    before = staged.pointer, staged.address, staged.device_bytes
    fake_cuda.fail[refused] = "MemoryError"
    assert error_of(staged.reserve, 5000).code is ErrorCode.RESOURCE_EXHAUSTED
    assert (staged.pointer, staged.address, staged.device_bytes) == before
    assert list(fake_cuda.allocations) == [staged.pointer]
    assert staged.reserve(5000)
    assert list(fake_cuda.allocations) == [staged.pointer]


def interrupted(fake_cuda, wanted):
    """Interrupt the next call of this name, once it has done its work."""

    def watch(name, work):
        made = work()
        if name == wanted:
            fake_cuda.watch = lambda name, work: work()
            raise KeyboardInterrupt
        return made

    fake_cuda.watch = watch


def test_a_tensor_whose_release_was_interrupted_gives_nothing_back_twice(fake_cuda):
    staged = StagedTensor(cuda_context(0))
    staged.reserve(1000)
    interrupted(fake_cuda, "DeviceAllocation.free")
    with pytest.raises(KeyboardInterrupt):
        staged.free()
    staged.free()
    pool = staging_pool(cuda_context(0))
    assert pool.take(1000) is not pool.take(1000)


@pytest.mark.parametrize(
    "at", ["cuStreamBeginCapture_v2", "cuMemcpyHtoDAsync_v2", "cuStreamEndCapture", "cuGraphInstantiateWithFlags"]
)
def test_a_recording_that_is_interrupted_leaves_the_stream_usable(at, fake_cuda):
    staged = StagedTensor(cuda_context(0))
    staged.reserve(1000)
    with CudaStream("cuda:0") as stream:
        interrupted(fake_cuda, at)
        with pytest.raises(KeyboardInterrupt):
            CudaGraph.capture(stream, lambda handle: staged.to_device(4, handle))
        assert (fake_cuda.captures, fake_cuda.graphs) == ({}, {})
        stream.synchronize()


def test_a_device_that_is_lost_in_a_recording_is_told_as_lost(fake_cuda):
    staged = StagedTensor(cuda_context(0))
    staged.reserve(1000)
    with CudaStream("cuda:0") as stream:
        fake_cuda.fail["cuMemcpyHtoDAsync_v2"] = 700
        error = error_of(CudaGraph.capture, stream, lambda handle: staged.to_device(4, handle))
        assert error.code is ErrorCode.UNAVAILABLE


def test_a_stream_whose_close_is_interrupted_as_it_waits_is_destroyed(fake_cuda):
    stream = CudaStream("cuda:0")
    interrupted(fake_cuda, "cuStreamSynchronize")
    with pytest.raises(KeyboardInterrupt):
        stream.close()
    assert fake_cuda.streams == {}


def test_pycuda_destroys_nothing_of_a_device_that_is_lost(fake_cuda):
    """Each of its destructors would print `PyCUDA WARNING: a clean-up operation failed`."""
    context = cuda_context(0)
    tensors = [StagedTensor(context) for _ in range(2)]
    for tensor in tensors:
        tensor.reserve(1000)
    memory, kept, forgotten = DeviceBuffer(context, 64), staging_pool(context).take(5000), PinnedBuffer(context, 64)
    staging_pool(context).release(kept)
    with pytest.raises(ResultError):
        context.check("cuStreamSynchronize", 700)
    tensors[0].free()
    memory.free()
    cuda_memory._clear_pools()
    cuda_memory._pools.clear()
    del tensors, tensor, memory, kept, forgotten
    gc.collect()
    assert fake_cuda.destroyed == []
    assert len(fake_cuda.allocations) == 3, "nor does it free anything"


def test_what_is_left_of_a_sound_device_is_freed_by_pycuda(fake_cuda):
    forgotten = PinnedBuffer(cuda_context(0), 64)
    view = forgotten.view((64,), np.dtype(np.uint8))
    del forgotten
    gc.collect()
    assert fake_cuda.destroyed == []
    view[:] = 1
    del view
    gc.collect()
    assert len(fake_cuda.destroyed) == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_neither_uses_nor_frees_what_its_parent_has_of_a_gpu(fake_cuda):
    context = cuda_context(0)
    stream, memory = CudaStream(), DeviceBuffer(context, 64)
    with staging_pool(context)._lock:
        child = os.fork()
        if not child:
            code = 1
            try:
                fake_cuda.calls.clear()
                stream.close()
                memory.free()
                cuda_memory._clear_pools()
                with pytest.raises(ResultError) as refused:
                    CudaStream()
                error = refused.value.error
                assert error.code is ErrorCode.FAILED_PRECONDITION
                assert error.message == "the parent of this forked process used cuda:0, so this process cannot use it"
                assert error.hint == "fork before CUDA is used, or start the process with the method `spawn`"
                assert (fake_cuda.calls, len(fake_cuda.allocations)) == ([], 1)
                code = 0
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    stream.close()
    memory.free()


def test_a_recording_of_the_application_is_to_be_tried_again(fake_cuda):
    context = cuda_context(0)
    fake_cuda.fail["mem_alloc"] = "LogicError: operation not permitted when stream is capturing"
    for error in (error_of(DeviceBuffer, context, 64), error_of(context.check, "cuStreamSynchronize", 900)):
        assert error.code is ErrorCode.UNAVAILABLE
        assert error.message.startswith("the application records a CUDA graph: ")
        assert error.hint == "try again when the recording has ended; the attempt may have broken it"
    assert context.lost is None
