"""`refuse_disagreement`: dimensions of one name must have one size in all inputs of a call."""

from __future__ import annotations

from collections.abc import Mapping

from aegisrt.core.result import ErrorCode, fail
from aegisrt.core.tensor import Signature, shared_names


def refuse_disagreement(signature: Signature, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Raise INVALID_ARGUMENT if a named dimension has two sizes: an engine may read past the end of the shorter."""
    seen: dict[str, tuple[str, int]] = {}
    for spec in signature.inputs:
        for dim, size in zip(shared_names(spec.shape or ()), shapes[spec.name], strict=False):
            if dim is not None:
                name, other = seen.setdefault(dim, (spec.name, size))
                if size != other:
                    message = f"dimension `{dim}` is {other} in input `{name}`, and {size} in input `{spec.name}`"
                    raise fail(ErrorCode.INVALID_ARGUMENT, message)
