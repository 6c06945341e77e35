"""`refuse_wrong`: operators that TVM 0.27 imports and then computes wrongly without an error, refused by name.

Found by `python -m tests.measuring.node_cases` and by comparison with ONNX Runtime on constant parameters. TVM's
converters ignore these attributes (tvm.relax.frontend.onnx.onnx_frontend), or handle parameters only if they are
constants, or generate code that differs from the operator's definition (https://onnx.ai/onnx/operators/).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from aegisrt.backends.tvm.build.corrections import constant
from aegisrt.core.result import ErrorCode, fail

ELSEWHERE = "run this model on `backend: onnx`, or export it without that operator"
_ABSENT = object()
_COMPUTED: dict[str, dict[str, Any]] = {
    "BatchNormalization": {"training_mode": 0},
    "ConvTranspose": {"output_shape": _ABSENT},
    "IsInf": {"detect_negative": 1, "detect_positive": 1},
    "Resize": {"antialias": 0, "keep_aspect_ratio_policy": "stretch"},
    "RoiAlign": {"mode": "avg"},
    "SpaceToDepth": {"mode": "DCR"},
}
"""By operator and attribute, the only value that TVM computes; another is ignored."""
_FLOAT8 = (17, 18, 19, 20)
_SUB_BYTE = (21, 22, 23, 25, 26)
"""Numbers of `onnx.TensorProto.DataType`: FLOAT8 of four kinds; UINT4, INT4, FLOAT4E2M1, UINT2, INT2."""
_SUB_BYTE_NAMES = ("int4", "uint4", "int2", "uint2", "float4")


def refuse_wrong(operator: str, inputs: Sequence[Any], attributes: Mapping[str, Any]) -> None:
    """Raise UNIMPLEMENTED if TVM computes this use of an operator wrongly. `inputs` are Relax expressions."""
    for name, value in _COMPUTED.get(operator, {}).items():
        given = _text(attributes.get(name, value))
        if given != value:
            raise _refusal(operator, f"`{name}: {given}`")
    rule = _RULES.get(operator)
    reason = rule(inputs, attributes) if rule is not None else None
    if reason is None and any(_dtype(item).startswith(_SUB_BYTE_NAMES) for item in inputs):
        reason = "elements of less than 8 bits"
    if reason is not None:
        raise _refusal(operator, reason)


def _refusal(operator: str, use: str) -> Exception:
    message = f"TVM cannot take operator `{operator}` of the model: it computes {use} wrongly"
    return fail(ErrorCode.UNIMPLEMENTED, message, ELSEWHERE)


def _bit_shift(inputs: Sequence[Any], _: Mapping[str, Any]) -> str | None:
    """A shift by a negative number, or by all bits or more, is undefined in C."""
    shift, bits = constant(inputs, 1), int("".join(filter(str.isdigit, _dtype(inputs[0]))) or 8)
    in_range = shift is not None and bool(np.all((shift >= 0) & (shift < bits)))
    return None if in_range else "a shift that is not a constant from 0 to less than the bits"


def _cast(_: Sequence[Any], attributes: Mapping[str, Any]) -> str | None:
    """Values beyond the range of FLOAT8 become arbitrary ones."""
    return _to(attributes.get("to", 0))


def _like(inputs: Sequence[Any], _: Mapping[str, Any]) -> str | None:
    return "a cast to FLOAT8" if _dtype(inputs[1]).startswith("float8") else None


def _quantize(inputs: Sequence[Any], attributes: Mapping[str, Any]) -> str | None:
    zero_point = _dtype(inputs[2]) if len(inputs) > 2 else ""
    return "a cast to FLOAT8" if zero_point.startswith("float8") else _to(attributes.get("output_dtype", 0))


def _to(dtype: int) -> str | None:
    if dtype in _FLOAT8:
        return "a cast to FLOAT8"
    return "elements of less than 8 bits" if dtype in _SUB_BYTE else None


def _dropout(inputs: Sequence[Any], _: Mapping[str, Any]) -> str | None:
    training = constant(inputs, 2)
    is_off = len(inputs) < 3 or inputs[2] is None or (training is not None and not training.any())
    return None if is_off else "`training_mode`"


def _expand(inputs: Sequence[Any], _: Mapping[str, Any]) -> str | None:
    """Sizes that the model computes from shapes are known by name; those of a tensor are taken as the result's."""
    from tvm import relax

    is_known = isinstance(inputs[1], relax.ShapeExpr) or constant(inputs, 1) is not None
    return None if is_known else "a `shape` that is not a constant"


def _layer_normalization(_: Sequence[Any], attributes: Mapping[str, Any]) -> str | None:
    return "the outputs `Mean` and `InvStdDev`" if attributes["tvm_custom"]["num_outputs"] > 1 else None


def _mod(inputs: Sequence[Any], attributes: Mapping[str, Any]) -> str | None:
    is_float = "float" in _dtype(inputs[0])
    return "`fmod: 0` of floating-point numbers" if is_float and not attributes.get("fmod", 0) else None


def _non_max_suppression(inputs: Sequence[Any], _: Mapping[str, Any]) -> str | None:
    limits = range(2, min(len(inputs), 5))
    is_known = all(inputs[index] is None or constant(inputs, index) is not None for index in limits)
    return None if is_known else "limits that are not constants"


def _resize(inputs: Sequence[Any], attributes: Mapping[str, Any]) -> str | None:
    """TVM scales by the ratio of the sizes, which is another one if the size is rounded; it ignores `axes`."""
    rank = len(inputs[0].ty.shape)
    if list(attributes.get("axes", range(rank))) != list(range(rank)):
        return "`axes`"
    scales = constant(inputs, 2)
    if scales is None or not scales.size:
        return None
    for size, scale in zip(inputs[0].ty.shape, scales.tolist(), strict=False):
        fixed = getattr(size, "value", None)
        scaled = scale if fixed is None else int(fixed) * scale
        if abs(scaled - round(scaled)) > 1e-4:
            return "`scales` that make no whole sizes"
    return None


_RULES: dict[str, Callable[[Sequence[Any], Mapping[str, Any]], str | None]] = {
    "BitShift": _bit_shift,
    "Cast": _cast,
    "CastLike": _like,
    "Dropout": _dropout,
    "Expand": _expand,
    "LayerNormalization": _layer_normalization,
    "Mod": _mod,
    "NonMaxSuppression": _non_max_suppression,
    "QuantizeLinear": _quantize,
    "Resize": _resize,
}


def _dtype(expression: Any) -> str:
    dtype = getattr(getattr(expression, "ty", None), "dtype", "")
    return str(getattr(dtype, "dtype", dtype))


def _text(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode()
    return list(value) if isinstance(value, tuple) else value
