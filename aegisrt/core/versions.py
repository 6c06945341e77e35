"""The versions of packages, and what AegisRT's own metadata requires of them."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from packaging.requirements import Requirement

DISTRIBUTION = "aegisrt-runtime"
"""The name of this project on a package index; `aegisrt` is another project's there."""


def release(version: str) -> tuple[int, ...]:
    """Return the numbers of a version: (1, 31, 0) for `1.31.0rc1+cpu`; empty if it is not one (PEP 440)."""
    from packaging.version import InvalidVersion, Version

    try:
        return Version(version).release
    except InvalidVersion:
        return ()


def requirements(extra: str = "") -> dict[str, Requirement]:
    """Return what AegisRT, or one of its extras alone, requires, by distribution; empty if it is not installed."""
    from packaging.requirements import Requirement

    try:
        declared = [Requirement(line) for line in importlib.metadata.requires(DISTRIBUTION) or ()]
    except importlib.metadata.PackageNotFoundError:
        return {}
    always = {item.name: item for item in declared if _applies(item, "")}
    if not extra:
        return always
    return {item.name: item for item in declared if _applies(item, extra) and not _applies(item, "")}


def installed(names: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield the name and the version of each of these distributions that is installed; imports none."""
    for name in names:
        try:
            yield name, importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue


def _applies(item: Requirement, extra: str) -> bool:
    return item.marker is None or item.marker.evaluate({"extra": extra})
