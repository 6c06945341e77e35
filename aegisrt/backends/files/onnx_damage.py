"""`check_onnx`, before an engine loads a file; `damage`: what is wrong with a file that ONNX Runtime refused."""

from __future__ import annotations

import os
import re
from pathlib import Path
from shlex import quote
from typing import TypeAlias

from aegisrt.backends.files.onnx import OnnxFile, looks_like_onnx, read_onnx
from aegisrt.backends.files.readable import known_format
from aegisrt.backends.files.source import weights_file
from aegisrt.core.result import ErrorCode, ResultError, fail

Finding: TypeAlias = tuple[ErrorCode, str, str | None]
_ORT_MAGIC = b"ORTM"
_AGAIN = "copy or export it again"
_SHORT = re.compile(r"out of bounds|read in full|external (data|initializer)", re.IGNORECASE)


def check_onnx(path: Path) -> OnnxFile:
    """Return what the ONNX file at `path` declares. Call it before an engine loads it.

    INVALID_ARGUMENT: if it has another format.
    DATA_LOSS: if it is cut short or damaged.
    UNIMPLEMENTED: if an input is not a tensor, or has an element type outside `DataType`.
    NOT_FOUND, PERMISSION_DENIED or INVALID_ARGUMENT: if a file with its weights is missing, or may not be read.
    """
    with path.open("rb") as stream:
        head = stream.read(64)
    other = None if looks_like_onnx(head) else known_format(path)
    if other:
        raise fail(ErrorCode.INVALID_ARGUMENT, f"{path} is {other}, not an ONNX model")
    model = read_onnx(path)
    for name in model.external_files:
        file = weights_file(path, name)
        if not os.access(file, os.R_OK):
            message = f"{file}, with weights of {path}, may not be read"
            raise fail(ErrorCode.PERMISSION_DENIED, message, f"chmod +r {quote(str(file))}")
    return model


def damage(path: Path, exception: str) -> Finding | None:
    """Return code, message and hint for what is wrong with the file at `path`, or None if nothing is found.

    `exception` is the text of ONNX Runtime's, class first: it detects damage that the checks here do not.
    """
    with path.open("rb") as stream:
        head = stream.read(64)
    is_ort = head[4:8] == _ORT_MAGIC
    if path.suffix.lower() == ".ort":
        return _ort_damage(path, head, is_ort)
    if is_ort:
        return ErrorCode.INVALID_ARGUMENT, f"{path} is an ORT-format model under another name", "name it `.ort`"
    try:
        model = check_onnx(path)
    except ResultError as problem:
        error = problem.error
        return None if error.code is ErrorCode.UNIMPLEMENTED else (error.code, error.message, error.hint)
    if exception.startswith("InvalidProtobuf"):
        return ErrorCode.DATA_LOSS, f"{path} is damaged", _AGAIN
    if model.external_files and _SHORT.search(exception):
        names = ", ".join(model.external_files)
        return ErrorCode.DATA_LOSS, f"{names}, with weights of {path}, is cut short or belongs to another model", _AGAIN
    return None


def _ort_damage(path: Path, head: bytes, is_ort: bool) -> Finding:
    if is_ort:
        return ErrorCode.DATA_LOSS, f"{path} is cut short or damaged, or of another version of the ORT format", _AGAIN
    what = "an ONNX model" if looks_like_onnx(head) else known_format(path)
    hint = "name it `.onnx`" if what == "an ONNX model" else None
    return ErrorCode.INVALID_ARGUMENT, f"{path} is {what or 'something else'}, not an ORT-format model", hint
