"""What a path in a manifest can be besides a file: an address, or a link to nothing."""

from __future__ import annotations

import re
from pathlib import Path

_ADDRESS = re.compile("[A-Za-z][A-Za-z0-9+.-]+:/")


def is_address(text: str) -> bool:
    """Return True for an address with a scheme, such as `https://host/file` or `file:///file`."""
    return _ADDRESS.match(text) is not None


def broken_link(path: Path) -> Path | None:
    """Return the link in a path, itself or a folder of it, whose target does not exist; None if there is none."""
    for part in (path, *path.parents):
        try:
            if part.is_symlink() and not part.exists():
                return part
        except OSError:
            return None
    return None
