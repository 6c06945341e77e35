"""What calls on a GPU have in common, on a fake GPU whose memory is host memory."""

import gc
import sys
from pathlib import Path

import numpy as np
import pytest

import aegisrt
from aegisrt.core.result import ErrorCode, ResultError
from aegisrt.devices.cuda.arrays import LEGACY_STREAM, DeviceArray, JoinedArray
from aegisrt.devices.cuda.call import Copy, GpuCalls, QuickCall
from aegisrt.devices.cuda.context import cuda_context
from aegisrt.devices.cuda.memory import DeviceBuffer, staging_pool
from aegisrt.devices.cuda.staged import StagedTensor
from aegisrt.devices.cuda.stream import CudaStream

FLOAT = np.dtype(np.float32)


def on_gpu(value, offset=0, stream=None):
    memory = DeviceBuffer(cuda_context(0), value.nbytes + offset)
    with cuda_context(0) as context:
        context.pycuda.memcpy_htod(memory.pointer + offset, value)
    return DeviceArray(memory.pointer + offset, value.shape, value.dtype, owner=memory, stream=stream)


def rows(count, start=0):
    return np.arange(start, start + count * 3, dtype=np.float32).reshape(count, 3)


@pytest.fixture
def calls(fake_cuda):
    made = GpuCalls(CudaStream("cuda:0"), alone=True, on_device=True, alignment=256)
    yield made
    made.close()


def test_an_aligned_array_is_borrowed_and_any_other_is_copied_on_the_gpu(calls, fake_cuda):
    staged = StagedTensor(calls.cuda)
    with calls.cuda:
        aligned, odd = on_gpu(rows(2)), on_gpu(rows(2), offset=12)
        assert calls.borrow(aligned, staged) == aligned.pointer
        fake_cuda.calls.clear()
        assert calls.borrow(odd, staged) == staged.pointer
    assert fake_cuda.calls == ["cuMemcpyDtoDAsync_v2"]
    assert fake_cuda.allocations[staged.pointer][:24].tobytes() == rows(2).tobytes()


def test_joined_arrays_are_copied_one_after_the_other_and_each_stream_is_waited_for(calls, fake_cuda):
    staged, joined = StagedTensor(calls.cuda), JoinedArray((on_gpu(rows(2), stream=1), on_gpu(rows(3, 6), 4)))
    assert (joined.shape, joined.size, joined.nbytes, joined.dtype) == ((5, 3), 15, 60, FLOAT)
    np.testing.assert_array_equal(joined.numpy(), rows(5))
    fake_cuda.calls.clear()
    with calls.cuda:
        pointer = calls.borrow(joined, staged)
    assert fake_cuda.allocations[pointer][:60].tobytes() == rows(5).tobytes()
    assert fake_cuda.calls.count("cuStreamWaitEvent") == 1
    assert fake_cuda.calls.count("cuMemcpyDtoDAsync_v2") == 2


def test_rows_of_an_array_are_in_its_memory_and_keep_it(calls, fake_cuda):
    with calls.cuda:
        whole = calls.fresh((4, 3), FLOAT)
        calls.cuda.pycuda.memcpy_htod(whole.pointer, rows(4))
    part = whole.rows(1, 3)
    pointer = whole.pointer
    del whole
    gc.collect()
    np.testing.assert_array_equal(part.numpy(), rows(4)[1:3])
    assert fake_cuda.holds(pointer)
    with calls.cuda:
        assert calls.fresh((4, 3), FLOAT).pointer != pointer


def test_memory_of_a_result_is_used_again_once_nothing_refers_to_it(calls, fake_cuda):
    allocated = []
    fake_cuda.watch = lambda name, work: allocated.append(name) or work() if name == "mem_alloc" else work()
    with calls.cuda:
        first = calls.fresh((4, 3), FLOAT)
        second = calls.fresh((4, 3), FLOAT)
        assert first.pointer != second.pointer
        del first
        for _ in range(5):
            assert calls.fresh((2, 3), FLOAT).pointer != second.pointer
    assert len(allocated) == 2


def test_memory_that_another_library_may_read_is_written_after_the_default_stream(calls, fake_cuda):
    with calls.cuda:
        calls.fresh((4, 3), FLOAT)
        fake_cuda.calls.clear()
        shown = calls.fresh((4, 3), FLOAT)
        assert fake_cuda.calls == []
        assert shown.__cuda_array_interface__["data"][0] == shown.pointer
        pointer = shown.pointer
        del shown
        recorded = []
        record = fake_cuda.cuEventRecord.call
        fake_cuda.cuEventRecord.call = lambda event, stream: recorded.append(stream) or record(event, stream)
        assert calls.fresh((4, 3), FLOAT).pointer == pointer
        assert recorded == [LEGACY_STREAM]
        assert fake_cuda.calls[-2:] == ["cuEventRecord", "cuStreamWaitEvent"]
        fake_cuda.calls.clear()
        calls.fresh((4, 3), FLOAT)
        assert fake_cuda.calls == [], "the one before was not passed on"


def test_results_outlive_their_instance_and_a_closed_one_keeps_no_memory(calls, fake_cuda):
    with calls.cuda:
        kept, dropped = calls.fresh((4, 3), FLOAT), calls.fresh((400, 3), FLOAT)
    del dropped
    assert len(fake_cuda.allocations) == 2
    calls.close()
    assert list(fake_cuda.allocations) == [kept.pointer]
    del kept
    assert fake_cuda.allocations == {}


def test_kept_memory_is_freed_before_a_result_is_refused(calls, fake_cuda):
    with calls.cuda:
        for count in (1000, 2000, 4000):
            calls.fresh((count, 3), FLOAT)
        fake_cuda.memory_bytes = 150_000
        held = calls.fresh((6000, 3), FLOAT)
        assert len(fake_cuda.allocations) == 1
        with pytest.raises(ResultError) as refused:
            calls.fresh((6000, 3), FLOAT)
    assert refused.value.error.code is ErrorCode.RESOURCE_EXHAUSTED
    assert fake_cuda.holds(held.pointer)


def test_results_in_a_garbage_cycle_leave_no_freed_memory_behind(calls, fake_cuda):
    with calls.cuda:
        cycle = [calls.fresh((4, 3), FLOAT)]
        cycle.append(cycle)
        del cycle
        gc.collect()
        for _ in range(3):
            assert fake_cuda.holds(calls.fresh((4, 3), FLOAT).pointer)


@pytest.mark.parametrize("problem", [ValueError("no"), KeyboardInterrupt()])
def test_a_call_that_fails_is_waited_for(calls, fake_cuda, problem):
    def enqueue():
        calls.leave(lent.pointer, lent.shape, lent.dtype)
        raise problem

    lent = on_gpu(rows(2))
    with pytest.raises(type(problem)):
        calls.answer(enqueue)
    assert fake_cuda.in_flight == []


class Doubling:
    """A `QuickCall` whose engine doubles what is on the GPU."""

    def __init__(self, fake):
        context, self.stream = cuda_context(0), CudaStream("cuda:0")
        pool, self.memory = staging_pool(context), DeviceBuffer(context, 24)
        sides = [pool.take(24) for _ in range(2)]
        host, result = (side.view((2, 3), FLOAT) for side in sides)
        held = fake.allocations[self.memory.pointer][:24].view(np.float32)
        self.launches = 0

        def launch():
            self.launches += 1
            held[:] *= 2

        self.call = QuickCall(
            self.stream,
            ("y",),
            inputs=[host],
            launch=launch,
            results=[result],
            uploads=[Copy(self.memory.pointer, sides[0].address, 24)],
            downloads=[Copy(sides[1].address, self.memory.pointer, 24)],
        )


def test_a_quick_call_copies_in_launches_copies_out_and_waits(fake_cuda):
    doubling = Doubling(fake_cuda)
    assert cuda_context(0).make_current()
    fake_cuda.calls.clear()
    (answer,) = doubling.call([rows(2)])
    np.testing.assert_array_equal(answer, rows(2) * 2)
    names = ["cuCtxGetCurrent", "cuMemcpyHtoDAsync_v2", "cuMemcpyDtoHAsync_v2", "cuStreamSynchronize"]
    assert fake_cuda.calls == names
    (other,) = doubling.call([rows(2, 9)])
    np.testing.assert_array_equal(answer, rows(2) * 2, "results are copies")
    np.testing.assert_array_equal(other, rows(2, 9) * 2)


def test_a_quick_call_answers_none_for_what_it_is_not_prepared_for(fake_cuda):
    doubling, context = Doubling(fake_cuda), cuda_context(0)
    assert context.make_current()
    lent = on_gpu(rows(2))
    for inputs in ([lent], [rows(1)], [rows(2)[:1]], [rows(4)]):
        assert doubling.call(inputs) is None
    fake_cuda.stack.append(0x7001)  # another device's context
    assert doubling.call([rows(2)]) is None
    fake_cuda.stack.pop()
    assert doubling.launches == 0
    assert doubling.call([rows(2)]) is not None


@pytest.mark.parametrize("name", ["cuMemcpyHtoDAsync_v2", "cuMemcpyDtoHAsync_v2", "cuStreamSynchronize"])
def test_a_quick_call_raises_what_the_driver_answers(name, fake_cuda):
    doubling = Doubling(fake_cuda)
    assert cuda_context(0).make_current()
    fake_cuda.fail[name] = 700
    with pytest.raises(ResultError, match="illegal memory access"):
        doubling.call([rows(2)])
    assert doubling.call([rows(2)]) is None, "the device is lost"


def test_a_quick_call_takes_few_steps_in_python(fake_cuda):
    doubling, made = Doubling(fake_cuda), []
    assert cuda_context(0).make_current()
    package = str(Path(aegisrt.__file__).parent)
    value = [rows(2)]
    sys.setprofile(lambda frame, event, _: made.append(frame.f_code) if event == "call" else None)
    doubling.call(value)
    sys.setprofile(None)
    ours = [code.co_name for code in made if code.co_filename.startswith(package)]
    assert len(ours) <= 2, ours  # the call itself; a comprehension has a frame of its own before Python 3.12
