"""`precision`: a flag of the builder on weakly typed TensorRT, the model's own dtypes on strongly typed.

TensorRT 8.6 has weak typing alone; 10 has both, and deprecates weak typing; 11 removed it, and TensorRT for RTX never
had it: for these the model itself is converted
(https://docs.nvidia.com/deeplearning/tensorrt/latest/inference-library/advanced.html#strongly-typed-networks).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aegisrt.backends.tensorrt.build.model_dtypes import allow_own_dtypes, is_quantized
from aegisrt.backends.tensorrt.distribution import TensorRT
from aegisrt.core.result import ErrorCode, ResultError, fail

FLAGS = {"fp16": "FP16", "bf16": "BF16", "int8": "INT8", "fp8": "FP8"}
CONVERTED = ("fp16", "bf16")
"""The precisions that a strongly typed network gets by converting the model."""
QUANTIZED = ("int8", "fp8")
"""The precisions that need a quantized model."""


def is_strongly_typed(trt: TensorRT, options: Mapping[str, Any]) -> bool:
    """Return whether to create a strongly typed network: if the options ask for it, else if no flag is needed."""
    able = trt.has("NetworkDefinitionCreationFlag", "STRONGLY_TYPED")
    if not able or not trt.has("BuilderFlag", "FP16"):
        return able
    if options["strongly_typed"] is None:
        return options["precision"] not in CONVERTED
    return bool(options["strongly_typed"])


def set_precision(trt: TensorRT, network: Any, config: Any, precision: str, *, strong: bool) -> None:
    """Set the builder's flags.

    FAILED_PRECONDITION: if the model cannot have the precision; `refuse_options` checks the version.
    """
    flag = trt.package.BuilderFlag
    if precision == "fp32":
        config.clear_flag(flag.TF32)
    elif precision == "tf32":
        config.set_flag(flag.TF32)
    if precision in QUANTIZED and not is_quantized(trt, network):
        raise not_quantized(precision)
    if not strong:
        allow_own_dtypes(trt, network, config)
        if precision in FLAGS:
            config.set_flag(getattr(flag, FLAGS[precision]))


def not_quantized(precision: str) -> ResultError:
    """Return the error for a precision that needs a quantized model."""
    message = f"`precision: {precision}` needs a model with QuantizeLinear and DequantizeLinear, and this has none"
    hint = "quantize it first (NVIDIA ModelOpt, or onnxruntime.quantization with QDQ), or use `fp16`"
    return fail(ErrorCode.FAILED_PRECONDITION, message, hint)


def converted(source: Path, folder: Path, precision: str) -> Path:
    """Return the model to parse: for `fp16` and `bf16` a copy in `folder` with that arithmetic, else `source`."""
    if precision not in CONVERTED:
        return source
    from aegisrt.backends.files.onnx_precision import convert_file  # imports `onnx`; see `refuse_options`

    return convert_file(source, folder / f"{precision}.onnx", precision)
