"""Inputs from files: .npy, .npz, .json, .png, .jpg."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from aegisrt.cli.arguments import names_file
from aegisrt.cli.tensors.json_input import read_json, typed
from aegisrt.cli.tensors.picture import picture
from aegisrt.core.result import ErrorCode, fail
from aegisrt.core.suggest import suggest
from aegisrt.core.system_error import system_error
from aegisrt.core.tensor import Array, Signature, TensorSpec
from aegisrt.runtime.building.array_file import open_arrays
from aegisrt.runtime.building.input_budget import InputBudget, memory_for

_READABLE = ".npy, .npz, .json, .png, .jpg"
_PICTURES = (".png", ".jpg", ".jpeg")


def read_inputs(arguments: Sequence[str], signature: Signature, budget: InputBudget) -> dict[str, Array]:
    """Return arrays by input name from values of `--input`: NAME=FILE, or FILE alone.

    FILE alone holds several arrays by name, or the model's only input. Names, dtypes and sizes are checked first.
    INVALID_ARGUMENT: if an input is unknown, or the file does not fit it.
    NOT_FOUND: if the file does not exist.
    RESOURCE_EXHAUSTED: if the budget, or the memory, is too small.
    """
    specs = {spec.name: spec for spec in signature.inputs}
    inputs: dict[str, Array] = {}
    for word in arguments:
        name, path = _split(word, specs)
        with memory_for(f"--input {word}"):
            new = _read(name, path, word, specs, budget)
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


def _read(
    name: str | None, path: Path, word: str, specs: Mapping[str, TensorSpec], budget: InputBudget
) -> dict[str, Array]:
    """Return the arrays of a file by input; it is for the input `name`, or for all inputs that it names."""
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
        spec = _spec(name, word, specs)
        return {spec.name: picture(path, spec, budget)}
    if suffix == ".json":
        content = read_json(path, budget)
        by_name = content if isinstance(content, dict) else {None: content}
        chosen = _chosen(name, list(content) if isinstance(content, dict) else None, path, word, specs)
        return {spec.name: typed(by_name[key], spec, path) for key, spec in chosen.items()}
    with open_arrays(path) as file:
        chosen = _chosen(name, file.names, path, word, specs)
        return {chosen[key].name: value for key, value in file.read(chosen, budget).items()}


def _chosen(
    name: str | None, names: Sequence[str] | None, path: Path, word: str, specs: Mapping[str, TensorSpec]
) -> dict[str | None, TensorSpec]:
    """Return the input for each array to read; `names` is None if the file's only array has no name."""
    if names is not None and name is None:
        return {key: _spec(key, word, specs) for key in names}
    spec = _spec(name, word, specs)
    if names is None:
        return {None: spec}
    if len(names) == 1:  # whatever its name: numpy.savez(file, array) calls it `arr_0`
        return {names[0]: spec}
    if spec.name not in names:
        hint = suggest(spec.name, list(names), "its arrays")
        raise fail(ErrorCode.INVALID_ARGUMENT, f"{path} holds no array `{spec.name}`", hint)
    return {spec.name: spec}
