"""The build as its parent process sees it: the recipe, and the job for the child."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from aegisrt.backends.process.built_by import build_in_child
from aegisrt.backends.process.job import Limits
from aegisrt.backends.tensorrt.build.refusals import refuse_options, refuse_profiles, refuse_unquantized
from aegisrt.backends.tensorrt.distribution import BUILDERS, TensorRT, load_tensorrt
from aegisrt.backends.tensorrt.options import Distribution, TensorRTOptions
from aegisrt.backends.tensorrt.profiles import plain
from aegisrt.core.result import ErrorCode, fail
from aegisrt.core.sidecar import Sidecar
from aegisrt.devices.cuda.driver import cuda_driver

_UNLIMITED_BYTES = 2**50
_FILE_VERSION = 2
"""Raised whenever this package writes another engine file for a plan than before, so that cached ones are rebuilt."""


def load_builder(wanted: Distribution | str) -> TensorRT:
    """Return the distribution that builds.

    FAILED_PRECONDITION: if the options name one that only runs engines.
    UNAVAILABLE: as `load_tensorrt`.
    """
    if wanted == "auto":
        return load_tensorrt(BUILDERS)
    for builder in BUILDERS:
        if wanted == builder:
            return load_tensorrt([builder])
    message = f"`distribution: {wanted}` runs engines, but cannot build them"
    raise fail(ErrorCode.FAILED_PRECONDITION, message, f"set it to {' or '.join(BUILDERS)}")


def build_recipe(kind: str, options: TensorRTOptions, ordinal: int) -> dict[str, Any]:
    """Return everything besides the model that decides the content of an engine file, as JSON values."""
    trt = load_builder(options.distribution)
    return {
        "backend": kind,
        "engine": f"{trt.distribution} {'.'.join(map(str, trt.version))}",
        "options": options.for_build(),
        "target": _target(trt, options, ordinal),
        "file_version": _FILE_VERSION,
    }


def compute_capability(ordinal: int) -> str:
    """Return a GPU's compute capability: `9.0`."""
    return ".".join(map(str, cuda_driver().compute_capability(ordinal)))


def _target(trt: TensorRT, options: TensorRTOptions, ordinal: int) -> dict[str, Any]:
    """Return the GPU that an engine is built for.

    UNAVAILABLE: if it must be the GPU of this machine, and there is none; with the driver's message.
    """
    asked = list(options.compute_capabilities)
    if asked and not trt.is_rtx:
        message = f"`compute_capabilities` is for `tensorrt_rtx`; {trt.display_name} builds for the GPU of this machine"
        raise fail(ErrorCode.FAILED_PRECONDITION, message, "leave it out, or set `distribution: tensorrt_rtx`")
    compatibility = options.hardware_compatibility
    target: dict[str, Any] = {
        "compute_capabilities": asked or [compute_capability(ordinal)],
        "hardware_compatibility": compatibility,
    }
    if compatibility == "none" and not trt.is_rtx:
        target["gpu"] = cuda_driver().name(ordinal)
    return target


def run_build(
    source: Path,
    target: Path,
    described: Sidecar,
    *,
    options: TensorRTOptions,
    ordinal: int,
    progress: Callable[[str], None] | None,
) -> None:
    """Build `source` into `target` in a child process; `described` becomes its sidecar.

    Errors as of `build.main` and `build_in_child`.
    """
    trt, declared, limits = load_builder(options.distribution), options.declared_profiles, options.build
    recipe, signature = described.recipe, described.signature
    refuse_options(trt, recipe["options"], recipe["target"]["compute_capabilities"])
    refuse_unquantized(source, options.precision)
    refuse_profiles(signature, declared, options.max_batch_size, options.max_dynamic_size)
    job = {
        "ordinal": ordinal,
        "distribution": trt.distribution,
        "options": recipe["options"],
        "profiles": [plain(profile) for profile in declared],
        "inputs": [spec.name for spec in signature.inputs],
        "compute_capabilities": recipe["target"]["compute_capabilities"],
        "memory_limit": limits.memory_bytes,
        "timing_cache": None if limits.timing_cache is None else str(limits.timing_cache.absolute()),
    }
    build_in_child(
        "aegisrt.backends.tensorrt.build.main",
        job,
        source,
        target,
        described,
        limits=Limits(limits.timeout_s, limits.memory_bytes or _UNLIMITED_BYTES),
        environment=options.environment,
        progress=progress,
    )
