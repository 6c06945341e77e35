"""Optimization profiles: the ranges of shapes that an engine is built for, and the choice among them at a call.

https://docs.nvidia.com/deeplearning/tensorrt/latest/inference-library/work-dynamic-shapes.html
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from aegisrt.backends.tensorrt.options import InputRange
from aegisrt.core.result import ErrorCode, ResultError, fail
from aegisrt.core.suggest import suggest
from aegisrt.core.tensor import shape_text

_USUAL_BATCH, _LARGEST_BATCH = 32, 1024
_ELEMENTS = 2**20
"""Up to this many elements of all inputs together, the derived batch may be larger than the usual one."""


@dataclass(frozen=True, slots=True)
class NetworkInput:
    """An input of the parsed network."""

    name: str
    shape: tuple[int, ...]
    """-1 for a dynamic dimension."""
    holds_sizes: bool = False
    """A shape tensor: a profile contains the range of its values, not of its shape."""
    holds_numbers: bool = True
    """Whether its elements are floats; integers may stand for far more memory, as token ids do."""

    @property
    def needs_profile(self) -> bool:
        """Whether a profile must name it."""
        return self.holds_sizes or -1 in self.shape


def profiles_for(
    inputs: Sequence[NetworkInput],
    declared: Sequence[Mapping[str, InputRange]],
    max_batch_size: int | None,
    max_dynamic_size: int | None = None,
) -> list[dict[str, InputRange]]:
    """Return the profiles to build, each with every input that needs one; none for a model of fixed shapes.

    Without a declaration the batch, a dynamic first dimension, goes from 1 to `max_batch_size` (None: as many rows as
    fit), and others from 1 to `max_dynamic_size`.

    INVALID_ARGUMENT: if a declared profile does not fit the model.
    INVALID_ARGUMENT: if a dimension has no limit.
    """
    if declared:
        for profile in declared:
            _check(profile, inputs)
        needed = [spec.name for spec in inputs if spec.needs_profile]
        return [{name: profile[name] for name in needed} for profile in declared] if needed else []
    wanted = [spec for spec in inputs if spec.needs_profile]
    largest = max_batch_size or _fitting_batch(wanted, max_dynamic_size)
    fast = max_batch_size or _USUAL_BATCH
    derived = {spec.name: _derived(spec, fast, largest, max_dynamic_size) for spec in wanted}
    return [derived] if derived else []


def choose(shapes: Mapping[str, tuple[int, ...]], profiles: Sequence[Mapping[str, InputRange]], current: int) -> int:
    """Return the index of a profile that fits these shapes, `current` (-1: none) before others; -1 if none does."""
    if 0 <= current < len(profiles) and _fits(shapes, profiles[current]):
        return current
    return next((index for index, profile in enumerate(profiles) if _fits(shapes, profile)), -1)


def outside(shapes: Mapping[str, tuple[int, ...]], profiles: Sequence[Mapping[str, InputRange]]) -> ResultError:
    """Return the error for shapes outside all profiles."""
    name = next(
        (name for name, shape in shapes.items() if not any(_within(shape, item.get(name)) for item in profiles)),
        next(iter(shapes)),
    )
    ranges = " or ".join(
        f"{shape_text(item[name].min)} to {shape_text(item[name].max)}" for item in profiles if name in item
    )
    message = f"input `{name}` has shape {shape_text(shapes[name])}, the engine was built for {ranges}"
    hint = "send another batch, or widen `profiles` (or `max_batch_size`) in the backend's options and build again"
    return fail(ErrorCode.INVALID_ARGUMENT, message, hint)


def _fits(shapes: Mapping[str, tuple[int, ...]], profile: Mapping[str, InputRange]) -> bool:
    return all(_within(shapes[name], span) for name, span in profile.items() if name in shapes)


def _within(shape: tuple[int, ...], span: InputRange | None) -> bool:
    if span is None:
        return True
    if len(shape) != len(span.min):
        return False
    return all(low <= size <= high for low, size, high in zip(span.min, shape, span.max, strict=True))


def _fitting_batch(inputs: Sequence[NetworkInput], other: int | None) -> int:
    """Return a largest batch whose inputs fit the memory of a small GPU."""
    if not all(spec.holds_numbers for spec in inputs):
        return _USUAL_BATCH
    rows = [prod((other or 1) if dim == -1 else dim for dim in spec.shape[1:]) for spec in inputs]
    return min(max(_ELEMENTS // max(sum(rows), 1), _USUAL_BATCH), _LARGEST_BATCH)


def _derived(spec: NetworkInput, fast: int, batch: int, other: int | None) -> InputRange:
    if spec.holds_sizes:
        message = f"input `{spec.name}` holds sizes, and TensorRT needs the range of its values"
        raise fail(ErrorCode.INVALID_ARGUMENT, message, _example(spec))
    if other is None and -1 in spec.shape[1:]:
        message = (
            f"input `{spec.name}` is {_text(spec.shape)}: of its dynamic dimensions only the batch has a known range"
        )
        raise fail(ErrorCode.INVALID_ARGUMENT, message, f"{_example(spec)}; or set `max_dynamic_size`")
    rest = other or 1
    smallest, usual, largest = _sized(spec, 1, 1), _sized(spec, fast, rest), _sized(spec, batch, rest)
    return InputRange.model_construct(min=smallest, opt=usual, max=largest)


def _sized(spec: NetworkInput, batch: int, other: int) -> tuple[int, ...]:
    sizes = (batch, *[other] * len(spec.shape))
    return tuple(size if dim == -1 else dim for dim, size in zip(spec.shape, sizes, strict=False))


def _check(profile: Mapping[str, InputRange], inputs: Sequence[NetworkInput]) -> None:
    known = {spec.name: spec for spec in inputs}
    for name, span in profile.items():
        spec = known.get(name)
        if spec is None:
            hint = suggest(name, list(known), "inputs")
            message = f"`profiles` names `{name}`, which is not an input of the model"
            raise fail(ErrorCode.INVALID_ARGUMENT, message, hint)
        _check_range(spec, span)
    for spec in inputs:
        if spec.needs_profile and spec.name not in profile:
            message = f"`profiles` leaves out input `{spec.name}`, which is dynamic: {_text(spec.shape)}"
            raise fail(ErrorCode.INVALID_ARGUMENT, message, _example(spec))


def _check_range(spec: NetworkInput, span: InputRange) -> None:
    if spec.holds_sizes:
        return
    for bound, shape in (("min", span.min), ("opt", span.opt), ("max", span.max)):
        fits = len(shape) == len(spec.shape) and all(
            own in (-1, size) for own, size in zip(spec.shape, shape, strict=True)
        )
        if not fits:
            message = f"`profiles.{spec.name}.{bound}` is {shape_text(shape)}, the model takes {_text(spec.shape)}"
            raise fail(
                ErrorCode.INVALID_ARGUMENT, message, "give each dynamic dimension (?) a size, and keep the others"
            )


def _example(spec: NetworkInput) -> str:
    if spec.holds_sizes:
        return f"declare it: `profiles: {{{spec.name}: {{min: [1], opt: [8], max: [32]}}}}`, one value for each element"
    low, high = (tuple(size if dim == -1 else dim for dim in spec.shape) for size in (1, 32))
    return f"declare it: `profiles: {{{spec.name}: {{min: {list(low)}, opt: {list(high)}, max: {list(high)}}}}}`"


def _text(shape: Sequence[int]) -> str:
    return shape_text([None if dim == -1 else dim for dim in shape])


def plain(profile: Mapping[str, InputRange]) -> dict[str, Any]:
    """Return a profile as JSON values."""
    return {name: span.model_dump(mode="json") for name, span in profile.items()}
