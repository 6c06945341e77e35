"""`Description`: what a kind of backend says of itself before any model is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from aegisrt.core.capabilities import Capabilities
from aegisrt.core.optional import Requirement, require
from aegisrt.core.options import BackendOptions
from aegisrt.core.result import ResultError

OptionsT = TypeVar("OptionsT", bound=BackendOptions)


@dataclass(frozen=True, slots=True)
class Availability:
    """Whether a backend's engine can be used in this process, and if not, why and what to run."""

    available: bool
    version: str | None = None
    reason: str | None = None
    install: str | None = None


class Description(Generic[OptionsT]):
    """The class attributes that an engine's file sets, and what is asked of a class, not of an instance."""

    kind: ClassVar[str]
    """The name of its entry point."""
    capabilities: ClassVar[Capabilities]
    Options: ClassVar[type[BackendOptions]]
    conformance_options: ClassVar[Mapping[str, Any]] = {}
    """Options with which the conformance kit judges it, unless told others: where its defaults limit what it serves."""
    requirement: ClassVar[Requirement | None] = None
    """The package that its engine needs; None where numpy is enough."""

    @classmethod
    def availability(cls, *, probe: bool = False) -> Availability:
        """Return whether the engine's package is installed; with `probe` (which takes longer), whether it imports."""
        need = cls.requirement
        if need is None:
            return Availability(True)
        reason = need.missing()
        if probe and reason is None:
            try:
                require(need)
            except ResultError as failure:
                reason = f"{failure.error.message}: {failure.error.cause}"
        return Availability(reason is None, need.version(), reason, need.install if reason else None)

    @classmethod
    def conformance_model(cls, name: str, folder: Path) -> Path | None:
        """Return this backend's own file of the conformance kit's reference model `name`, or None if it has none.

        `folder` holds the models as `NAME.onnx`; a backend with `.onnx` in `builds_from` builds what it is not given
        here. Override it for a format that the kit does not ship, and for files of your own package.
        """
        files = (folder / f"{name}{ending}" for ending in cls.capabilities.formats)
        return next((file for file in files if file.is_file()), None)

    @classmethod
    def build_note(cls, options: OptionsT, device: str) -> str | None:  # noqa: ARG003
        """Return what a user should know of files built with these options for this kind of device, or None."""
        return None
