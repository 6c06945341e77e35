"""`check_files`: finds model and sample files that do not exist, or that have another digest."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aegisrt.core.sidecar import file_sha256
from aegisrt.core.suggest import listed, nearest, quoted
from aegisrt.core.system_error import is_exhausted
from aegisrt.manifest.check.locate import Locator
from aegisrt.manifest.origin import KeyPath

_ADDRESS = re.compile("(^|/)[a-z][a-z0-9]+:/")
_SHA256 = re.compile("[0-9a-fA-F]{64}")
_FILES = (("path",), ("sample", "inputs"), ("sample", "labels"))
_LISTED = 8


def check_files(values: Mapping[str, Any], locator: Locator) -> None:
    """Report each file of a model that cannot be read, or that has another sha256 than declared."""
    for path, text in _named_files(values):
        problem = _problem(Path(text))
        if problem:
            locator.at_value(path, problem.id, problem.message, label=problem.label, hint=problem.hint)
        elif path[2:] == ("path",):
            _check_digest(path[:2], Path(text), values, locator)


def _named_files(values: Mapping[str, Any]) -> Iterator[tuple[KeyPath, str]]:
    models = values.get("models")
    for name, options in models.items() if isinstance(models, Mapping) else ():
        for keys in _FILES:
            found = options
            for key in keys:
                found = found.get(key) if isinstance(found, Mapping) else None
            if isinstance(found, str):
                yield ("models", name, *keys), found


@dataclass(frozen=True, slots=True)
class _Problem:
    id: str
    message: str
    label: str
    hint: str | None = None


def _problem(path: Path) -> _Problem | None:
    try:
        mode = path.stat().st_mode
        if stat.S_ISREG(mode):
            path.open("rb").close()
            return None
    except (FileNotFoundError, NotADirectoryError):
        return _missing(path)
    except PermissionError:
        return _Problem(
            "unreadable-file", f"no permission to read {_short(path)}", "permission denied", "check its permissions"
        )
    except (OSError, ValueError) as error:
        if is_exhausted(error):  # not an error of the manifest
            raise
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        return _Problem("unreadable-file", f"{_short(path)} cannot be read: {reason}", "cannot be read")
    if stat.S_ISDIR(mode):
        inside = _names_in(path)
        hint = f"it contains {_some(inside)}" if inside else None
        return _Problem("not-a-file", f"{_short(path)} is a directory, not a file", "a directory", hint)
    return _Problem("not-a-file", f"{_short(path)} is not a regular file", "not a regular file")


def _missing(path: Path) -> _Problem:
    message = f"{_short(path)} does not exist"
    if _ADDRESS.search(str(path)):
        return _Problem("missing-file", message, "not a file", "give a file on this machine: nothing is downloaded")
    if "~" in path.parts:
        return _Problem("missing-file", message, "no such file", "write the whole path: `~` is not expanded here")
    if not path.parent.is_dir():
        return _Problem("missing-file", message, "no such file", f"the folder {_short(path.parent)} does not exist")
    beside = _names_in(path.parent)
    near = nearest(path.name, beside)
    label = f"did you mean {quoted(near)}?" if near else "no such file"
    hint = f"its folder contains {_some(beside)}" if beside else "its folder is empty"
    return _Problem("missing-file", message, label, hint)


def _names_in(folder: Path) -> list[str]:
    try:
        return sorted(entry.name for entry in os.scandir(folder) if not entry.name.startswith("."))
    except OSError:
        return []


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return listed(names[:_LISTED]) + more


def _check_digest(model: KeyPath, path: Path, values: Mapping[str, Any], locator: Locator) -> None:
    expected = values["models"][model[1]].get("sha256")
    if not isinstance(expected, str) or not _SHA256.fullmatch(expected):
        return
    got = file_sha256(path)
    if got != expected.lower():
        locator.at_value(
            (*model, "sha256"),
            "wrong-sha256",
            f"{_short(path)} has the sha256 {got}, and {expected.lower()} is expected",
            label="another file's digest",
            hint=f"if this is the right file, write `sha256: {got}`",
        )


def _short(path: Path) -> str:
    """Return the path in backticks, relative to the current folder if it is in it."""
    try:
        return quoted(path.relative_to(Path.cwd()))
    except ValueError:
        return quoted(path)
