"""Rows on the host and on a fake GPU: joined and taken out."""

import numpy as np
import pytest

from aegisrt.devices.cuda.arrays import DeviceArray, JoinedArray
from aegisrt.devices.cuda.context import cuda_context
from aegisrt.devices.cuda.memory import DeviceBuffer
from aegisrt.runtime.scheduling.rows import are_joinable, have_rows, joined_rows, rows_of
from tests.fakes.cuda import fake_cuda

__all__ = ["fake_cuda"]


def rows(count, start=0):
    return np.arange(start, start + 3 * count, dtype=np.float32).reshape(count, 3)


def on_gpu(value):
    memory = DeviceBuffer(cuda_context(0), value.nbytes)
    with cuda_context(0) as context:
        context.pycuda.memcpy_htod(memory.pointer, value)
    return DeviceArray(memory.pointer, value.shape, value.dtype, owner=memory)


def read(value):
    return value if isinstance(value, np.ndarray) else value.numpy()


@pytest.mark.usefixtures("fake_cuda")
@pytest.mark.parametrize("place", [np.array, on_gpu])
@pytest.mark.parametrize("padding", [0, 1, 3])
def test_rows_follow_each_other_and_the_last_one_fills_up(place, padding):
    parts = [place(rows(2)), place(rows(3, 6)), place(rows(0))]
    whole = joined_rows(parts, padding)
    np.testing.assert_array_equal(read(whole), np.concatenate([rows(5), *[rows(5)[-1:]] * padding]))
    assert whole.shape == (5 + padding, 3)


@pytest.mark.usefixtures("fake_cuda")
def test_arrays_on_the_gpu_are_named_and_not_copied(fake_cuda):
    parts = [on_gpu(rows(2)), on_gpu(rows(3))]
    fake_cuda.calls.clear()
    whole = joined_rows(parts, 1)
    assert isinstance(whole, JoinedArray)
    assert [part.pointer for part in whole.parts[:2]] == [part.pointer for part in parts]
    assert fake_cuda.calls == []


@pytest.mark.usefixtures("fake_cuda")
@pytest.mark.parametrize("place", [np.array, on_gpu])
def test_rows_are_taken_out(place):
    whole = place(rows(5))
    np.testing.assert_array_equal(read(rows_of(whole, 1, 3)), rows(5)[1:3])
    assert rows_of(whole, 2, 2).shape == (0, 3)


@pytest.mark.usefixtures("fake_cuda")
def test_what_can_be_joined():
    class Foreign:
        shape = (2, 3)

    host, device = rows(2), on_gpu(rows(2))
    assert are_joinable([{"x": host, "y": device}, {"x": host, "y": device}])
    assert not are_joinable([{"x": host}, {"x": device}])
    assert not are_joinable([{"x": device}, {"x": host}])
    assert not are_joinable([{"x": Foreign()}, {"x": Foreign()}])
    assert have_rows({"x": host, "y": device})
    assert not have_rows({"x": Foreign()})
