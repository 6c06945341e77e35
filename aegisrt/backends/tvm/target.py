"""What code is compiled for: this machine's processor or a GPU, as a TVM target, and whether a target's code runs here.

LLVM names the processor by its model. A hypervisor may hide features that the model has, and code that uses one of
those dies of SIGILL, so the target says which are missing.
"""

from __future__ import annotations

import os
from functools import cache
from typing import Any

from aegisrt.core.result import ErrorCode, fail
from aegisrt.devices.base import Device
from aegisrt.devices.cuda.driver import cuda_driver

_SLOWING = {"prefer-256-bit"}
"""Habits of LLVM that suit code with few vector instructions, which a network's is not."""


_MAX_THREADS, _SHARED_MEMORY, _WARP = 1, 8, 10
"""`CUdevice_attribute`: of a block, of a block, of a warp."""


def target_of(declared: dict[str, Any] | None, device: Device, threads: int | None) -> dict[str, Any]:
    """Return a TVM target's attributes for a device: what was declared, else what it is; imports TVM.

    INVALID_ARGUMENT for a declared target of another kind of device; of a GPU, what `cuda_driver` raises.
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
    """Return a TVM target's attributes: what was declared, else this machine's processor; imports TVM."""
    if declared is not None:
        return _plain(declared)
    processor = _ask("target.llvm_get_system_cpu")
    target: dict[str, Any] = {"kind": "llvm", "mcpu": processor, "num-cores": threads or usable_cores()}
    here, assumed = _features_here(), _features_of(processor, ())
    off = {name for name in assumed if not here.get(name, True)} | (assumed & _SLOWING)
    return {**target, "mattr": [f"-{name}" for name in sorted(off)]} if off else target


def check_runs_here(target: dict[str, Any], device: Device, what: str) -> None:
    """Return None where code for `target` runs on the device and on this processor; else raise FAILED_PRECONDITION."""
    built_for, here = ("a GPU" if target.get("kind") == "cuda" else "a CPU"), device.kind
    if (built_for == "a GPU") != (here == "cuda"):
        message = f"{what} was compiled for {built_for}, and the model runs on device `{device.name}`"
        raise fail(ErrorCode.FAILED_PRECONDITION, message, "build it for this device, or load it on the other one")
    if here == "cuda":
        _check_gpu(target, device, what)
    _check_processor(target.get("host", {}) if here == "cuda" else target, what)


def _check_gpu(target: dict[str, Any], device: Device, what: str) -> None:
    """Machine code for one compute capability runs on those of the same major number and no lower minor one.

    https://docs.nvidia.com/cuda/cuda-programming-guide/01-introduction/cuda-platform.html#binary-compatibility
    """
    major, minor = cuda_driver().compute_capability(device.ordinal)
    digits = str(target.get("arch", "")).removeprefix("sm_").rstrip("af")
    if not digits.isdecimal():
        return
    built = int(digits[:-1] or 0), int(digits[-1])
    if built[0] != major or built[1] > minor:
        told = f"{built[0]}.{built[1]}, and device `{device.name}` has {major}.{minor}"
        message = f"{what} was compiled for compute capability {told}"
        raise fail(ErrorCode.FAILED_PRECONDITION, message, "build it on this machine: `aegisrt build`")


def _check_processor(target: dict[str, Any], what: str) -> None:
    here = _features_here()
    needed = _features_of(target.get("mcpu", ""), tuple(target.get("mattr", ())))
    missing = sorted(name for name in needed if not here.get(name, True))
    if missing:
        told = ", ".join(missing[:5])
        message = f"{what} was compiled for `{target.get('mcpu')}`, and this processor has no {told}"
        raise fail(ErrorCode.FAILED_PRECONDITION, message, "build it on this machine, or with a `target` for both")


def usable_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@cache
def _features_here() -> dict[str, bool]:
    """Return which features LLVM knows of and whether this processor has them; one that it does not tell is there."""
    return {str(name): bool(value) for name, value in _ask("tvm.codegen.llvm.GetHostCPUFeatures").items()}


@cache
def _features_of(processor: str, attributes: tuple[str, ...]) -> frozenset[str]:
    if not processor:
        return frozenset()
    from tvm.target import Target

    plain = {"kind": "llvm", "mcpu": processor, "mattr": list(attributes)}
    return frozenset(str(name) for name in _ask("target.llvm_get_cpu_features", Target(plain)))


def _ask(function: str, *arguments: Any) -> Any:
    import tvm  # noqa: F401  (it registers the functions)
    import tvm_ffi

    return tvm_ffi.get_global_func(function)(*arguments)
