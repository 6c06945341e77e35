"""`Description`: what is known of a kind of backend before any model is loaded."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar, cast

from aegisrt.core.capabilities import Capabilities
from aegisrt.core.optional import Requirement, require
from aegisrt.core.options import BackendOptions
from aegisrt.core.result import ResultError

if TYPE_CHECKING:
    from aegisrt.backends.base.installation import EngineInstallation

OptionsT = TypeVar("OptionsT", bound=BackendOptions)


@dataclass(frozen=True, slots=True)
class Availability:
    """Whether a backend's engine can be used in this process; if not, why, and the command that installs it."""

    available: bool
    version: str | None = None
    reason: str | None = None
    install: str | None = None


def availability_of(backend: type[Description[Any]], *, probe: bool = False) -> Availability:
    """Return a backend's availability; if its `availability` is broken: not available, with the reason."""
    try:
        state = backend.availability(probe=probe)
    except (Exception, SystemExit) as error:  # noqa: BLE001  (a third party's method may raise anything)
        return Availability(False, None, f"`availability()` of the backend raises {type(error).__name__}: {error}")
    if isinstance(state, Availability):
        return state
    return Availability(False, None, f"`availability()` of the backend returns {state!r}, not an Availability")


class Description(Generic[OptionsT]):
    """The class attributes that an engine's file sets, and the class methods."""

    kind: ClassVar[str]
    """The name of its entry point."""
    capabilities: ClassVar[Capabilities]
    Options: ClassVar[type[BackendOptions]]
    conformance_options: ClassVar[Mapping[str, Any]] = {}
    """Options for the conformance kit, unless others are given: for a backend whose defaults limit what it serves."""
    requirement: ClassVar[Requirement | None] = None
    """The package that its engine needs; None if numpy is enough."""
    doctor: ClassVar[str] = "aegisrt.backends.base.installation:EngineInstallation"
    """`module:Class` of the engine's `EngineInstallation`; `aegisrt doctor` and `backends` import it, others do not."""

    @classmethod
    def availability(cls, *, probe: bool = False) -> Availability:
        """Return whether the engine's package is installed; with `probe` (slower), whether it imports."""
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
    def installation(cls) -> EngineInstallation:
        """Return the packages of the engine, and the checks of its installation; raise what its import raises."""
        described = importlib.metadata.EntryPoint("doctor", cls.doctor, cls.kind).load()
        return cast("EngineInstallation", described(cls.kind, cls.requirement))

    @classmethod
    def conformance_model(cls, name: str, folder: Path) -> Path | None:
        """Return this backend's own file for the conformance kit's reference model `name`, or None if it has none.

        `folder` has the models as `NAME.onnx`; for None, a backend with `.onnx` in `builds_from` builds from that.
        Override it for a format that the kit does not ship, and for files in your own package.
        """
        files = (folder / f"{name}{ending}" for ending in cls.capabilities.formats)
        return next((file for file in files if file.is_file()), None)

    @classmethod
    def build_note(cls, options: OptionsT, device: str) -> str | None:  # noqa: ARG003
        """Return a note for users about files built with these options for this kind of device, or None."""
        return None
