"""`diagnose`: every check over one environment."""

from __future__ import annotations

from aegisrt.doctor import base_checks, engine_checks, gpu_checks
from aegisrt.doctor.check import DoctorCheck
from aegisrt.doctor.environment import MachineFacts

CHECKS = (
    base_checks.packages,
    gpu_checks.driver,
    gpu_checks.gpus,
    gpu_checks.device_files,
    gpu_checks.cuda_version,
    gpu_checks.pycuda,
    engine_checks.onnxruntime,
    engine_checks.onnxruntime_libraries,
    engine_checks.tensorrt,
    engine_checks.tvm,
    engine_checks.onnx_package,
    base_checks.cache,
)


def diagnose(env: MachineFacts) -> tuple[DoctorCheck, ...]:
    """Return all findings, in the order in which to fix them."""
    return tuple(found for check in CHECKS for found in check(env))
