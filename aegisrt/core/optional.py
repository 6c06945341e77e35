"""`require`: import a package that is not always there, or say how to get it."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
import re
from dataclasses import dataclass
from types import ModuleType

from aegisrt.core.result import ErrorCode, fail


@dataclass(frozen=True, slots=True)
class Requirement:
    """A package that an extra of this project brings."""

    module: str
    """What is imported."""
    distributions: tuple[str, ...]
    """What may be installed to have it; the first that is gives the version."""
    extra: str
    """The extra that installs it; for a third party's package, the requirement to install."""
    of: str = "aegisrt"
    """The distribution that has the extra."""
    minimum: tuple[int, ...] = ()
    """The oldest version that will do, as far as the extra says one."""
    no_telemetry: str | None = None
    """The variable that tells it to send nothing to its makers; `require` sets it to 1, unless the user has set it."""

    @property
    def install(self) -> str:
        """Return the exact command that installs it."""
        return f"pip install '{self.of}[{self.extra}]'"

    def version(self) -> str | None:
        """Return the installed version, or None; imports nothing."""
        for name in self.distributions:
            try:
                return importlib.metadata.version(name)
            except importlib.metadata.PackageNotFoundError:
                continue
        return None

    def missing(self) -> str | None:
        """Return why it cannot be used, or None; imports nothing but parent packages."""
        try:
            found = importlib.util.find_spec(self.module) is not None
        except (ImportError, ValueError):
            found = False
        return self.too_old() if found else f"Python module `{self.module}` is not installed"

    def too_old(self) -> str | None:
        """Return that the installed version is older than `minimum`, in words, or None."""
        version = self.version()
        if version is None or _numbers(version) >= self.minimum:
            return None
        oldest = ".".join(map(str, self.minimum))
        return f"Python module `{self.module}` is version {version}, and {oldest} or later is needed"


def require(requirement: Requirement) -> ModuleType:
    """Return the imported module; raise UNAVAILABLE with the reason and the exact install command."""
    if requirement.no_telemetry:
        os.environ.setdefault(requirement.no_telemetry, "1")
    try:
        module = importlib.import_module(requirement.module)
    except Exception as error:  # a package may raise anything while it is imported
        reason = requirement.missing() or f"Python module `{requirement.module}` is installed but does not import"
        cause = str(error) if isinstance(error, ImportError) else f"{type(error).__name__}: {error}"
        raise fail(ErrorCode.UNAVAILABLE, reason, f"run: {requirement.install}", cause=cause) from error
    if old := requirement.too_old():
        raise fail(ErrorCode.UNAVAILABLE, old, f"run: {requirement.install}")
    return module


def _numbers(version: str) -> tuple[int, ...]:
    """Return the release of a version: (1, 31, 0) for `1.31.0rc1+cpu`."""
    found = re.match(r"(?:\d+!)?(\d+(?:\.\d+)*)", version)
    return tuple(map(int, found[1].split("."))) if found else ()
