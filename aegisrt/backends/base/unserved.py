"""`unserved`: why an output that a model declares is not served, and the remedy."""

from __future__ import annotations

import re

_CONTAINER_HINT = "export the model so that it answers a tensor (skl2onnx: `options={'zipmap': False}`)"
_ELEMENT_HINT = "add a Cast to a served element type, such as FP32, before this output of the model"
_TENSOR = re.compile(r"(a )?tensor\b")


def unserved(kind: str) -> tuple[str, str]:
    """Return the reason why an output of this type is not served, and a hint.

    `kind` is ONNX Runtime's type (`seq(tensor(float))`, `tensor(float8e4m3fn)`), or that of `read_onnx`.
    """
    if _TENSOR.match(kind):
        return f"{kind}, and this element type is not served", _ELEMENT_HINT
    return f"{kind}, and only tensors are served", _CONTAINER_HINT
