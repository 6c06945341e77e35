"""`source_of`: the identity of a model that an engine file is built from: its bytes and its external weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from aegisrt.backends.files.onnx import read_onnx
from aegisrt.core.result import ErrorCode, fail
from aegisrt.core.sidecar import file_sha256


def source_of(path: Path) -> dict[str, Any]:
    """Return `name`, `sha256` and `external` (the sha256 of each file of weights, by its name in the model).

    The errors of `read_onnx`, and:
    NOT_FOUND: if a file of weights is missing.
    PERMISSION_DENIED: if a file of weights is outside the model's folder.
    """
    names = read_onnx(path).external_files if path.suffix == ".onnx" else ()
    external = {name: file_sha256(_weights(path, name)) for name in names}
    return {"name": path.name, "sha256": file_sha256(path), "external": external}


def _weights(model: Path, name: str) -> Path:
    file = model.parent / name
    if not file.exists():
        message = f"{file} does not exist; {model} keeps weights in it"
        raise fail(ErrorCode.NOT_FOUND, message, "copy it together with the model")
    if Path(name).is_absolute() or not file.resolve().is_relative_to(model.resolve().parent):
        message = f"weights of {model} lie outside its folder: {name}"
        raise fail(ErrorCode.PERMISSION_DENIED, message, "put them beside the model")
    return file
