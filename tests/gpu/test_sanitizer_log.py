"""The reader of compute-sanitizer's log, on texts in its format; needs no GPU."""

import pytest

from tests.gpu.sanitizer_log import findings, finished

CLEAN = "========= COMPUTE-SANITIZER\n========= ERROR SUMMARY: 0 errors\n"
CALL = """\
========= COMPUTE-SANITIZER
========= Program hit CUDA_ERROR_INVALID_VALUE (error 1) due to "invalid argument" on CUDA API call to {function}.
=========     Saved host backtrace up to driver entry point at error
=========         Host Frame: {function} [0x2b5f3a] in libcuda.so.1
=========         Host Frame: {caller}
=========         Host Frame: _PyEval_EvalFrameDefault [0x1c2d3] in python3.12
=========
========= ERROR SUMMARY: 1 error
"""
KERNEL = """\
========= COMPUTE-SANITIZER
========= Invalid __global__ write of size 4 bytes
=========     at void onnxruntime::cuda::_UnaryElementWise<float>(const float *, float *, int)+0x160
=========     by thread (0,0,0) in block (0,0,0)
=========     Access to 0x7f1200000400 is out of bounds
=========     Saved host backtrace up to driver entry point at kernel launch time
=========         Host Frame: cuLaunchKernel in launch.cu:6 [0x2a1e5c] in libcuda.so.1
=========         Host Frame: onnxruntime::cuda::Impl [0x99] in libonnxruntime_providers_cuda.so
=========
========= ERROR SUMMARY: 1 error
"""


def call(caller, function="cuMemcpyHtoDAsync_v2"):
    return CALL.format(function=function, caller=caller)


def test_nothing_found():
    assert findings(CLEAN) == []
    assert finished(CLEAN)


def test_a_log_that_ends_early_is_not_finished():
    assert not finished("========= COMPUTE-SANITIZER\n========= Error: process didn't terminate successfully\n")
    assert findings("========= Error: process didn't terminate successfully\n") == []


@pytest.mark.parametrize(
    "caller",
    [
        "ffi_call_unix64 [0x7c1a] in libffi.so.8",
        "[0x1234] in /usr/lib/python3.12/lib-dynload/_ctypes.cpython-312-x86_64-linux-gnu.so",
        "pycuda::mem_alloc(unsigned long) [0x5d1] in _driver.cpython-312-x86_64-linux-gnu.so",
    ],
)
def test_a_call_through_ctypes_or_pycuda_is_ours(caller):
    (found,) = findings(call(caller))
    assert found.is_ours
    assert found.text.startswith("Program hit CUDA_ERROR_INVALID_VALUE")


def test_a_call_of_a_library_is_theirs():
    (found,) = findings(call("cudnn::Init() [0x99] in libcudnn_graph.so.9", "cuGetProcAddress_v2"))
    assert found.caller == "libcudnn_graph.so.9"
    assert not found.is_ours


def test_a_kernel_that_leaves_its_memory_is_ours_until_proven_otherwise():
    (found,) = findings(KERNEL)
    assert (found.is_ours, found.caller) == (True, "libonnxruntime_providers_cuda.so")


def test_each_of_several_is_told():
    log = call("ffi_call_unix64 [0x7c1a] in libffi.so.8") + KERNEL
    assert [finding.is_memory for finding in findings(log)] == [False, True]
