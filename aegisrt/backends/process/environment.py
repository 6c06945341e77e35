"""The environment of a process that runs an engine: what Python, engines and compilers read, and nothing else.

A password or a token of the parent is not handed to an engine that may be captured, nor to a compiler.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from fnmatch import fnmatchcase

PASSED_ON = (
    # the system, and where a user's files are
    "PATH", "HOME", "USER", "LOGNAME", "SHELL", "TMPDIR", "TMP", "TEMP", "TZ", "LANG", "LANGUAGE", "LC_*", "XDG_*",
    # Python, the linker and the allocator
    "PYTHON*", "VIRTUAL_ENV", "CONDA_PREFIX", "LD_*", "DYLD_*", "MALLOC_*", "GLIBC_*", "ASAN_*", "UBSAN_*", "TSAN_*",
    # threads and mathematics on the CPU
    "OMP_*", "GOMP_*", "KMP_*", "MKL_*", "OPENBLAS_*", "GOTO_*", "BLIS_*", "VECLIB_*", "NUMEXPR_*", "DNNL_*",
    "ONEDNN_*", "TBB_*", "NPY_*",
    # GPUs and accelerators
    "CUDA_*", "NVIDIA_*", "CUDNN_*", "CUBLAS_*", "CUBLASLT_*", "NCCL_*", "NVRTC_*", "ROCM_*", "ROCR_*", "HIP_*",
    "HSA_*", "MIOPEN_*", "ZE_*", "SYCL_*", "ONEAPI_*",
    # compilers, which builds call
    "CC", "CXX", "CPP", "LD", "AR", "CFLAGS", "CXXFLAGS", "CPPFLAGS", "LDFLAGS", "CPATH", "*_INCLUDE_PATH",
    "LIBRARY_PATH", "COMPILER_PATH", "GCC_*", "NVCC_*", "CCACHE_*", "NIX_*", "CONDA_BUILD_SYSROOT", "SDKROOT",
    # engines, and this package
    "ORT_*", "ONNX_*", "ONNXRUNTIME_*", "TVM_*", "TRT_*", "TENSORRT_*", "OPENVINO_*", "OV_*", "QNN_*", "ADSP_*",
    "AEGISRT_*",
)  # fmt: skip
"""Names, and patterns of names."""


def environment_of_child(named: Iterable[str], search_path: Iterable[str]) -> dict[str, str]:
    """Return the environment of a child; `named` are further variables that it gets."""
    patterns = (*PASSED_ON, *named)
    kept = {name: text for name, text in os.environ.items() if any(fnmatchcase(name, each) for each in patterns)}
    return {**kept, "PYTHONPATH": os.pathsep.join(search_path)}
