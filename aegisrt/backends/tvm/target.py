"""`target_of`: the TVM target of this machine's processor or GPU; `check_runs_here`: whether a target's code runs here.

LLVM names the processor by its model. A hypervisor may hide features that the model has, and code that uses one of
those dies of SIGILL, so the target lists the missing ones.
"""

from __future__ import annotations

import os
from functools import cache
from typing import Any

from aegisrt.core.result import ErrorCode, fail
from aegisrt.devices.base import Device
from aegisrt.devices.cuda.driver import cuda_driver

_SLOWING = {"prefer-256-bit"}
"""Preferences of LLVM that suit code with few vector instructions; a network's code has many."""


_MAX_THREADS, _SHARED_MEMORY, _WARP = 1, 8, 10
"""Numbers of `CUdevice_attribute`: threads of a block, shared memory of a block, threads of a warp."""


def target_of(declared: dict[str, Any] | None, device: Device, threads: int | None) -> dict[str, Any]:
    """Return a TVM target's attributes for a device: the declared ones, else those of the device; imports TVM.

    INVALID_ARGUMENT: if the declared target is for another kind of device.
    For a GPU, also the errors of `cuda_driver`.
    """
    kind = "cuda" if device.kind == "cuda" else "llvm"
    if declared is not None and declared["kind"] != kind:
        message = f"`target` is of kind `{declared['kind']}`, and the model runs on device `{device.name}`"
        raise fail(ErrorCode.INVALID_ARGUMENT, message, f"leave `target` out, or write `kind: {kind}`")
    if kind == "llvm":
        return cpu_target(declared, threads)
    return {"host": cpu_target(None, 1), **(_plain(declared) if declared else _gpu(device.ordinal))}


def _gpu(ordinal: int) -> dict[str, Any]:
    driver = cuda_driver()
    major, minor = driver.compute_capability(ordinal)
    return {
        "kind": "cuda",
        "arch": f"sm_{major}{minor}",
        "max_threads_per_block": driver.attribute(ordinal, _MAX_THREADS),
        "max_shared_memory_per_block": driver.attribute(ordinal, _SHARED_MEMORY),
        "thread_warp_size": driver.attribute(ordinal, _WARP),
    }


def _plain(declared: dict[str, Any]) -> dict[str, Any]:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in declared.items()}


def cpu_target(declared: dict[str, Any] | None, threads: int | None) -> dict[str, Any]:
    """Return a TVM target's attributes: the declared ones, else those of this machine's processor; imports TVM."""
    if declared is not None:
        return _plain(declared)
    processor = _call("target.llvm_get_system_cpu")
    target: dict[str, Any] = {"kind": "llvm", "mcpu": processor, "num-cores": threads or usable_cores()}
    here, assumed = _features_here(), _features_of(processor, ())
    off = {name for name in assumed if not here.get(name, True)} | (assumed & _SLOWING)
    return {**target, "mattr": [f"-{name}" for name in sorted(off)]} if off else target


def check_runs_here(target: dict[str, Any], device: Device, what: str) -> None:
    """Return None if code for `target` runs on the device and on this processor.

    FAILED_PRECONDITION: if it does not.
    """
    built_for, here = ("a GPU" if target.get("kind") == "cuda" else "a CPU"), device.kind
    if (built_for == "a GPU") != (here == "cuda"):
        message = f"{what} was compiled for {built_for}, and the model runs on device `{device.name}`"
        raise fail(ErrorCode.FAILED_PRECONDITION, message, "build it for this device, or load it on the other one")
    if here == "cuda":
        _check_gpu(target, device, what)
    _check_processor(target.get("host", {}) if here == "cuda" else target, what)


def _check_gpu(target: dict[str, Any], device: Device, what: str) -> None:
    """Machine code for a compute capability runs on GPUs with the same major and the same or a higher minor number.

    https://docs.nvidia.com/cuda/cuda-programming-guide/01-introduction/cuda-platform.html#binary-compatibility
    """
    major, minor = cuda_driver().compute_capability(device.ordinal)
    digits = str(target.get("arch", "")).removeprefix("sm_").rstrip("af")
    if not digits.isdecimal():
        return
    built = int(digits[:-1] or 0), int(digits[-1])
    if built[0] != major or built[1] > minor:
        difference = f"{built[0]}.{built[1]}, and device `{device.name}` has {major}.{minor}"
        message = f"{what} was compiled for compute capability {difference}"
        raise fail(ErrorCode.FAILED_PRECONDITION, message, "build it on this machine: `aegisrt build`")


def _check_processor(target: dict[str, Any], what: str) -> None:
    here = _features_here()
    needed = _features_of(target.get("mcpu", ""), tuple(target.get("mattr", ())))
    missing = sorted(name for name in needed if not here.get(name, True))
    if missing:
        features = ", ".join(missing[:5])
        message = f"{what} was compiled for `{target.get('mcpu')}`, and this processor has no {features}"
        raise fail(ErrorCode.FAILED_PRECONDITION, message, "build it on this machine, or with a `target` for both")


def usable_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@cache
def _features_here() -> dict[str, bool]:
    """Return whether this processor has each feature that LLVM lists; one that is not listed counts as present."""
    return {str(name): bool(value) for name, value in _call("tvm.codegen.llvm.GetHostCPUFeatures").items()}


@cache
def _features_of(processor: str, attributes: tuple[str, ...]) -> frozenset[str]:
    if not processor:
        return frozenset()
    from tvm.target import Target

    plain = {"kind": "llvm", "mcpu": processor, "mattr": list(attributes)}
    return frozenset(str(name) for name in _call("target.llvm_get_cpu_features", Target(plain)))


def _call(function: str, *arguments: Any) -> Any:
    import tvm  # noqa: F401  (it registers the functions)
    import tvm_ffi

    return tvm_ffi.get_global_func(function)(*arguments)
