"""Refusals that need neither a builder nor a parsed model: TensorRT 8.6 takes 9 s to load its builder."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from aegisrt.backends.files.onnx_nodes import read_nodes
from aegisrt.backends.files.protobuf import DamagedError
from aegisrt.backends.tensorrt.build.precision import (
    CONVERTED,
    FLAGS,
    QUANTIZED,
    is_strongly_typed,
    not_quantized,
)
from aegisrt.backends.tensorrt.distribution import TensorRT
from aegisrt.backends.tensorrt.options import InputRange
from aegisrt.backends.tensorrt.profiles import NetworkInput, profiles_for
from aegisrt.core.result import ErrorCode, fail
from aegisrt.core.tensor import DataType, Signature, TensorSpec

_QUANTIZING = frozenset({"QuantizeLinear", "DequantizeLinear"})
_FLOATS = frozenset({DataType.FP32, DataType.FP16, DataType.BF16})


def refuse_options(trt: TensorRT, options: Mapping[str, Any], capabilities: Sequence[str]) -> None:
    """Check the options of a build against this version.

    FAILED_PRECONDITION: if this version does not have an option, or does not build for a GPU.
    UNAVAILABLE: if the package `onnx` is needed and not installed.
    """
    _refuse_precision(trt, options)
    compatibility = options["hardware_compatibility"]
    if compatibility != "none" and (trt.is_rtx or not trt.has("HardwareCompatibilityLevel", compatibility.upper())):
        message = f"{trt.display_name} has no `hardware_compatibility: {compatibility}`"
        hint = "name the GPUs in `compute_capabilities`" if trt.is_rtx else "use `ampere_plus`, or update TensorRT"
        raise fail(ErrorCode.FAILED_PRECONDITION, message, hint)
    if trt.is_rtx:
        known = trt.package.ComputeCapability.__members__
        for capability in capabilities:
            if f"SM{capability.replace('.', '')}" not in known:
                able = ", ".join(f"{name[2:-1]}.{name[-1]}" for name in known if name.startswith("SM"))
                message = f"{trt.display_name} does not build for GPUs of compute capability {capability}"
                raise fail(ErrorCode.FAILED_PRECONDITION, message, f"it builds for {able}; use `tensorrt` for others")


def _refuse_precision(trt: TensorRT, options: Mapping[str, Any]) -> None:
    precision = options["precision"]
    if options["strongly_typed"] and not trt.has("NetworkDefinitionCreationFlag", "STRONGLY_TYPED"):
        message = f"{trt.display_name} has no strongly typed networks"
        raise fail(ErrorCode.FAILED_PRECONDITION, message, "leave `strongly_typed` out, or update TensorRT")
    if is_strongly_typed(trt, options):
        if precision in CONVERTED and importlib.util.find_spec("onnx") is None:
            message = f"`precision: {precision}` on a strongly typed network needs the package `onnx`"
            raise fail(ErrorCode.UNAVAILABLE, message, "run: pip install onnx")
    elif precision in FLAGS and not trt.has("BuilderFlag", FLAGS[precision]):
        message = f"{trt.display_name} has no `precision: {precision}`"
        raise fail(ErrorCode.FAILED_PRECONDITION, message, "use `fp16`, or update TensorRT")


def refuse_unquantized(source: Path, precision: str) -> None:
    """Raise FAILED_PRECONDITION if the precision needs a quantized model, and the file has no such operators."""
    if precision not in QUANTIZED:
        return
    try:
        model = read_nodes(source)
    except DamagedError:
        return  # the parser reports what is wrong
    kinds = {kind for node in model.nodes for kind in (node.kind, *node.inner)}
    if _QUANTIZING.isdisjoint(kinds.union(*model.functions.values())):
        raise not_quantized(precision)


def refuse_profiles(
    signature: Signature,
    declared: Sequence[Mapping[str, InputRange]],
    max_batch_size: int | None,
    max_dynamic_size: int | None,
) -> None:
    """Check profiles against the model's own signature; errors as of `profiles_for`.

    Inputs that may be shape tensors are left to the build: only the parsed network shows whether they are.
    """
    open_inputs = {spec.name for spec in signature.inputs if _may_hold_sizes(spec)}
    inputs = [_network_input(spec) for spec in signature.inputs if spec.name not in open_inputs]
    known = [{name: span for name, span in item.items() if name not in open_inputs} for item in declared]
    profiles_for(inputs, known, max_batch_size, max_dynamic_size)


def _may_hold_sizes(spec: TensorSpec) -> bool:
    return spec.shape is None or (len(spec.shape) <= 1 and spec.dtype not in _FLOATS)


def _network_input(spec: TensorSpec) -> NetworkInput:
    shape = tuple(dim if isinstance(dim, int) else -1 for dim in spec.shape or ())
    return NetworkInput(spec.name, shape, holds_numbers=spec.dtype in _FLOATS)
