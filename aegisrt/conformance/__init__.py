"""The conformance kit: proves a backend, yours or ours, check by check. See docs/CONFORMANCE.md."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aegisrt.conformance.kit import run
    from aegisrt.conformance.options import ConformanceOptions
    from aegisrt.conformance.report import CheckResult, Report, Status

_HOME = {
    "run": "aegisrt.conformance.kit",
    "Report": "aegisrt.conformance.report",
    "CheckResult": "aegisrt.conformance.report",
    "Status": "aegisrt.conformance.report",
    "ConformanceOptions": "aegisrt.conformance.options",
}

__all__ = ["run", "Report", "CheckResult", "Status", "ConformanceOptions"]


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module `aegisrt.conformance` has no attribute `{name}`")
    return getattr(importlib.import_module(home), name)
