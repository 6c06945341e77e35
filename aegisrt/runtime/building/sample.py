"""A model's sample, and inputs of zeros for a model without one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from aegisrt.core.result import ErrorCode, fail
from aegisrt.core.suggest import suggest
from aegisrt.core.tensor import Array, DataType, Signature, TensorSpec, shape_text
from aegisrt.manifest.schema import SampleOptions
from aegisrt.runtime.building.array_file import open_arrays
from aegisrt.runtime.building.input_budget import InputBudget


@dataclass(frozen=True, slots=True)
class Sample:
    """Inputs by name, and the right class of each row if it is known."""

    inputs: dict[str, Array]
    labels: Array | None = None


def read_sample(options: SampleOptions, signature: Signature, budget: InputBudget) -> Sample:
    """Return the arrays of a sample's files; a ResultError names the file.

    INVALID_ARGUMENT: if a file is damaged, or does not fit the model.
    NOT_FOUND: if a file does not exist.
    RESOURCE_EXHAUSTED: if the budget, or the memory, is too small.
    """
    with open_arrays(options.inputs) as file:
        specs = _specs(options, file.names, signature)
        read = file.read(specs, budget)
    arrays = {specs[name].name: value for name, value in read.items()}
    return Sample(arrays, None if options.labels is None else _labels(options, options.labels, arrays, budget))


def _specs(options: SampleOptions, names: Sequence[str] | None, signature: Signature) -> dict[str | None, TensorSpec]:
    """Return the input that each array of the file is for."""
    specs = {spec.name: spec for spec in signature.inputs}
    if names is None:
        if len(signature.required) != 1:
            message = f"{options.inputs} holds one array, the model takes {len(specs)}: {', '.join(specs)}"
            raise fail(ErrorCode.INVALID_ARGUMENT, message, "save them by name: numpy.savez")
        return {None: signature.required[0]}
    for name in names:
        if name not in specs:
            message = f"{options.inputs} holds `{name}`, which is not an input of the model"
            raise fail(ErrorCode.INVALID_ARGUMENT, message, suggest(name, list(specs), "inputs"))
    return {name: specs[name] for name in names}


def _labels(options: SampleOptions, path: Path, inputs: dict[str, Array], budget: InputBudget) -> Array:
    with open_arrays(path) as file:
        if file.names is not None:
            raise fail(ErrorCode.INVALID_ARGUMENT, f"{path} is a .npz, labels are one array in a .npy")
        labels = file.read({None: None}, budget)[None]
    _check_labels(options, labels, inputs)
    return labels


def _check_labels(options: SampleOptions, labels: Array, inputs: dict[str, Array]) -> None:
    if labels.ndim != 1:
        message = f"{options.labels} has shape {shape_text(labels.shape)}, labels have one class per row: `[batch]`"
        raise fail(ErrorCode.INVALID_ARGUMENT, message)
    rows = {value.shape[0] for value in inputs.values() if value.ndim}
    if rows and len(labels) not in rows:
        message = f"{options.labels} holds {len(labels)} labels, {options.inputs} has {max(rows)} rows"
        raise fail(ErrorCode.INVALID_ARGUMENT, message, "give one label per row")


def zeros(
    signature: Signature, budget: InputBudget, sizes: Mapping[str, tuple[int, ...]] | None = None
) -> dict[str, Array]:
    """Return the required inputs as zeros (empty strings) of `sizes`, else of the declared shapes with 1 for dynamic.

    RESOURCE_EXHAUSTED: if the budget is too small for the shapes.
    """
    declared = {
        spec.name: tuple(dim if isinstance(dim, int) else 1 for dim in spec.shape or ()) for spec in signature.required
    }
    shapes = list({**declared, **(sizes or {})}.values())
    budget.take_made_up(signature, shapes)
    return {
        spec.name: np.full(shape, "" if spec.dtype is DataType.BYTES else 0, spec.dtype.numpy)
        for spec, shape in zip(signature.required, shapes, strict=True)
    }
