"""The driver's words become errors, and a machine without a driver says so."""

import ctypes

import pytest

from aegisrt.core.result import ErrorCode, ResultError
from aegisrt.devices.cuda.driver import CudaDriver, driver_error
from tests.fakes.cuda import FakeCuda


def test_no_library_is_unavailable_in_the_loader_s_words(monkeypatch):
    def refuse(name):
        raise OSError(f"{name}: cannot open shared object file: No such file or directory")

    monkeypatch.setattr(ctypes, "CDLL", refuse)
    with pytest.raises(ResultError) as caught:
        CudaDriver()
    error = caught.value.error
    assert error.code is ErrorCode.UNAVAILABLE
    assert "libcuda.so.1: cannot open shared object file" in error.message
    assert "--gpus all" in error.hint


def test_a_driver_that_does_not_start_is_unavailable_in_its_own_words():
    fake = FakeCuda()
    fake.fail["cuInit"] = 100
    with pytest.raises(ResultError) as caught:
        CudaDriver(fake)
    assert caught.value.error.code is ErrorCode.UNAVAILABLE
    assert "no CUDA-capable device is detected" in caught.value.error.message


def test_an_old_driver_is_named_by_the_function_that_it_lacks():
    class Old(FakeCuda):
        def __getattr__(self, name):
            if name == "cuGraphInstantiateWithFlags":
                raise AttributeError(name)
            return super().__getattr__(name)

    with pytest.raises(ResultError, match="no `cuGraphInstantiateWithFlags`"):
        CudaDriver(Old())


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (2, ErrorCode.RESOURCE_EXHAUSTED),
        (100, ErrorCode.UNAVAILABLE),
        (226, ErrorCode.UNAVAILABLE),
        (700, ErrorCode.UNAVAILABLE),
        (721, ErrorCode.UNAVAILABLE),
        (803, ErrorCode.UNAVAILABLE),
        (1, ErrorCode.INTERNAL),
    ],
)
def test_result_codes(code, expected):
    assert driver_error("cuX", code, "words").error.code is expected


def test_a_gpu_that_is_not_there_is_not_found():
    with pytest.raises(ResultError) as caught:
        CudaDriver(FakeCuda(count=2)).name(2)
    assert caught.value.error.code is ErrorCode.NOT_FOUND
    assert "2 are visible" in caught.value.error.message


def test_what_a_device_is():
    driver = CudaDriver(FakeCuda())
    assert driver.version() == "13.0"
    assert driver.name(0) == "NVIDIA Fake"
    assert driver.compute_capability(0) == (9, 0)
    assert driver.memory_bytes(0) == 1 << 30
