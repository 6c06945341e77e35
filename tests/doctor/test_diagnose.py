"""Seeded broken environments: each is diagnosed, with the command that mends it, and nothing else is blamed."""

from dataclasses import replace

import pytest

from aegisrt.backends.onnx.installation import OrtFacts
from aegisrt.core.result import Error, ErrorCode
from aegisrt.devices.cuda.driver import driver_error
from aegisrt.devices.discover import DiscoveredDevice
from aegisrt.doctor.diagnose import diagnose
from aegisrt.doctor.engines import known_engines
from aegisrt.doctor.environment import CacheFacts, MachineFacts

KNOWN, _ = known_engines()
BASE = {
    "aegisrt-runtime": "0.1.0", "numpy": "2.4.6", "pydantic": "2.14.3", "hydra-core": "1.3.8", "omegaconf": "2.3.1",
    "onnx": "1.23.2", "ml_dtypes": "0.6.0", "packaging": "26.4", "pyyaml": "6.0.3", "rich": "14.2.0",
    "filelock": "3.20.3", "platformdirs": "4.5.0", "typing-extensions": "4.15.0",
}  # fmt: skip
ENGINES = {
    "onnxruntime-gpu": "1.31.1", "apache-tvm": "0.27.0.post1", "apache-tvm-ffi": "0.1.14.post0",
    "tensorrt": "11.4.0.106", "tensorrt_cu13_bindings": "11.4.0.106", "tensorrt_cu13_libs": "11.4.0.106",
    "pycuda": "2026.1",
}  # fmt: skip
H200 = DiscoveredDevice("cuda:0", "cuda", "NVIDIA H200", "9.0", 2**37, driver="580.95.05, CUDA 13.0")
GPU = MachineFacts(
    packages=BASE | ENGINES,
    driver="580.95.05",
    driver_cuda="13.0",
    gpus=(H200,),
    engines=KNOWN,
    facts={"onnx": OrtFacts(("CUDAExecutionProvider", "CPUExecutionProvider"), {"CUDAExecutionProvider": ()})},
    tools={"c++": "/usr/bin/g++", "nvcc": "/usr/local/cuda/bin/nvcc"},
    cache=CacheFacts("/home/me/.cache/aegisrt"),
)
NO_DRIVER = Error(
    ErrorCode.UNAVAILABLE,
    "there is no NVIDIA driver: libcuda.so.1: cannot open",
    "install it",
    cause="libcuda.so.1: no",
)
CPU = MachineFacts(
    packages=BASE | {"onnxruntime": "1.31.1"},
    driver_error=NO_DRIVER,
    engines=KNOWN,
    facts={"onnx": OrtFacts(("CPUExecutionProvider",))},
    cache=CacheFacts("/home/me/.cache/aegisrt"),
)


def missing(libraries):
    return {"onnx": OrtFacts(tuple(libraries), libraries)}


def with_packages(env, *without, **versions):
    kept = {name: version for name, version in env.packages.items() if name not in without}
    return replace(env, packages=kept | {name.replace("__", "-"): version for name, version in versions.items()})


def failed_driver(code, text):
    error = driver_error("cuInit", code, text).error
    return replace(GPU, driver_cuda=None, driver_error=error, gpus=())


BROKEN = {
    "onnxruntime beside onnxruntime-gpu": (
        with_packages(GPU, onnxruntime="1.31.1"), "onnxruntime", "pip uninstall -y onnxruntime onnxruntime-gpu",
    ),
    "onnxruntime that does not import": (
        replace(CPU, broken={"onnx": "numpy.core.multiarray failed to import"}), "onnxruntime", "--force-reinstall",
    ),
    "onnxruntime too old": (with_packages(CPU, onnxruntime="1.20.1"), "onnxruntime", "--upgrade onnxruntime"),
    "cuDNN missing": (
        replace(GPU, facts=missing({"CUDAExecutionProvider": ("libcudnn.so.9",)})), "onnxruntime-cuda",
        "pip install nvidia-cudnn-cu13",
    ),
    "cuBLAS and cudart missing": (
        replace(GPU, facts=missing({"CUDAExecutionProvider": ("libcublas.so.13", "libcudart.so.13")})),
        "onnxruntime-cuda", "pip install nvidia-cublas nvidia-cuda-runtime",
    ),
    "driver module and library differ": (
        failed_driver(803, "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH"), "driver", "reboot",
    ),
    "fabric manager not running": (
        failed_driver(802, "CUDA_ERROR_SYSTEM_NOT_READY"), "driver", "systemctl start nvidia-fabricmanager",
    ),
    "driver loaded, container without the library": (
        replace(GPU, driver_cuda=None, driver_error=replace(NO_DRIVER, hint="run it with `--gpus all`"), gpus=()),
        "driver", "--gpus all",
    ),
    "driver too old for CUDA 13": (replace(GPU, driver_cuda="12.4"), "cuda-version", "update the NVIDIA driver"),
    "GPUs hidden": (replace(GPU, gpus=(), visible_devices=""), "gpu", "unset CUDA_VISIBLE_DEVICES"),
    "no GPU in the machine": (replace(GPU, gpus=()), "gpu", "nvidia-smi"),
    "GPU lost": (replace(GPU, gpus=(replace(H200, available=False, reason="off the bus"),)), "gpu", "nvidia-smi"),
    "device files closed": (
        replace(GPU, refused_devices=("/dev/nvidia0", "/dev/nvidiactl")), "device-files",
        "chmod a+rw /dev/nvidia0 /dev/nvidiactl",
    ),
    "pycuda missing": (
        with_packages(GPU, "pycuda"), "pycuda", "CUDA_ROOT=/usr/local/cuda pip install 'aegisrt-runtime[cuda]'",
    ),
    "pycuda missing, and no toolkit to build it with": (
        replace(with_packages(GPU, "pycuda"), tools={"c++": "/usr/bin/g++"}), "pycuda", "apt-get install -y cuda",
    ),
    "pycuda built for another Python": (
        replace(GPU, pycuda_error="undefined symbol: _Py_X"), "pycuda", "--no-binary pycuda pycuda",
    ),
    "tvm with an ffi that crashes": (
        with_packages(GPU, **{"apache-tvm-ffi": "0.1.15.post2"}), "tvm", "apache-tvm-ffi==0.1.14.post0",
    ),
    "tvm that does not import": (replace(GPU, broken={"tvm": "libtvm.so"}), "tvm", "'aegisrt-runtime[tvm]'"),
    "no compiler": (replace(GPU, tools={"nvcc": "/usr/local/cuda/bin/nvcc"}), "compiler", "apt-get install -y g++"),
    "onnx missing": (with_packages(GPU, "onnx"), "onnx-package", "pip install onnx"),
    "tensorrt that does not import": (
        replace(GPU, broken={"tensorrt": "libnvinfer.so.11: cannot open"}), "tensorrt", "'aegisrt-runtime[tensorrt]'",
    ),
    "tensorrt without cuDNN, which its backend names": (
        replace(
            GPU, broken={"tensorrt": "libcudnn.so.8: cannot open"},
            repairs={"tensorrt": "pip install nvidia-cublas-cu12 'nvidia-cudnn-cu12<9'"},
        ),
        "tensorrt", "pip install nvidia-cublas-cu12 'nvidia-cudnn-cu12<9'",
    ),
    "cuBLAS of CUDA 12 missing": (
        replace(GPU, facts=missing({"CUDAExecutionProvider": ("libcublasLt.so.12", "libcublas.so.12")})),
        "onnxruntime-cuda", "pip install nvidia-cublas-cu12",
    ),
    "tensorrt bindings and libraries of two versions": (
        with_packages(GPU, tensorrt_cu13_libs="10.16.1.11"), "tensorrt-versions", "'tensorrt_cu13_libs==11.4.0.106'",
    ),
    "tensorrt_rtx bindings without libraries": (
        with_packages(CPU, tensorrt_rtx_cu13_bindings="1.7.1.116"), "tensorrt-libraries",
        "'tensorrt_rtx_cu13_libs==1.7.1.116'",
    ),
    "tensorrt too old": (
        with_packages(GPU, "tensorrt_cu13_bindings", "tensorrt_cu13_libs", tensorrt="8.5.3.1"), "tensorrt", "--upgrade",
    ),
    "only tensorrt_rtx, on a data centre GPU": (
        with_packages(
            GPU, "tensorrt", "tensorrt_cu13_bindings", "tensorrt_cu13_libs",
            tensorrt_rtx_cu13_bindings="1.7.1.116", tensorrt_rtx_cu13_libs="1.7.1.116",
        ),
        "tensorrt-gpu", "pip install 'aegisrt-runtime[tensorrt]'",
    ),
    "another project's `aegisrt`": (
        with_packages(CPU, aegisrt="0.1.0"), "distribution",
        "pip uninstall -y aegisrt && pip install --force-reinstall --no-deps aegisrt-runtime",
    ),
    "hydra too new": (with_packages(CPU, **{"hydra-core": "1.4.0"}), "packages", "hydra-core>=1.3.2,<1.4"),
    "omegaconf missing": (with_packages(CPU, "omegaconf"), "packages", "omegaconf>=2.3,<2.4"),
    "cache not writable": (replace(CPU, cache=CacheFacts("/c", writable=False)), "cache", "chown"),
    "cache is a file": (
        replace(CPU, cache=CacheFacts("/f/c", writable=False, in_the_way="/f")), "cache", "export AEGISRT_CACHE_DIR="
    ),
    "cache open to others": (
        replace(CPU, cache=CacheFacts("/c", unsafe=("/c is open", "chmod go-w /c"))), "cache", "chmod go-w /c"
    ),
    "disk full": (replace(CPU, cache=CacheFacts("/c", free_bytes=10**6)), "disk", "aegisrt artifacts prune"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_environment_is_diagnosed_and_nothing_else_is_blamed(name):
    env, id_, fix = BROKEN[name]
    failed = [check for check in diagnose(env) if check.status == "fail"]
    assert [check.id for check in failed] == [id_], failed
    assert fix in failed[0].fix


@pytest.mark.parametrize("env", [GPU, CPU], ids=["gpu", "cpu"])
def test_a_healthy_machine_fails_nothing(env):
    assert [check for check in diagnose(env) if check.status == "fail"] == []


def test_every_problem_has_what_to_do():
    for env, _, _ in BROKEN.values():
        assert all(check.fix for check in diagnose(env) if check.status != "ok")


def test_warnings_of_a_cpu_machine_and_of_a_gpu_left_unused():
    assert [check.id for check in diagnose(CPU) if check.status == "warn"] == ["driver"]
    unused = with_packages(GPU, "onnxruntime-gpu", onnxruntime="1.31.1")
    assert [check.id for check in diagnose(replace(unused, facts=missing({}))) if check.status == "warn"] == [
        "onnxruntime"
    ]


def test_a_missing_tensorrt_provider_is_no_failure():
    env = replace(GPU, facts=missing({"TensorrtExecutionProvider": ("libnvinfer.so.10",)}))
    found = next(check for check in diagnose(env) if check.id == "onnxruntime-tensorrt")
    assert found.status == "warn"
    assert "tensorrt_cu13_libs==10.*" in found.fix


def test_two_problems_are_both_reported():
    env = replace(with_packages(GPU, onnxruntime="1.31.1"), cache=CacheFacts("/c", writable=False))
    assert [check.id for check in diagnose(env) if check.status == "fail"] == ["onnxruntime", "cache"]
