"""`DoctorCheck`: one finding of the doctor."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

Status = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class DoctorCheck:
    """A check's id, its result, and the command that fixes it."""

    id: str
    """A stable, kebab-case name."""
    status: Status
    detail: str
    fix: str | None = None
    """The exact command that fixes it, or the line to change."""

    def to_json(self) -> dict[str, Any]:
        """Return plain values, as one entry of `aegisrt doctor --json`."""
        return asdict(self)
