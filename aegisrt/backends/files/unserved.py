"""`unserved`: why an input or output that a model declares is not served, and the remedy."""

from __future__ import annotations

import re

_OF_ORT = re.compile(r"tensor\((\w+)\)")
_TENSOR = "a tensor of "
_CONTAINER_HINT = "export the model so that it answers a tensor (skl2onnx: `options={'zipmap': False}`)"
_ELEMENT_HINT = "add a Cast to a served element type, such as FP32, before this output of the model"
_INPUT_HINT = "export the model so that it takes a tensor of a served element type, such as FP32"


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
