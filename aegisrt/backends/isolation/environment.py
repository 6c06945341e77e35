"""The environment of an isolated process: what Python and the engines read, and nothing else of the parent's.

A password or a token of the parent is not handed to an engine that may be captured.
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
    # engines, and this package
    "ORT_*", "ONNX_*", "ONNXRUNTIME_*", "TVM_*", "TRT_*", "TENSORRT_*", "OPENVINO_*", "OV_*", "QNN_*", "ADSP_*",
    "AEGISRT_*",
)  # fmt: skip
"""Names, and the beginnings of names."""


def environment_of_child(named: Iterable[str], search_path: Iterable[str]) -> dict[str, str]:
    """Return the environment of an isolated process; `named` are further variables that it gets."""
    patterns = (*PASSED_ON, *named)
    kept = {name: text for name, text in os.environ.items() if any(fnmatchcase(name, each) for each in patterns)}
    return {**kept, "PYTHONPATH": os.pathsep.join(search_path)}
