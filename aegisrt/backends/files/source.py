"""`source_of`: the identity of a model that an engine file is built from: its bytes and its external weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from aegisrt.backends.files.onnx import read_onnx
from aegisrt.core.result import ErrorCode, ResultError, fail
from aegisrt.core.stamp import file_sha256
from aegisrt.core.suggest import quoted

_LONGEST_NAME = 200


def source_of(path: Path) -> dict[str, Any]:
    """Return `name`, `sha256` and `external` (the sha256 of each file of weights, by its name in the model).

    The errors of `read_onnx` and of `weights_file`.
    """
    names = read_onnx(path).external_files if path.suffix == ".onnx" else ()
    external = {name: file_sha256(weights_file(path, name)) for name in names}
    return {"name": path.name, "sha256": file_sha256(path), "external": external}


def weights_file(model: Path, name: str) -> Path:
    """Return the file that a model calls `name`; links are followed, as far as ONNX Runtime follows them.

    NOT_FOUND: if it is missing.
    INVALID_ARGUMENT: if the name is not that of a regular file: reading a pipe or a device would never end.
    PERMISSION_DENIED: if it is neither in the model's folder nor in that of the file that the model is a link to.
    """
    try:
        file = _permitted(model, name)
        if file.is_file():
            return file
        if file.exists():
            raise _not_a_file(model, name)
    except (OSError, ValueError):  # a name that is too long, or has a character that no path has
        raise _not_a_file(model, name) from None
    message = f"{file} does not exist; {model} keeps weights in it"
    raise fail(ErrorCode.NOT_FOUND, message, "copy it together with the model")


def _not_a_file(model: Path, name: str) -> ResultError:
    shown = name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]}…"
    message = f"{model} keeps weights in {quoted(shown)}, which is not the name of a file"
    return fail(ErrorCode.INVALID_ARGUMENT, message, "export the model again")


def _permitted(model: Path, name: str) -> Path:
    file = model.parent / name
    if file.is_symlink() and not file.exists():
        message = f"{file}, with weights of {model}, is a link to {file.readlink()}, which does not exist"
        raise fail(ErrorCode.NOT_FOUND, message, "copy that file too")
    folders = (model.parent.resolve(), model.resolve().parent)
    if Path(name).is_absolute() or not any(map(file.resolve().is_relative_to, folders)):
        message = f"weights of {model} are outside its folder: {name}"
        raise fail(ErrorCode.PERMISSION_DENIED, message, "put them beside the model")
    return file
