"""The builder's configuration, as the options ask for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aegisrt.backends.tensorrt.distribution import TensorRT


def configure(trt: TensorRT, config: Any, options: Mapping[str, Any], capabilities: Sequence[str]) -> None:
    """Apply all options except the precision and the profiles; `refuse_options` has checked that they exist."""
    package = trt.package
    if options["workspace_bytes"] is not None:
        config.set_memory_pool_limit(package.MemoryPoolType.WORKSPACE, options["workspace_bytes"])
    config.builder_optimization_level = options["optimization_level"]
    for wanted, name in ((options["version_compatible"], "VERSION_COMPATIBLE"), (options["refit"], "REFIT")):
        if wanted:
            config.set_flag(getattr(package.BuilderFlag, name))
    if options["hardware_compatibility"] != "none":
        level = options["hardware_compatibility"].upper()
        config.hardware_compatibility_level = getattr(package.HardwareCompatibilityLevel, level)
    if not options["external_tactics"]:
        config.set_tactic_sources(_without_libraries(trt, config.get_tactic_sources()))
    if trt.version[0] < 10 and trt.has("PreviewFeature", "PROFILE_SHARING_0806"):
        config.set_preview_feature(package.PreviewFeature.PROFILE_SHARING_0806, True)
    if trt.is_rtx:
        _set_targets(trt, config, capabilities)


def _without_libraries(trt: TensorRT, sources: int) -> int:
    """Return the tactic sources without cuBLAS and cuDNN, which TensorRT 11 no longer has."""
    for name in ("CUBLAS", "CUBLAS_LT", "CUDNN"):
        if trt.has("TacticSource", name):
            sources &= ~(1 << int(getattr(trt.package.TacticSource, name)))
    return sources


def _set_targets(trt: TensorRT, config: Any, capabilities: Sequence[str]) -> None:
    known = trt.package.ComputeCapability.__members__
    config.num_compute_capabilities = len(capabilities)
    for index, capability in enumerate(capabilities):
        config.set_compute_capability(known[f"SM{capability.replace('.', '')}"], index)
