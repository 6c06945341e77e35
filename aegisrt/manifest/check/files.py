"""`check_files`: finds model and sample files that do not exist, or that have another digest."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Any

from aegisrt.core.sidecar import pin_of, sidecar_path, sidecar_sha256
from aegisrt.core.stamp import file_sha256
from aegisrt.core.suggest import listed, meant, nearest, quoted
from aegisrt.core.system_error import is_exhausted
from aegisrt.manifest.check.locate import Locator
from aegisrt.manifest.contained import leaves_folder
from aegisrt.manifest.hidden import HIDDEN
from aegisrt.manifest.origin import KeyPath
from aegisrt.manifest.read.lookalikes import lookalike
from aegisrt.manifest.read.paths import broken_link, is_address
from aegisrt.manifest.read.source import MAPPING_NAME
from aegisrt.manifest.read.yaml_causes import RENDER, placeholder

_VARIABLE = re.compile(r"\$(?:\{([A-Za-z_]\w*)\}|([A-Za-z_]\w*))|%[A-Za-z_]\w*%")
_SHA256 = re.compile("[0-9a-fA-F]{64}")
_FILES = (("path",), ("sample", "inputs"), ("sample", "labels"))
_MODELS = (".onnx", ".ort")
"""Endings of files that have no sidecar."""
_LISTED = 8


def check_files(values: Mapping[str, Any], locator: Locator) -> None:
    """Report each file of a model that cannot be read, or that has another sha256 than declared."""
    checked: set[tuple[str, str]] = set()  # many models may have one file, which is read once
    for path, text in _named_files(values):
        if locator.is_full:
            break
        folders = _own_folders(locator, path)
        problem = _address(text) or _problem(Path(text), folders)
        if problem and locator.origins.of(path).from_env:
            message = f"{quoted(HIDDEN)}, the path of a file, is wrong"
            locator.at_value(path, problem.id, message, hint="its value is hidden; `--show-env` shows it")
        elif problem:
            locator.at_value(path, problem.id, problem.message, label=problem.label, hint=problem.hint)
        elif path[2:] == ("path",) and (pinned := (text, str(values["models"][path[1]].get("sha256")))) not in checked:
            checked.add(pinned)
            _check_digest(path[:2], Path(text), values, locator, folders)


def _own_folders(locator: Locator, path: KeyPath) -> list[Path]:
    """Return the folders whose files messages may show: that of the manifest, and for an override the current one.

    Of files elsewhere, neither neighbors nor digests are shown: a manifest may come from a pull request.
    """
    is_override = locator.origins.of(path).source == "override"
    manifest = Path() if locator.name == MAPPING_NAME else Path(locator.name).parent
    return [manifest, Path()] if is_override else [manifest]


def _is_in(path: Path, folders: list[Path]) -> bool:
    return any(not leaves_folder(path, folder) for folder in folders)


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


def _address(text: str) -> _Problem | None:
    """Return the problem of an address that is not a file's path, as the user wrote it; None for a path."""
    found = is_address(text)
    if not found:
        return None
    path = text.removeprefix("file://").removeprefix("localhost")
    hint = (
        f"write the path: `{path}`" if text.startswith("file:/") else "nothing is downloaded: give the path of a copy"
    )
    return _Problem("missing-file", f"{quoted(text)} is an address, not a file", "not a file", hint)


def _problem(path: Path, folders: list[Path]) -> _Problem | None:
    try:
        mode = path.stat().st_mode
        if stat.S_ISREG(mode):
            path.open("rb").close()
            return None
    except (FileNotFoundError, NotADirectoryError):
        return _missing(path, folders)
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
        inside = _names_in(path) if _is_in(path, folders) else []
        hint = f"it contains {_some(inside)}" if inside else None
        return _Problem("not-a-file", f"{_short(path)} is a directory, not a file", "a directory", hint)
    return _Problem("not-a-file", f"{_short(path)} is not a regular file", "not a regular file")


def _missing(path: Path, folders: list[Path]) -> _Problem:
    message = f"{_short(path)} does not exist"
    if link := broken_link(path):
        target = quoted(link.readlink())
        message = f"{_short(link)} is a link to {target}, which does not exist"
        return _Problem("missing-file", message, "a broken link", f"create {target}, or correct the link")
    if hint := _unexpanded(str(path)):
        return _Problem("missing-file", message, "no such file", hint)
    if not path.parent.is_dir():
        return _Problem("missing-file", message, "no such file", f"the folder {_short(path.parent)} does not exist")
    if not _is_in(path.parent, folders):
        return _Problem("missing-file", message, "no such file")
    beside = _names_in(path.parent)
    near = nearest(path.name, beside)
    label = meant(near) or "no such file"
    hint = f"its folder contains {_some(beside)}" if beside else "its folder is empty"
    return _Problem("missing-file", message, label, hint)


def _unexpanded(path: str) -> str | None:
    """Return a hint for a path with a part that another program would have replaced."""
    if "~" in Path(path).parts:
        return "write the whole path: `~` is not expanded here"
    if template := placeholder(path):
        return f"{quoted(template)} is a template's placeholder: {RENDER}"
    if odd := lookalike(Path(path).name):
        return f"{odd.message}: {odd.hint}"
    if found := _VARIABLE.search(path):
        return f"`$` is not expanded here: for the environment variable write `${{oc.env:{found[1] or found[2]}}}`"
    return None


def _names_in(folder: Path) -> list[str]:
    try:
        return sorted(entry.name for entry in os.scandir(folder) if not entry.name.startswith("."))
    except OSError:
        return []


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return listed(names[:_LISTED]) + more


def _check_digest(model: KeyPath, path: Path, values: Mapping[str, Any], locator: Locator, folders: list[Path]) -> None:
    expected = values["models"][model[1]].get("sha256")
    if not isinstance(expected, str) or not _SHA256.fullmatch(expected):
        return
    is_model = path.suffix.lower() in _MODELS
    described = None if is_model else sidecar_sha256(path)
    if expected.lower() == described or expected.lower() == (got := file_sha256(path)):
        return
    pin = got if is_model else pin_of(path)
    pinned = path if pin == got else sidecar_path(path)
    has, hint = "another sha256", f"`sha256sum {quote(str(pinned))}` prints it"
    hides = any(locator.origins.of((*model, key)).from_env for key in ("path", "sha256"))
    if _is_in(path, folders) and _is_in(pinned, folders) and not hides:
        has, hint = f"the sha256 {got}", f"if this is the right file, write `sha256: {pin}`"
    locator.at_value(
        (*model, "sha256"),
        "wrong-sha256",
        f"{_short(path)} has {has}, and {expected.lower()} is expected",
        label="another file's digest",
        hint=hint,
    )


def _short(path: Path) -> str:
    """Return the path in backticks, relative to the current folder if it is in it."""
    try:
        return quoted(path.relative_to(Path.cwd()))
    except ValueError:
        return quoted(path)
