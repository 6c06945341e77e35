"""Checks of ONNX Runtime, TVM and TensorRT: the installed packages, conflicts between them, and whether they work."""

from __future__ import annotations

import re
from collections.abc import Iterator

from aegisrt.doctor.check import DoctorCheck, Status
from aegisrt.doctor.environment import MachineFacts

_ORT_CPU = "pip install 'aegisrt-runtime[onnx]'"
_ORT_GPU = "pip uninstall -y onnxruntime onnxruntime-gpu && pip install --no-cache-dir 'aegisrt-runtime[onnx-gpu]'"
_ORT_OLDEST = (1, 26)
_TVM_FFI = "0.1.14.post0"
_TRT_OLDEST = (8, 6)
_LIBRARY_PACKAGES = (
    (r"libcudnn\w*\.so\.8", "nvidia-cudnn-cu12<9"), (r"libcudnn", "nvidia-cudnn-cu13"),
    (r"libcublas\w*\.so\.12", "nvidia-cublas-cu12"), (r"libcublas", "nvidia-cublas"),
    (r"libcudart\.so\.12", "nvidia-cuda-runtime-cu12"), (r"libcudart", "nvidia-cuda-runtime"),
    (r"libcufft\w*\.so\.11", "nvidia-cufft-cu12"), (r"libcufft", "nvidia-cufft"), (r"libcurand", "nvidia-curand"),
    (r"libnvrtc\.so\.12", "nvidia-cuda-nvrtc-cu12"), (r"libnvrtc", "nvidia-cuda-nvrtc"),
    (r"libnvinfer", "tensorrt_cu13_libs==10.*"), (r"libnvonnxparser", "tensorrt_cu13_libs==10.*"),
)  # fmt: skip
"""The first pattern that the start of a name matches; packages of CUDA 12 have a suffix."""
_TRT_PAIRS = tuple(
    (f"{family}_{cuda}_bindings", f"{family}_{cuda}_libs")
    for family in ("tensorrt", "tensorrt_rtx")
    for cuda in ("cu12", "cu13")
)
_RTX_CAPABILITIES = ("7.5", "8.0", "8.6", "8.9", "12.0", "12.1")


def onnxruntime(env: MachineFacts) -> Iterator[DoctorCheck]:
    """Yield the installed ONNX Runtime; two of them overwrite each other's files."""
    plain, gpu = env.packages.get("onnxruntime"), env.packages.get("onnxruntime-gpu")
    if plain and gpu:
        detail = (
            f"onnxruntime {plain} and onnxruntime-gpu {gpu} are both installed in one folder, so one is overwritten"
        )
        yield DoctorCheck("onnxruntime", "fail", detail, _ORT_GPU)
        return
    version = plain or gpu
    if version is None:
        yield DoctorCheck("onnxruntime", "warn", "ONNX Runtime is not installed", _ORT_CPU)
    elif "onnx" in env.broken:
        fix = f"pip install --force-reinstall --no-cache-dir onnxruntime{'-gpu' if gpu else ''}"
        yield DoctorCheck("onnxruntime", "fail", f"onnxruntime {version} does not import: {env.broken['onnx']}", fix)
    elif _numbers(version) < _ORT_OLDEST:
        fix = f"pip install --upgrade onnxruntime{'-gpu' if gpu else ''}"
        yield DoctorCheck("onnxruntime", "fail", f"onnxruntime {version} is older than 1.26", fix)
    elif env.has_gpu and plain:
        yield DoctorCheck(
            "onnxruntime", "warn", f"onnxruntime {version} runs only on the CPU, and this machine has a GPU", _ORT_GPU
        )
    else:
        yield DoctorCheck(
            "onnxruntime", "ok", f"onnxruntime{'-gpu' if gpu else ''} {version}: {', '.join(env.providers)}"
        )


def onnxruntime_libraries(env: MachineFacts) -> Iterator[DoctorCheck]:
    """Yield the missing libraries of ONNX Runtime's GPU providers: without them it falls back to the CPU silently."""
    for provider, missing in env.provider_misses.items():
        absent = [name for name in missing if name != "libcuda.so.1"]
        if not absent:
            yield DoctorCheck(f"onnxruntime-{_short(provider)}", "ok", f"all libraries of `{provider}` are found")
            continue
        tensorrt = provider == "TensorrtExecutionProvider"
        detail = f"`{provider}` lacks {', '.join(absent)}"
        detail += "; backend `tensorrt` does not need it" if tensorrt else ""
        status: Status = "fail" if env.has_gpu and not tensorrt else "warn"
        yield DoctorCheck(f"onnxruntime-{_short(provider)}", status, detail, _install(absent))


def tvm(env: MachineFacts) -> Iterator[DoctorCheck]:
    """Yield whether TVM has the FFI package that it needs, and a C++ compiler."""
    version, ffi = env.packages.get("apache-tvm"), env.packages.get("apache-tvm-ffi")
    if version is None:
        return
    if ffi != _TVM_FFI:
        detail = f"apache-tvm {version} crashes or does not import with apache-tvm-ffi {ffi}"
        yield DoctorCheck("tvm", "fail", detail, f"pip install 'apache-tvm-ffi=={_TVM_FFI}'")
    elif "tvm" in env.broken:
        detail = f"apache-tvm {version} does not import: {env.broken['tvm']}"
        yield DoctorCheck("tvm", "fail", detail, "pip install --force-reinstall --no-cache-dir 'aegisrt-runtime[tvm]'")
    else:
        yield DoctorCheck("tvm", "ok", f"apache-tvm {version}, apache-tvm-ffi {ffi}")
    if "c++" not in env.tools:
        yield DoctorCheck(
            "compiler", "fail", "there is no C++ compiler, and TVM needs one to link", "apt-get install -y g++"
        )


def onnx_package(env: MachineFacts) -> Iterator[DoctorCheck]:
    """Yield whether the package `onnx` is installed for the engines that read models with it."""
    wants = [name for name in ("apache-tvm", "tensorrt", "tensorrt_cu13_bindings", "tensorrt_rtx_cu13_bindings")
             if name in env.packages]  # fmt: skip
    if wants and "onnx" not in env.packages:
        yield DoctorCheck(
            "onnx-package", "fail", f"{', '.join(wants)} need the package `onnx` to build", "pip install onnx"
        )
    if "ml_dtypes" not in env.packages and (
        wants or "onnxruntime" in env.packages or "onnxruntime-gpu" in env.packages
    ):
        yield DoctorCheck("ml-dtypes", "warn", "without ml_dtypes, BF16 tensors are refused", "pip install ml_dtypes")


def tensorrt(env: MachineFacts) -> Iterator[DoctorCheck]:
    """Yield the installed distributions of TensorRT, and whether each is complete."""
    for bindings, libraries in _TRT_PAIRS:
        version, own = env.packages.get(bindings), env.packages.get(libraries)
        name = bindings.partition("_cu")[0]
        if version and own and version != own:
            detail = f"{bindings} {version} is installed with {libraries} {own}, and their versions must be equal"
            yield DoctorCheck("tensorrt-versions", "fail", detail, f"pip install '{libraries}=={version}'")
        elif version and own is None and name not in env.packages:
            fix = f"pip install '{libraries}=={version}'"
            yield DoctorCheck(
                "tensorrt-libraries", "fail", f"{bindings} {version} is installed without {libraries}", fix
            )
    found = [f"{name} {env.packages[name]}" for name in env.packages if _is_distribution(name)]
    if "tensorrt" in env.broken:
        fix = env.repairs.get("tensorrt", "pip install --force-reinstall --no-cache-dir 'aegisrt-runtime[tensorrt]'")
        yield DoctorCheck("tensorrt", "fail", f"TensorRT does not import: {env.broken['tensorrt']}", fix)
    elif found:
        yield from _distributions(env, found)


def _distributions(env: MachineFacts, found: list[str]) -> Iterator[DoctorCheck]:
    full = env.packages.get("tensorrt") or env.packages.get("tensorrt_cu13_bindings")
    if full is not None and _numbers(full) < _TRT_OLDEST:
        fix = "pip install --upgrade 'aegisrt-runtime[tensorrt]'"
        yield DoctorCheck("tensorrt", "fail", f"tensorrt {full} is older than 8.6", fix)
        return
    yield DoctorCheck("tensorrt", "ok", ", ".join(found))
    strange = [gpu.compute_capability for gpu in env.gpus if gpu.compute_capability not in _RTX_CAPABILITIES]
    if full is None and any("rtx" in name for name in found) and strange:
        detail = f"TensorRT for RTX does not run on compute capability {strange[0]}"
        yield DoctorCheck("tensorrt-gpu", "fail", detail, "pip install 'aegisrt-runtime[tensorrt]'")


def _is_distribution(name: str) -> bool:
    return name.startswith("tensorrt") and not name.endswith("_libs")


def _short(provider: str) -> str:
    return provider.removesuffix("ExecutionProvider").lower()


def _install(libraries: list[str]) -> str:
    packages = []
    for name in libraries:
        packages += [package for pattern, package in _LIBRARY_PACKAGES if re.match(pattern, name)][:1]
    quoted = [f"'{name}'" if set(name) & set("=<") else name for name in dict.fromkeys(packages)]
    return f"pip install {' '.join(quoted)}" if quoted else f"install {', '.join(libraries)}, or extend LD_LIBRARY_PATH"


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2] if part.isdecimal())
