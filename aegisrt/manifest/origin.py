"""`Origin`: the file, override or default that set a value of the composed manifest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

from aegisrt.core.diagnostic import Location

KeyPath: TypeAlias = tuple[str | int, ...]
Environment: TypeAlias = Literal["hidden", "shown", "refused"]
"""What becomes of values from environment variables: `***` in all output, shown, or an error."""


@dataclass(frozen=True, slots=True)
class Origin:
    """The origin of one key of the composed manifest."""

    source: Literal["file", "override", "default"]
    key: Location | None = None
    """The key's place; None for a default, and for an entry of a sequence."""
    value: Location | None = None
    """The value's place; None for a default."""
    override: str | None = None
    """The override's text, as on the command line."""
    set_by: str | None = None
    """What chose the file: `env=prod`, or `backend=tensorrt, chosen in configs/env/prod.yaml:4:5`."""
    written: str | None = None
    """The text with interpolations that the value comes from."""
    from_env: bool = False
    """True if the value is of an environment variable, in whole or in part, and must not be shown."""


class Origins(Protocol):
    """The origins of a composition."""

    def of(self, path: KeyPath) -> Origin:
        """Return the origin of the value at `path`; that of a default if nothing set it."""
        ...


class NoOrigins:
    """The origins of a manifest that is a Python object: all unknown."""

    def of(self, path: KeyPath) -> Origin:
        """Return a default's origin."""
        return Origin("default")
