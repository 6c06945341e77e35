"""Arrays on a GPU: read by the array interface and by DLPack, and given out."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from aegisrt.core.result import ErrorCode, ResultError
from aegisrt.core.tensor import DataType, TensorSpec
from aegisrt.devices.cuda.arrays import LEGACY_STREAM, PER_THREAD_STREAM, DeviceArray, arrays_on, device_array
from aegisrt.devices.cuda.context import cuda_context
from aegisrt.devices.cuda.dlpack import read_capsule
from aegisrt.devices.cuda.memory import DeviceBuffer
from aegisrt.devices.cuda.stream import CudaStream
from tests.fakes.cuda import context_handle

SPEC = TensorSpec("x", DataType.FP32, (2, 3))


class Theirs:
    """Somebody else's array on a GPU."""

    def __init__(self, **interface):
        plain = {
            "shape": (2, 3),
            "typestr": "<f4",
            "data": (4096, False),
            "strides": None,
            "version": 3,
            "stream": None,
        }
        self.__cuda_array_interface__ = {**plain, **interface}


class OnGpu:
    """An array that only speaks DLPack, and says that it lies on a GPU."""

    def __init__(self, array, kind=2, ordinal=0):
        self.array, self.device, self.asked = array, (kind, ordinal), []

    def __dlpack_device__(self):
        return self.device

    def __dlpack__(self, *, stream):
        self.asked.append(stream)
        return self.array.__dlpack__()


def refusal(value, spec=SPEC):
    with pytest.raises(ResultError) as caught:
        device_array(value, spec)
    assert caught.value.error.code is ErrorCode.INVALID_ARGUMENT
    return caught.value.error


def test_an_array_with_the_interface_is_seen_where_it_lies():
    theirs = Theirs()
    seen = device_array(theirs, SPEC)
    assert (seen.pointer, seen.shape, seen.dtype) == (4096, (2, 3), np.dtype("f4"))
    assert seen.owner is theirs
    assert (seen.size, seen.nbytes, seen.stream) == (6, 24, None)


def test_the_stream_that_writes_it_is_known():
    assert device_array(Theirs(stream=77), SPEC).stream == 77
    old = Theirs(version=2)
    del old.__cuda_array_interface__["stream"]
    assert device_array(old, SPEC).stream == LEGACY_STREAM


def test_strides_that_say_nothing_new_are_fine():
    assert device_array(Theirs(strides=(12, 4)), SPEC) is not None


@pytest.mark.parametrize(
    ("interface", "words"),
    [({"strides": (4, 8)}, "gaps"), ({"typestr": ">f4"}, "byte order"), ({"typestr": "<f8"}, "FP64")],
)
def test_what_the_engine_cannot_read_is_refused(interface, words):
    assert words in refusal(Theirs(**interface)).message


@pytest.mark.parametrize("value", [np.ones((2, 3)), np.float32(1), [1], None, object()])
def test_what_lies_elsewhere_is_none_of_ours(value):
    assert device_array(value, SPEC) is None


def test_a_class_whose_interface_raises_is_asked_by_dlpack_with_its_device_current(fake_cuda):
    class Torch(OnGpu):
        @property
        def __cuda_array_interface__(self):
            raise TypeError("no such dtype in the interface")

        def __dlpack__(self, *, stream):
            if fake_cuda.stack[-1:] != [context_handle(self.device[1])]:
                raise BufferError("Can't export tensors on a different CUDA device index")
            return super().__dlpack__(stream=stream)

    fake_cuda.count = 2
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    value = Torch(array, ordinal=1)
    seen = device_array(value, SPEC)
    assert (seen.pointer, seen.shape, seen.ordinal) == (array.ctypes.data, (2, 3), 1)
    assert value.asked == [LEGACY_STREAM]


def test_a_producer_whose_interface_tells_no_stream_is_asked_by_dlpack_to_wait_for_its_own(fake_cuda):
    class Torch(OnGpu):
        @property
        def __cuda_array_interface__(self):
            return {"shape": (2, 3), "typestr": "<f4", "data": (4096, False), "version": 2}

    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    value = Torch(array)
    assert device_array(value, SPEC).pointer == array.ctypes.data
    assert value.asked == [LEGACY_STREAM]
    assert device_array(Torch(array, kind=3), SPEC).pointer == 4096, "page-locked memory of the host"


def test_dlpack_on_the_host_is_none_of_ours():
    assert device_array(OnGpu(np.ones((2, 3), np.float32), kind=1), SPEC) is None


@pytest.mark.parametrize("stride", [1, 96])
def test_the_stride_of_a_dimension_of_one_says_nothing(stride, fake_cuda):
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    view = np.lib.stride_tricks.as_strided(array, (1, 2, 3), (stride * 4, 12, 4))
    assert device_array(OnGpu(view), SPEC).shape == (1, 2, 3)
    assert device_array(Theirs(shape=(1, 2, 3), strides=(stride, 12, 4)), SPEC).shape == (1, 2, 3)


def test_dlpack_that_its_library_refuses_is_refused_in_its_words(fake_cuda):
    class Refusing(OnGpu):
        def __dlpack__(self, *, stream):
            raise BufferError("Can't export tensors that require gradient, use tensor.detach()")

    assert "use tensor.detach()" in refusal(Refusing(np.ones((2, 3), np.float32))).message


def test_dlpack_with_gaps_is_refused(fake_cuda):
    assert "gaps" in refusal(OnGpu(np.ones((3, 2), np.float32).T)).message


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "i1", "i8", "u2", "?"])
def test_dtypes_of_capsules(dtype):
    array = np.zeros((2, 3), dtype)
    tensor = read_capsule(array.__dlpack__())
    assert tensor.dtype == array.dtype
    assert tensor.shape == (2, 3)
    assert tensor.pointer == array.ctypes.data


def test_a_capsule_of_complex_numbers_is_no_tensor_of_ours():
    assert read_capsule(np.zeros(2, "c8").__dlpack__()) is None


def test_ours_come_to_the_host_as_a_copy(fake_cuda):
    value = np.arange(6, dtype=np.float32).reshape(2, 3)
    memory = DeviceBuffer(cuda_context(0), value.nbytes)
    fake_cuda.allocations[memory.pointer][:24] = np.frombuffer(value.tobytes(), np.uint8)
    array = DeviceArray(memory.pointer, (2, 3), value.dtype, owner=memory)
    np.testing.assert_array_equal(array.numpy(), value)
    np.testing.assert_array_equal(np.asarray(array), value)
    assert np.asarray(array, np.float64).dtype == np.float64
    with pytest.raises(ValueError, match="copy"):
        np.asarray(array, copy=False)
    assert device_array(array, SPEC) is array


def test_the_interface_of_ours():
    interface = DeviceArray(4096, (2, 3), np.dtype("f4")).__cuda_array_interface__
    assert interface == {
        "shape": (2, 3), "typestr": "<f4", "data": (4096, False), "strides": None, "stream": None, "version": 3,
    }  # fmt: skip
    assert DeviceArray(4096, (0, 3), np.dtype("f4")).__cuda_array_interface__["data"] == (0, False)


class TestArraysOnAGpu:
    @pytest.fixture
    def theirs(self, fake_cuda):
        memory = DeviceBuffer(cuda_context(0), 24)
        value = Theirs(data=(memory.pointer, False))
        value.memory = memory
        return value

    def test_its_own_are_seen(self, fake_cuda, theirs):
        assert arrays_on(0)(theirs, SPEC).pointer == theirs.memory.pointer

    def test_those_of_another_gpu_are_refused_with_what_to_do(self, fake_cuda, theirs):
        fake_cuda.elsewhere[theirs.memory.pointer] = 1
        for value in (theirs, device_array(theirs, SPEC)):
            with pytest.raises(ResultError) as caught:
                arrays_on(0)(value, SPEC)
            error = caught.value.error
            assert error.code is ErrorCode.INVALID_ARGUMENT
            assert error.message == "input `x` is on GPU 1, and the model runs on GPU 0"
            assert "x.to('cuda:0')" in error.hint
        fake_cuda.count = 2
        assert arrays_on(1)(theirs, SPEC).ordinal == 1

    def test_the_driver_is_asked_in_a_thread_that_has_no_context(self, fake_cuda, theirs):
        fake_cuda.count = 2
        fake_cuda.elsewhere[theirs.memory.pointer] = 0
        with ThreadPoolExecutor(1) as pool, pytest.raises(ResultError, match="is on GPU 0"):
            pool.submit(arrays_on(1), theirs, SPEC).result()

    def test_managed_memory_is_everybodys(self, fake_cuda, theirs):
        fake_cuda.elsewhere[theirs.memory.pointer] = 1
        fake_cuda.managed.add(theirs.memory.pointer)
        assert arrays_on(0)(theirs, SPEC) is not None

    def test_what_the_driver_does_not_know_is_left_to_the_engine(self, fake_cuda):
        assert arrays_on(0)(Theirs(), SPEC).pointer == 4096

    def test_the_default_stream_of_the_caller_s_thread_is_waited_for_there(self, fake_cuda, theirs):
        theirs.__cuda_array_interface__["stream"] = PER_THREAD_STREAM
        assert arrays_on(0)(theirs, SPEC).stream is None
        assert fake_cuda.finished == [PER_THREAD_STREAM]

    def test_empty_ones_lie_nowhere(self, fake_cuda):
        spec = TensorSpec("x", DataType.FP32, (0, 3))
        assert arrays_on(0)(Theirs(shape=(0, 3), data=(0, False)), spec) is not None
        assert "cuPointerGetAttribute" not in fake_cuda.calls

    def test_what_is_no_gpu_array_is_none_of_ours(self, fake_cuda):
        assert arrays_on(0)(np.ones((2, 3), np.float32), SPEC) is None


@pytest.mark.parametrize("stream", [LEGACY_STREAM, 0])
def test_what_a_stream_still_writes_is_waited_for_before_it_comes_to_the_host(stream, fake_cuda):
    with CudaStream("cuda:0") as own:
        memory = DeviceBuffer(cuda_context(0), 24)
        written_on = stream or own.handle
        DeviceArray(memory.pointer, (2, 3), np.dtype("f4"), owner=memory, stream=written_on).numpy()
        assert fake_cuda.finished == [written_on]
