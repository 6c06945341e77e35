"""`files`: the paths that the start of one may become, for completion."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path


def files(current: str, endings: tuple[str, ...] | None) -> Iterator[tuple[str, str]]:
    """Yield the files that `current` may become, with one of these endings (None: any), and folders, with a slash."""
    folder, slash, start = current.rpartition("/")
    try:
        entries = sorted(os.scandir(Path(folder + slash or ".").expanduser()), key=lambda entry: entry.name)
    except OSError:
        return
    for entry in entries:
        if entry.name.startswith(".") and not start.startswith("."):
            continue
        if entry.is_dir():
            yield f"{folder}{slash}{entry.name}/", ""
        elif endings is None or entry.name.endswith(endings):
            yield f"{folder}{slash}{entry.name}", ""
