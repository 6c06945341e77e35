"""A model's sample, and inputs of zeros for a model without one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from shlex import quote

import numpy as np

from aegisrt.core.result import ErrorCode, fail
from aegisrt.core.suggest import suggest
from aegisrt.core.system_error import system_error
from aegisrt.core.tensor import Array, DataType, Signature, TensorSpec, shape_text
from aegisrt.manifest.schema import SampleOptions


@dataclass(frozen=True, slots=True)
class Sample:
    """Inputs by name, and the right class of each row if it is known."""

    inputs: dict[str, Array]
    labels: Array | None = None


def read_sample(options: SampleOptions, signature: Signature) -> Sample:
    """Return the arrays of a sample's files; raise NOT_FOUND or INVALID_ARGUMENT that names the file."""
    arrays = read_arrays(options.inputs)
    names = [spec.name for spec in signature.inputs]
    if isinstance(arrays, np.ndarray):
        if len(signature.required) != 1:
            message = f"{options.inputs} holds one array, the model takes {len(names)}: {', '.join(names)}"
            raise fail(ErrorCode.INVALID_ARGUMENT, message, "save them by name: numpy.savez")
        arrays = {signature.required[0].name: arrays}
    for name in arrays:
        if name not in names:
            message = f"{options.inputs} holds `{name}`, which is not an input of the model"
            raise fail(ErrorCode.INVALID_ARGUMENT, message, suggest(name, names, "inputs"))
    specs = {spec.name: spec for spec in signature.inputs}
    arrays = {name: with_dtype(value, specs[name]) if name in specs else value for name, value in arrays.items()}
    labels = None
    if options.labels is not None:
        read = read_arrays(options.labels)
        if not isinstance(read, np.ndarray):
            raise fail(ErrorCode.INVALID_ARGUMENT, f"{options.labels} is a .npz, labels are one array in a .npy")
        labels = read
        _check_labels(options, labels, arrays)
    return Sample(arrays, labels)


def read_arrays(path: Path) -> Array | dict[str, Array]:
    """Return the array of a .npy, or the arrays by name of a .npz; an empty one and pickled objects are refused."""
    arrays = _load(path)
    if isinstance(arrays, dict) and not arrays:
        hint = "save arrays by name: numpy.savez(FILE, NAME=array)"
        raise fail(ErrorCode.INVALID_ARGUMENT, f"{path} is an empty .npz: it holds no array", hint)
    return arrays


def _load(path: Path) -> Array | dict[str, Array]:
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded
        with loaded:
            return {name: loaded[name] for name in loaded.files}
    except FileNotFoundError:
        raise fail(ErrorCode.NOT_FOUND, f"{path} does not exist") from None
    except OSError as error:
        raise system_error(error, f"{path} cannot be read", f"chmod +r {quote(str(path))}") from None
    except Exception as error:  # noqa: BLE001  (zlib, zipfile and numpy each raise their own over a damaged file)
        message, hint = f"{path} is not a readable .npy or .npz file", "write it with numpy.save or numpy.savez"
        if str(error).startswith("Object arrays"):
            message = f"{path} holds Python objects; those are not read, because they can run code"
            hint = "save an array of numbers, or texts with `array.astype(str)`"
        raise fail(ErrorCode.INVALID_ARGUMENT, message, hint, cause=f"{type(error).__name__}: {error}") from None


def with_dtype(value: Array, spec: TensorSpec) -> Array:
    """Return a file's array; if the input is BF16, which numpy's files cannot name, its bits as BF16."""
    is_bf16 = spec.dtype is DataType.BF16 and value.dtype == np.dtype("V2")
    return value.view(spec.dtype.numpy) if is_bf16 else value


def _check_labels(options: SampleOptions, labels: Array, inputs: dict[str, Array]) -> None:
    if labels.ndim != 1:
        message = f"{options.labels} has shape {shape_text(labels.shape)}, labels have one class per row: `[batch]`"
        raise fail(ErrorCode.INVALID_ARGUMENT, message)
    rows = {value.shape[0] for value in inputs.values() if value.ndim}
    if rows and len(labels) not in rows:
        message = f"{options.labels} holds {len(labels)} labels, {options.inputs} has {max(rows)} rows"
        raise fail(ErrorCode.INVALID_ARGUMENT, message, "give one label per row")


def zeros(signature: Signature) -> dict[str, Array]:
    """Return the required inputs as zeros (empty strings) of the declared shapes, 1 for each dynamic dimension."""
    inputs = {}
    for spec in signature.required:
        shape = tuple(dim if isinstance(dim, int) else 1 for dim in spec.shape or ())
        fill = "" if spec.dtype is DataType.BYTES else 0
        inputs[spec.name] = np.full(shape, fill, spec.dtype.numpy)
    return inputs
