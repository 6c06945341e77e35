"""`Locator`: makes diagnostics that point at a key or a value of a composed manifest."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from aegisrt.core.diagnostic import Diagnostic, Location
from aegisrt.manifest.errors import MOST_DIAGNOSTICS
from aegisrt.manifest.origin import KeyPath, Origin, Origins


@dataclass(slots=True)
class Locator:
    """Points at keys and values; a default is located at the nearest mapping around it that a file or override set."""

    origins: Origins
    name: str
    """The manifest's name in messages: its file."""
    diagnostics: list[Diagnostic] = field(default_factory=list)
    """The diagnostics so far."""

    @property
    def is_full(self) -> bool:
        """Return True if more diagnostics would not be reported: finding out what was meant takes time for each."""
        return len(self.diagnostics) >= MOST_DIAGNOSTICS

    def at_key(self, path: KeyPath, id: str, message: str, **rest: Any) -> None:  # noqa: A002
        """Add a diagnostic whose caret is on the key at `path`."""
        self._add(path, id, message, self.key(path), rest)

    def at_value(self, path: KeyPath, id: str, message: str, **rest: Any) -> None:  # noqa: A002
        """Add a diagnostic whose caret is on the value at `path`."""
        self._add(path, id, message, self.value(path), rest)

    def key(self, path: KeyPath) -> Location:
        """Return the place of the key at `path`; of an entry of a sequence, the place of its value."""
        origin = self.origins.of(path)
        return origin.key or origin.value or self._around(path)

    def value(self, path: KeyPath) -> Location:
        """Return the place of the value at `path`."""
        origin = self.origins.of(path)
        return origin.value or origin.key or self._around(path)

    def is_base(self, path: KeyPath) -> bool:
        """Return True if the value at `path` is a default or of the base configuration, and not the user's."""
        origin = self.origins.of(path)
        elsewhere = origin.value is not None and origin.value.file != self.name
        return origin.source == "default" or (origin.source == "file" and elsewhere and origin.set_by is None)

    def _around(self, path: KeyPath) -> Location:
        return self.key(path[:-1]) if len(path) > 1 else Location(self.name, 1, 1, 2)

    def _add(self, path: KeyPath, id: str, message: str, location: Location, rest: dict[str, Any]) -> None:  # noqa: A002
        if self.is_full:
            return
        set_by = self._setter(path).set_by
        self.diagnostics.append(Diagnostic(id, message, location, path=dotted(path), set_by=set_by, **rest))

    def _setter(self, path: KeyPath) -> Origin:
        origin = self.origins.of(path)
        return self._setter(path[:-1]) if origin.source == "default" and len(path) > 1 else origin


def dotted(path: KeyPath) -> str:
    """Return the path as users write it: `models.digits.signature.inputs.x.shape.0`."""
    return ".".join(str(part) for part in path)


def title(path: KeyPath) -> str:
    """Return the name of what is at `path`, for a message: its last key, and the index of an entry of a list."""
    cut = len(path)
    while cut > 1 and isinstance(path[cut - 1], int):
        cut -= 1
    return "".join([str(path[cut - 1]), *(f"[{index}]" for index in path[cut:])]) if path else "the manifest"
