"""`Finding`: one number of a committed benchmark, and the bound that this project holds itself to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """One ratio, time or difference; `bound` is "" if it has none."""

    name: str
    value: float
    unit: str
    bound: str
    holds: bool
    detail: str

    def __str__(self) -> str:
        verdict = "holds" if self.holds else "FAILS"
        return f"{self.name:58} {self.value:8.2f} {self.unit:6} {self.bound:>9} {verdict}  {self.detail}".rstrip()


def at_most(name: str, value: float, bound: float, unit: str, detail: str = "") -> Finding:
    """Return a finding that holds if the value is at most `bound`."""
    return Finding(name, value, unit, f"<= {bound:g}", value <= bound, detail)


def gain(name: str, fast: float, slow: float, bound: float) -> Finding:
    """Return a finding that holds if the ratio of two rates is at least `bound`."""
    ratio = fast / slow
    return Finding(name, ratio, "times", f">= {bound:g}", ratio >= bound, f"{fast:.0f}/s over {slow:.0f}/s")


def exit_code(findings: Sequence[Finding]) -> int:
    """Return 0 if every bound holds, else 1."""
    return 0 if all(finding.holds for finding in findings) else 1
