"""`Diagnostic`: one problem of a manifest, and where it is."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

Severity = Literal["error", "warning"]


@dataclass(frozen=True, slots=True, order=True)
class Location:
    """A place in a file or in an override; lines and columns count from 1, in characters.

    For an override, `file` is `override TEXT`, with the text from the command line, and `line` is 1.
    """

    file: str
    line: int
    column: int
    end_column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class Note:
    """A second place that helps the reader, such as the line that declares a reference's target."""

    message: str
    location: Location | None = None


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One problem of a manifest: what it is, where, and how to fix it."""

    id: str
    """A stable, kebab-case name, such as `unknown-field`; docs/ERRORS.md lists them all."""
    message: str
    location: Location
    path: str = ""
    """The dotted key path in the composed manifest."""
    hint: str | None = None
    set_by: str | None = None
    """What included this file in the composition, if not the manifest itself."""
    label: str | None = None
    """The text beside the caret."""
    notes: tuple[Note, ...] = ()
    severity: Severity = "error"

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form of one entry of `aegisrt validate --json`."""
        return {
            "id": self.id,
            "severity": self.severity,
            **asdict(self.location),
            "path": self.path,
            "message": self.message,
            "hint": "; ".join(text for text in (self.label, self.hint) if text) or None,
            "set_by": self.set_by,
        }
