"""Flags and constraints that let a weakly typed builder keep a model's own FP16, BF16 and INT8 tensors.

Without the flag the builder refuses the model ("fp16 precision has been set for a layer or layer output, but fp16 is
not configured in the builder", https://github.com/NVIDIA/TensorRT/issues/1823); with it, the builder may choose FP16
for FP32 layers too, so those are pinned. INT8 is chosen for tensors with a scale only, and a pinned layer between
DequantizeLinear and QuantizeLinear would not become an INT8 layer. TensorRT reads an INT8 tensor as `value * scale`: a
range of 127 makes the scale 1 (https://github.com/NVIDIA/TensorRT/issues/2998).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from aegisrt.backends.tensorrt.distribution import TensorRT

_FLAGS = {"HALF": "FP16", "BF16": "BF16", "INT8": "INT8", "FP8": "FP8", "INT4": "INT4"}
_QUANTIZED = frozenset({"INT8", "FP8", "INT4"})
_PINNED_BESIDE = frozenset({"HALF", "BF16"})
_UNIT_RANGE = 127.0


def allow_own_dtypes(trt: TensorRT, network: Any, config: Any) -> None:
    """Set the flags that the dtypes of a parsed network need, and keep the arithmetic of its FP32 layers."""
    flag = trt.package.BuilderFlag
    own = {tensor.dtype.name for tensor in _tensors(network)}
    quantized = is_quantized(trt, network)
    if quantized and not own & _QUANTIZED:
        own.add("INT8")  # TensorRT 8 reports FLOAT for the output of a QuantizeLinear, whose zero point it drops
    wanted = [name for name in sorted(own) if name in _FLAGS and trt.has("BuilderFlag", _FLAGS[name])]
    for name in wanted:
        config.set_flag(getattr(flag, _FLAGS[name]))
    if "FLOAT" in own and not _PINNED_BESIDE.isdisjoint(wanted):
        config.set_flag(flag.PREFER_PRECISION_CONSTRAINTS)
        _pin_fp32(trt, network)
    if "INT8" in own and not quantized:
        for tensor in _tensors(network):
            if tensor.dtype.name == "INT8":
                tensor.set_dynamic_range(-_UNIT_RANGE, _UNIT_RANGE)


def is_quantized(trt: TensorRT, network: Any) -> bool:
    """Return whether a network contains QuantizeLinear or DequantizeLinear."""
    kinds = trt.package.LayerType
    wanted = (kinds.QUANTIZE, kinds.DEQUANTIZE)
    return any(layer.type in wanted for layer in _layers(network))


def _pin_fp32(trt: TensorRT, network: Any) -> None:
    package = trt.package
    for layer in _layers(network):
        inputs = [layer.get_input(index) for index in range(layer.num_inputs)]
        outputs = [layer.get_output(index) for index in range(layer.num_outputs)]
        tensors = [tensor for tensor in (*inputs, *outputs) if tensor is not None]
        is_fp32 = all(item.dtype == package.DataType.FLOAT for item in tensors)
        if layer.type != package.LayerType.CONSTANT and is_fp32:
            layer.precision = package.DataType.FLOAT


def _tensors(network: Any) -> Iterator[Any]:
    for index in range(network.num_inputs):
        yield network.get_input(index)
    for layer in _layers(network):
        for index in range(layer.num_outputs):
            yield layer.get_output(index)


def _layers(network: Any) -> Iterator[Any]:
    return (network.get_layer(index) for index in range(network.num_layers))
