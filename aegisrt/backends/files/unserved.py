"""`unserved`: why an input or output that a model declares is not served, and the remedy."""

from __future__ import annotations

import re

_ELEMENTS = {
    0: "UNDEFINED", 1: "FLOAT", 2: "UINT8", 3: "INT8", 4: "UINT16", 5: "INT16", 6: "INT32", 7: "INT64", 8: "STRING",
    9: "BOOL", 10: "FLOAT16", 11: "DOUBLE", 12: "UINT32", 13: "UINT64", 14: "COMPLEX64", 15: "COMPLEX128",
    16: "BFLOAT16", 17: "FLOAT8E4M3FN", 18: "FLOAT8E4M3FNUZ", 19: "FLOAT8E5M2", 20: "FLOAT8E5M2FNUZ", 21: "UINT4",
    22: "INT4", 23: "FLOAT4E2M1", 24: "FLOAT8E8M0", 25: "UINT2", 26: "INT2", 27: "FLOAT6E2M3", 28: "FLOAT6E3M2",
}  # fmt: skip
"""`onnx.TensorProto.DataType` (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto)."""
_OF_ORT = re.compile(r"tensor\((\w+)\)")
_TENSOR = "a tensor of "
_CONTAINER_HINT = "export the model so that it answers a tensor (skl2onnx: `options={'zipmap': False}`)"
_ELEMENT_HINT = "add a Cast to a served element type, such as FP32, before this output of the model"
_INPUT_HINT = "export the model so that it takes a tensor of a served element type, such as FP32"


def element_name(number: int) -> str:
    """Return ONNX's name of an element type, such as FLOAT8E4M3FN for 17."""
    return _ELEMENTS.get(number, f"element type {number} of onnx.TensorProto")


def tensor_kind(element: str) -> str:
    """Return the text for a tensor of an element type, by ONNX's name."""
    return _TENSOR + element


def ort_kind(kind: str) -> str:
    """Return the text for a type as ONNX Runtime names it: `tensor(float8e4m3fn)` is a tensor of FLOAT8E4M3FN."""
    tensor = _OF_ORT.fullmatch(kind)
    return tensor_kind(tensor[1].upper()) if tensor else kind


def unserved(kind: str, *, is_input: bool = False) -> tuple[str, str]:
    """Return the reason why an output, or an input, of this type is not served, and a hint.

    `kind` is as of `ort_kind` (`a tensor of FLOAT8E4M3FN`, `seq(tensor(float))`) or `read_onnx` (`a sequence`).
    """
    is_tensor = kind.startswith(_TENSOR)
    reason = f"{kind}, and {'this element type is not' if is_tensor else 'only tensors are'} served"
    if is_input:
        return reason, _INPUT_HINT
    return reason, _ELEMENT_HINT if is_tensor else _CONTAINER_HINT
