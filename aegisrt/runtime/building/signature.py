"""The check of a manifest's declared signature against the engine's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from aegisrt.core.suggest import suggest
from aegisrt.core.tensor import Dim, Signature, TensorSpec, shape_text
from aegisrt.manifest.schema import SignatureOptions, TensorOptions


def mismatch(
    declared: SignatureOptions, actual: Signature, fixed: Mapping[str, int] | None = None
) -> tuple[tuple[str, ...], str] | None:
    """Return the first difference: its key path under `signature`, and a sentence; None if there is none.

    `fixed` has sizes of the model's dynamic dimensions by their names, as the option `free_dimensions`.
    """
    sides = (("inputs", declared.inputs, actual.inputs), ("outputs", declared.outputs, actual.outputs))
    for side, wanted, found in sides:
        problem = _side(side, wanted, found, fixed or {}) if wanted else None
        if problem:
            return problem
    return None


def _side(
    side: str, wanted: Mapping[str, TensorOptions], found: Sequence[TensorSpec], fixed: Mapping[str, int]
) -> tuple[tuple[str, ...], str] | None:
    by_name = {spec.name: spec for spec in found}
    for name, options in wanted.items():
        spec = by_name.get(name)
        if spec is None and side == "inputs" and options.optional:
            continue  # an engine may compile the default value in
        if spec is None:
            return (side, name), f"the model has no {side[:-1]} `{name}`; {suggest(name, list(by_name), side)}"
        if options.dtype is not spec.dtype:
            return (side, name, "dtype"), f"`{name}` is declared {options.dtype}, the model has {spec.dtype}"
        if options.optional and side == "inputs" and not spec.optional:
            return (side, name, "optional"), f"`{name}` is declared optional, the model has no default value for it"
        computed = side == "outputs" and bool(fixed)
        if options.shape is not None and not _fits(options.shape, spec.shape, fixed, computed=computed):
            declared, actual = shape_text(options.shape), shape_text(spec.shape)
            return (side, name, "shape"), f"`{name}` is declared {declared}, the model has {actual}"
    missing = [name for name, spec in by_name.items() if name not in wanted and not spec.optional]
    if missing and side == "inputs":
        return (side,), f"the model also takes `{missing[0]}`, which the signature does not declare"
    return None


def _fits(declared: Sequence[Dim], actual: Sequence[Dim] | None, fixed: Mapping[str, int], *, computed: bool) -> bool:
    """Return whether sizes are equal, and dynamic dimensions are dynamic in the model, whatever their names.

    A dynamic one may have the size in `fixed`; and any, if it may be `computed` from those.
    """
    if actual is None:
        return True

    def agree(want: Dim, have: Dim) -> bool:
        if want is None or not isinstance(have, int):
            return True
        return want == have if isinstance(want, int) else fixed.get(want, have if computed else None) == have

    return len(declared) == len(actual) and all(map(agree, declared, actual))
