"""What code is compiled for: this machine's processor, as a TVM target, and whether a target's code can run here.

LLVM names the processor by its model. A hypervisor may hide features that the model has, and code that uses one of
those dies of SIGILL, so the target says which are missing.
"""

from __future__ import annotations

import os
from functools import cache
from typing import Any

from aegisrt.core.result import ErrorCode, fail

_SLOWING = {"prefer-256-bit"}
"""Habits of LLVM that suit code with few vector instructions, which a network's is not."""


def cpu_target(declared: dict[str, Any] | None, threads: int | None) -> dict[str, Any]:
    """Return a TVM target's attributes: what was declared, else this machine's processor; imports TVM."""
    if declared is not None:
        return {name: list(value) if isinstance(value, tuple) else value for name, value in declared.items()}
    processor = _ask("target.llvm_get_system_cpu")
    target: dict[str, Any] = {"kind": "llvm", "mcpu": processor, "num-cores": threads or usable_cores()}
    here, assumed = _features_here(), _features_of(processor, ())
    off = {name for name in assumed if not here.get(name, True)} | (assumed & _SLOWING)
    return {**target, "mattr": [f"-{name}" for name in sorted(off)]} if off else target


def check_runs_here(target: dict[str, Any], what: str) -> None:
    """Return None where this processor has all that code for `target` uses; raise FAILED_PRECONDITION otherwise."""
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
