"""Refuses what a backend does not declare: an engine that supports it in part may compute wrong numbers."""

from __future__ import annotations

from aegisrt.core.capabilities import Capabilities
from aegisrt.core.result import ErrorCode, fail
from aegisrt.core.tensor import Array, Signature, TensorSpec


def refuse_undeclared_model(can: Capabilities, signature: Signature) -> None:
    """Check a model's signature against the capabilities.

    UNIMPLEMENTED: if it has a dtype, a scalar or a dynamic dimension that is not declared.
    """
    for spec in (*signature.required, *signature.outputs):
        missing = _missing(can, spec)
        if missing:
            raise fail(ErrorCode.UNIMPLEMENTED, f"the model has `{spec}`, and this backend does not declare {missing}")


def refuse_empty(inputs: dict[str, Array]) -> None:
    """Check that no input is empty, for a backend that does not declare `zero_size`.

    UNIMPLEMENTED: if one is.
    """
    for name, value in inputs.items():
        if not value.size:
            message = f"input `{name}` has no elements, and this backend does not declare zero_size"
            raise fail(ErrorCode.UNIMPLEMENTED, message)


def _missing(can: Capabilities, spec: TensorSpec) -> str | None:
    if spec.dtype not in can.dtypes and spec.dtype not in can.narrowed:
        return f"dtype {spec.dtype}"
    if spec.shape == () and not can.scalars:
        return "scalars"
    if not can.dynamic_shapes and (spec.shape is None or any(not isinstance(dim, int) for dim in spec.shape)):
        return "dynamic_shapes"
    return None
