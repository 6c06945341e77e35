"""The checks of every model file before an engine gets it."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from shlex import quote

from aegisrt.core.result import ErrorCode, fail
from aegisrt.core.system_error import system_error

_MAGIC = (
    (b"\x7fELF", "a native library (ELF)"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"\x89PNG", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"%PDF", "a PDF document"),
    (b"\x93NUMPY", "a numpy array (.npy)"),
    (b"\x89HDF", "an HDF5 file"),
    (b"\x80\x02", "a Python pickle"),
    (b"\x80\x03", "a Python pickle"),
    (b"\x80\x04", "a Python pickle"),
    (b"\x80\x05", "a Python pickle"),
    (b"GGUF", "a GGUF model"),
    (b"ftrt", "a TensorRT engine"),
    (b"MZ", "a Windows program"),
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself (run: git lfs pull)"),
)


def as_path(path: str | os.PathLike[str]) -> Path:
    """Return a path given by a caller as a Path.

    INVALID_ARGUMENT: if it is not a path.
    """
    try:
        return Path(path)
    except TypeError as error:
        raise fail(ErrorCode.INVALID_ARGUMENT, f"{path!r} is not a path", cause=str(error)) from None


def readable_file(path: str | os.PathLike[str]) -> Path:
    """Return `path` as an existing, non-empty, readable, regular file.

    NOT_FOUND: if it does not exist.
    INVALID_ARGUMENT: if it is a directory or a device, or not a path.
    DATA_LOSS: if it is empty.
    PERMISSION_DENIED: if it may not be read.
    RESOURCE_EXHAUSTED: if this process has no file descriptors left.
    """
    try:
        file = as_path(path)
        status = file.stat()
    except FileNotFoundError:
        raise fail(ErrorCode.NOT_FOUND, f"model file {file} does not exist", _neighbours(file)) from None
    except ValueError as error:  # a character that no path has
        raise fail(ErrorCode.INVALID_ARGUMENT, f"{path!r} is not a path", cause=str(error)) from None
    except NotADirectoryError as error:
        message = f"model file {path} does not exist: a part of its path is a file"
        raise fail(ErrorCode.NOT_FOUND, message, cause=str(error)) from None
    except OSError as error:
        otherwise = ErrorCode.INVALID_ARGUMENT
        raise system_error(error, f"model file {path} cannot be reached", otherwise=otherwise) from None
    if stat.S_ISDIR(status.st_mode):
        raise fail(ErrorCode.INVALID_ARGUMENT, f"model path {file} is a directory", "name the model's file in it")
    if not stat.S_ISREG(status.st_mode):
        raise fail(ErrorCode.INVALID_ARGUMENT, f"model path {file} is not a regular file")
    if status.st_size == 0:
        raise fail(ErrorCode.DATA_LOSS, f"model file {file} is empty", "export or copy it again")
    try:
        with file.open("rb"):
            pass
    except OSError as error:
        hint = f"let the user of this process read it: chmod +r {quote(str(file))}"
        raise system_error(error, f"model file {file} cannot be read", hint) from None
    return file


def known_format(path: Path) -> str | None:
    """Return a text for the format that the file's first bytes show, or None if they show none."""
    with path.open("rb") as stream:
        head = stream.read(64)
    for magic, name in _MAGIC:
        if head.startswith(magic):
            return name
    if head[:1] in b"{[<#" or head.lstrip()[:1] in (b"{", b"<"):
        return "a text file (JSON, XML or YAML)" if _is_text(head) else None
    return "a text file" if _is_text(head) else None


def _is_text(head: bytes) -> bool:
    return all(byte in b"\t\n\r" or 32 <= byte < 127 for byte in head)


def _neighbours(file: Path) -> str | None:
    if not file.parent.is_dir():
        return f"the folder {file.parent} does not exist either"
    same = sorted(other.name for other in file.parent.glob(f"*{file.suffix}") if other.is_file())[:5]
    return f"the folder has {', '.join(same)}" if same else None
