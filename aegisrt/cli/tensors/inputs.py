"""Inputs from files: .npy, .npz, .json, .png, .jpg."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from shlex import quote
from typing import Any

import numpy as np

from aegisrt.cli.arguments import names_file
from aegisrt.cli.tensors.picture import picture
from aegisrt.core.result import ErrorCode, fail
from aegisrt.core.suggest import suggest
from aegisrt.core.system_error import system_error
from aegisrt.core.tensor import Array, DataType, Signature, TensorSpec
from aegisrt.runtime.building.sample import read_arrays, with_dtype

_READABLE = ".npy, .npz, .json, .png, .jpg"
_PICTURES = (".png", ".jpg", ".jpeg")
_NOT_FINITE = ("NaN", "Infinity", "-Infinity")


def read_inputs(arguments: Sequence[str], signature: Signature) -> dict[str, Array]:
    """Return arrays by input name from values of `--input`: NAME=FILE, or FILE alone.

    FILE alone holds several arrays by name, or the model's only input.
    INVALID_ARGUMENT: if an input is unknown, or the file does not fit it.
    NOT_FOUND: if the file does not exist.
    """
    specs = {spec.name: spec for spec in signature.inputs}
    inputs: dict[str, Array] = {}
    for word in arguments:
        name, path = _split(word, specs)
        content = _read(path, word)
        if name is None and isinstance(content, dict):
            new = {key: _fit(value, _spec(key, word, specs), path) for key, value in content.items()}
        else:
            spec = _spec(name, word, specs)
            new = {spec.name: _one(content, spec, path)}
        for key, value in new.items():
            if key in inputs:
                raise fail(ErrorCode.INVALID_ARGUMENT, f"--input gives `{key}` twice")
            inputs[key] = value
    return inputs


def _split(word: str, specs: Mapping[str, TensorSpec]) -> tuple[str | None, Path]:
    """Return the input's name, or None without one, and the path; the path of an existing file has no name before it.

    Both names and paths may contain `=` and `/`, so the names of the model's inputs come first, and then a `=` after
    a `/` belongs to a path, unless a file follows it.
    """
    if names_file(word):
        return None, Path(word)
    for name in sorted(specs, key=len, reverse=True):
        if word.startswith(f"{name}="):
            return name, Path(word[len(name) + 1 :])
    name, equals, path = word.partition("=")
    if not equals or ("/" in name and not names_file(path)):
        return None, Path(word)
    return name, Path(path)


def _spec(name: str | None, word: str, specs: Mapping[str, TensorSpec]) -> TensorSpec:
    if name is None:
        required = [spec for spec in specs.values() if not spec.optional]
        if len(required) == 1:
            return required[0]
        message = f"--input {word}: the model takes several inputs: {', '.join(specs)}"
        raise fail(ErrorCode.INVALID_ARGUMENT, message, "name the input: --input NAME=FILE")
    if name not in specs:
        hint = suggest(name, list(specs), "inputs")
        raise fail(ErrorCode.INVALID_ARGUMENT, f"--input {word}: `{name}` is not an input of the model", hint)
    return specs[name]


def _read(path: Path, word: str) -> Any:
    """Return a file's content: an array, JSON's lists, a dict of either by name, or None for a picture."""
    suffix = path.suffix.lower()
    if suffix not in (".npy", ".npz", ".json", *_PICTURES):
        message = f"--input {word}: unknown kind of file"
        raise fail(ErrorCode.INVALID_ARGUMENT, message, f"kinds are {_READABLE}")
    try:
        if not path.is_file():
            raise fail(ErrorCode.NOT_FOUND, f"--input {word}: the file does not exist")
    except OSError as error:
        raise system_error(error, f"--input {word}") from None
    if suffix in _PICTURES:
        return None
    return _json(path) if suffix == ".json" else read_arrays(path)


def _one(content: Any, spec: TensorSpec, path: Path) -> Array:
    """Return the array of one input from the content of its file."""
    if content is None:
        return picture(path, spec)
    if not isinstance(content, dict):
        return _fit(content, spec, path)
    if len(content) == 1:  # whatever its name: numpy.savez(file, array) calls it `arr_0`
        return _fit(next(iter(content.values())), spec, path)
    if spec.name not in content:
        hint = suggest(spec.name, list(content), "its arrays")
        raise fail(ErrorCode.INVALID_ARGUMENT, f"{path} holds no array `{spec.name}`", hint)
    return _fit(content[spec.name], spec, path)


def _json(path: Path) -> Any:
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise fail(ErrorCode.INVALID_ARGUMENT, f"{path} is not valid JSON", cause=str(error)) from None
    except OSError as error:
        raise system_error(
            error, f"{path} cannot be read", f"let this user read it: chmod +r {quote(str(path))}"
        ) from None
    if content == {}:
        raise fail(ErrorCode.INVALID_ARGUMENT, f"{path} holds no array", 'write arrays by name: {"NAME": [...]}')
    return content


def _fit(value: Any, spec: TensorSpec, path: Path) -> Array:
    """Return a file's value as an input's array: JSON's numbers, and BF16 stored by numpy, lack the dtype."""
    return with_dtype(value, spec) if isinstance(value, np.ndarray) else _typed(value, spec, path)


def _typed(value: Any, spec: TensorSpec, path: Path) -> Array:
    """Return nested JSON lists as an array of the input's dtype."""
    target = spec.dtype.numpy
    is_float = target.kind in "fV"
    try:
        plain = _with_infinities(value) if is_float else value
        untyped = np.asarray(plain)
    except (ValueError, RecursionError) as error:
        message = f"{path} is not an array of one shape"
        raise fail(
            ErrorCode.INVALID_ARGUMENT, message, "give all lists of one level the same length", cause=str(error)
        ) from None
    kinds = "iuf" if is_float else {"b": "b", "i": "iu", "u": "iu", "O": "U"}[target.kind]
    kind = "i" if target.kind in "iu" and _are_integers(plain, untyped) else untyped.dtype.kind
    if kind not in kinds and untyped.size:
        names = {"O": "values that are not numbers", "U": "strings", "b": "booleans", "f": "floating-point numbers"}
        message = f"{path} holds {names.get(kind, 'numbers')}, but the input `{spec.name}` is {spec.dtype}"
        hint = "write strings" if spec.dtype is DataType.BYTES else "write values of that type: nothing is cast"
        raise fail(ErrorCode.INVALID_ARGUMENT, message, hint)
    try:
        with np.errstate(over="raise"):
            return np.asarray(plain, target)
    except (OverflowError, ValueError, FloatingPointError) as error:
        message = f"{path} holds a number outside the range of {spec.dtype}"
        raise fail(ErrorCode.INVALID_ARGUMENT, message, cause=str(error)) from None


def _are_integers(value: Any, untyped: Array) -> bool:
    """Return whether all are integers: numpy reads them as floats if one needs 64 unsigned bits."""
    return untyped.dtype.kind == "f" and all(type(item) is int for item in np.asarray(value, object).flat)


def _with_infinities(value: Any) -> Any:
    """Return JSON's lists with the strings for NaN and infinities, which JSON lacks, as numbers."""
    if isinstance(value, list):
        return [_with_infinities(item) for item in value]
    return float(value) if value in _NOT_FINITE else value
