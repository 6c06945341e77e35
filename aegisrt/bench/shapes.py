"""`zeros_shapes`: the shapes of the zeros that are sent to a model without a sample."""

from __future__ import annotations

from collections.abc import Mapping

from aegisrt.core.result import ErrorCode, fail
from aegisrt.core.tensor import Signature, TensorSpec, is_name

Shapes = Mapping[str, tuple[int, ...]]


def has_free_rows(signature: Signature) -> bool:
    """Return whether the first dimension of every required input is dynamic: the rows of a request."""
    return all(spec.shape and not isinstance(spec.shape[0], int) for spec in signature.required)


def zeros_shapes(model: str, signature: Signature, told: Shapes, rows: int) -> dict[str, tuple[int, ...]]:
    """Return a shape for each required input: the `told` ones, declared sizes, and `rows` in the first dimension.

    A dimension has the size of one with the same name in a told shape. A guess for any other free dimension would
    measure another model than the user has in mind: an image of 1 x 1 pixels instead of 224 x 224.

    INVALID_ARGUMENT: if a dimension's size is not known.
    """
    named = {
        dim: size
        for spec in signature.required
        for dim, size in zip(spec.shape or (), told.get(spec.name, ()), strict=False)
        if is_name(dim)
    }
    free_rows = has_free_rows(signature)
    shapes: dict[str, tuple[int, ...]] = {}
    unknown: list[TensorSpec] = []
    for spec in signature.required:
        sizes = [
            dim if isinstance(dim, int) else named.get(str(dim), rows if axis == 0 and free_rows else None)
            for axis, dim in enumerate(spec.shape or ())
        ]
        known = tuple(size for size in sizes if size is not None)
        shapes[spec.name] = told.get(spec.name, known)
        if spec.name not in told and (spec.shape is None or len(known) < len(sizes)):
            unknown.append(spec)
    if unknown:
        raise _unknown(model, unknown)
    return shapes


def _unknown(model: str, specs: list[TensorSpec]) -> Exception:
    shown = ", ".join(f"`{spec.name}` {str(spec).removeprefix(spec.name).strip()}" for spec in specs)
    message = f"model `{model}` has no sample, and free dimensions: {shown}"
    options = " ".join(f"--shape {spec.name}={_example(spec)}" for spec in specs)
    hint = f"declare `models.{model}.sample.inputs`, or give the sizes for zeros, such as {options}"
    return fail(ErrorCode.INVALID_ARGUMENT, message, hint)


def _example(spec: TensorSpec) -> str:
    dims = spec.shape or (1,)
    size = 224 if len(dims) == 4 else 128
    return "x".join(str(dim if isinstance(dim, int) else 1 if axis == 0 else size) for axis, dim in enumerate(dims))
