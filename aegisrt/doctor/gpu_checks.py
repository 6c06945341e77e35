"""Checks of the driver, the GPUs, and the packages that use them from Python."""

from __future__ import annotations

from collections.abc import Iterator

from aegisrt.backends.base.installation import DoctorCheck
from aegisrt.core.optional import release
from aegisrt.doctor.environment import MachineFacts

_PYCUDA = "CUDA_ROOT=/usr/local/cuda pip install 'aegisrt-runtime[cuda]'"
_TOOLKIT = "cuda-toolkit-13-0"


def driver(env: MachineFacts) -> Iterator[DoctorCheck]:
    """Yield the state of the NVIDIA driver; a machine without one can still run models on the CPU."""
    error = env.driver_error
    if error is None:
        yield DoctorCheck("driver", "ok", f"NVIDIA driver {env.driver or '?'}, up to CUDA {env.driver_cuda}")
    elif env.driver is None and error.cause and "libcuda.so.1" in error.cause:
        yield DoctorCheck("driver", "warn", f"{error.message}; models run only on the CPU", error.hint)
    else:
        detail = f"the NVIDIA driver {env.driver} is loaded but does not work: " if env.driver else ""
        yield DoctorCheck("driver", "fail", f"{detail}{error.message}", error.hint)


def gpus(env: MachineFacts) -> Iterator[DoctorCheck]:
    """Yield each GPU, or the reason why a working driver lists none."""
    if env.driver_error is not None:
        return
    if not env.gpus and env.visible_devices is not None:
        detail = f"the driver works, but CUDA_VISIBLE_DEVICES={env.visible_devices!r} hides every GPU"
        yield DoctorCheck("gpu", "fail", detail, "unset CUDA_VISIBLE_DEVICES")
    elif not env.gpus:
        yield DoctorCheck("gpu", "fail", "the driver works, but lists no GPU", "nvidia-smi; in a container: --gpus all")
    for gpu in env.gpus:
        if gpu.available:
            memory = f"{(gpu.memory_bytes or 0) / 2**30:.0f} GiB"
            yield DoctorCheck(
                "gpu", "ok", f"{gpu.id}: {gpu.name}, {memory}, compute capability {gpu.compute_capability}"
            )
        else:
            yield DoctorCheck("gpu", "fail", f"{gpu.id}: {gpu.reason}", "nvidia-smi; a GPU that is lost needs a reset")


def device_files(env: MachineFacts) -> Iterator[DoctorCheck]:
    """Yield the device files of GPUs that this user may not open."""
    if env.refused_devices:
        names = ", ".join(env.refused_devices)
        fix = f"sudo chmod a+rw {' '.join(env.refused_devices)}"
        yield DoctorCheck("device-files", "fail", f"this user may not open {names}", fix)


def cuda_version(env: MachineFacts) -> Iterator[DoctorCheck]:
    """Yield whether the driver supports the CUDA version that the engines are built for."""
    if env.driver_cuda is None:
        return
    built_for = {name: major for engine in env.engines.values() for name, major in engine.cuda_packages.items()}
    wants = [name for name in built_for if name in env.packages and release(env.driver_cuda) < (built_for[name],)]
    if wants:
        newest = max(built_for[name] for name in wants)
        detail = f"{', '.join(wants)} need CUDA {newest}, and the driver supports up to {env.driver_cuda}"
        yield DoctorCheck("cuda-version", "fail", detail, "update the NVIDIA driver to 580 or later")


def pycuda(env: MachineFacts) -> Iterator[DoctorCheck]:
    """Yield whether pycuda, which streams and device memory need, is installed and imports."""
    version = env.packages.get("pycuda")
    if version is None:
        if env.has_gpu:
            toolkit = "nvcc" in env.tools
            fix = _PYCUDA if toolkit else f"apt-get install -y {_TOOLKIT} && {_PYCUDA}"
            yield DoctorCheck("pycuda", "fail", "pycuda is not installed, and backends on `cuda` devices need it", fix)
    elif env.pycuda_error and env.driver_error is None:
        detail = f"pycuda {version} does not import: {env.pycuda_error}"
        yield DoctorCheck(
            "pycuda", "fail", detail, "pip install --force-reinstall --no-cache-dir --no-binary pycuda pycuda"
        )
    elif env.driver_error is None:
        yield DoctorCheck("pycuda", "ok", f"pycuda {version}")
    else:
        yield DoctorCheck("pycuda", "warn", f"pycuda {version} is installed, but needs a driver", "see `driver`")
