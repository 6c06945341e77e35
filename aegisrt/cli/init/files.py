"""`check_free` and `write`: the files that `aegisrt init` writes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from shlex import quote
from typing import IO

from aegisrt.core.fresh_file import fresh_file
from aegisrt.core.result import ErrorCode, fail
from aegisrt.core.system_error import system_error


def check_free(files: Iterable[Path], *, force: bool) -> None:
    """Raise an error if one of the files cannot be written.

    NOT_FOUND: if its folder does not exist.
    INVALID_ARGUMENT: if it is a folder.
    ALREADY_EXISTS: if it exists, unless `force`.
    """
    for file in files:
        if not file.parent.is_dir():
            hint = f"mkdir -p {quote(str(file.parent))}"
            raise fail(ErrorCode.NOT_FOUND, f"the folder {file.parent} does not exist", hint)
        if file.is_dir():
            raise fail(ErrorCode.INVALID_ARGUMENT, f"{file} is a folder", "name another file: --out FILE.yaml")
        if file.exists() and not force:
            hint = "overwrite it with --force, or name another file: --out FILE.yaml"
            raise fail(ErrorCode.ALREADY_EXISTS, f"{file} exists already", hint)


def write(file: Path, content: Callable[[IO[bytes]], object]) -> None:
    """Write a file completely or not at all; `content` writes to the stream that it gets."""
    try:
        with fresh_file(file) as fresh, fresh.open("wb") as stream:
            content(stream)
    except OSError as error:
        hint = "name a file in another folder: --out FILE.yaml"
        raise system_error(error, f"{file} cannot be written", hint) from None
