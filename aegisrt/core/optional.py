"""`require`: import a package that may not be installed, or report how to install it; and versions of packages."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING

from aegisrt.core.result import ErrorCode, fail
from aegisrt.core.system_error import is_exhausted, system_error

if TYPE_CHECKING:
    from packaging.requirements import Requirement as PackageRequirement

DISTRIBUTION = "aegisrt-runtime"
"""The name of this project on a package index; `aegisrt` is another project's there."""


@dataclass(frozen=True, slots=True)
class Requirement:
    """A package that an extra of this project installs."""

    module: str
    """The module to import."""
    distributions: tuple[str, ...]
    """Distributions that provide it; the first one that is installed gives the version."""
    extra: str
    """The extra that installs it; for a third party's package, the requirement to install."""
    of: str = DISTRIBUTION
    """The distribution that declares the extra."""
    minimum: tuple[int, ...] = ()
    """The oldest supported version; empty if any is."""
    no_telemetry: str | None = None
    """The environment variable that disables its telemetry; `require` sets it to 1, unless the user has set it."""

    @property
    def install(self) -> str:
        """Return the exact command that installs it."""
        return f"pip install '{self.of}[{self.extra}]'"

    def version(self) -> str | None:
        """Return the installed version, or None; imports nothing."""
        return next((version for _, version in installed(self.distributions)), None)

    def missing(self) -> str | None:
        """Return why it cannot be used, or None; imports parent packages only."""
        try:
            found = importlib.util.find_spec(self.module) is not None
        except (ImportError, ValueError):
            found = False
        return self.too_old() if found else f"Python module `{self.module}` is not installed"

    def too_old(self) -> str | None:
        """Return a message if the installed version is older than `minimum`, else None."""
        version = self.version()
        if version is None or not self.is_old(version):
            return None
        return f"Python module `{self.module}` is version {version}, and {self.oldest} or later is needed"

    def is_old(self, version: str) -> bool:
        """Return whether a version is older than `minimum`."""
        return bool(self.minimum) and release(version) < self.minimum

    @property
    def oldest(self) -> str:
        """Return the oldest supported version as text: `1.26`."""
        return ".".join(map(str, self.minimum))


def require(requirement: Requirement) -> ModuleType:
    """Return the imported module; raise UNAVAILABLE with the reason and the exact install command."""
    if requirement.no_telemetry:
        os.environ.setdefault(requirement.no_telemetry, "1")
    try:
        module = importlib.import_module(requirement.module)
    except Exception as error:  # a package may raise anything while it is imported
        if is_exhausted(error):
            raise system_error(error, f"Python module `{requirement.module}` cannot be imported") from error
        reason = requirement.missing() or f"Python module `{requirement.module}` is installed but does not import"
        cause = str(error) if isinstance(error, ImportError) else f"{type(error).__name__}: {error}"
        raise fail(ErrorCode.UNAVAILABLE, reason, f"run: {requirement.install}", cause=cause) from error
    if old := requirement.too_old():
        raise fail(ErrorCode.UNAVAILABLE, old, f"run: {requirement.install}")
    return module


def release(version: str) -> tuple[int, ...]:
    """Return the numbers of a version: (1, 31, 0) for `1.31.0rc1+cpu`; empty if it is not one (PEP 440)."""
    from packaging.version import InvalidVersion, Version

    try:
        return Version(version).release
    except InvalidVersion:
        return ()


def requirements(extra: str = "") -> dict[str, PackageRequirement]:
    """Return what AegisRT, or one of its extras alone, requires, by distribution; empty if it is not installed."""
    from packaging.requirements import Requirement as PackageRequirement

    try:
        declared = [PackageRequirement(line) for line in importlib.metadata.requires(DISTRIBUTION) or ()]
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


def _applies(item: PackageRequirement, extra: str) -> bool:
    return item.marker is None or item.marker.evaluate({"extra": extra})
