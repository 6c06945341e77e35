"""The conformance kit: checks that a backend meets the contract. See docs/CONFORMANCE.md."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aegisrt.conformance.kit import run
    from aegisrt.conformance.options import ConformanceOptions
    from aegisrt.conformance.report import CheckResult, Report, Status

_MODULE_OF = {
    "run": "aegisrt.conformance.kit",
    "Report": "aegisrt.conformance.report",
    "CheckResult": "aegisrt.conformance.report",
    "Status": "aegisrt.conformance.report",
    "ConformanceOptions": "aegisrt.conformance.options",
}

__all__ = ["run", "Report", "CheckResult", "Status", "ConformanceOptions"]


def __getattr__(name: str) -> Any:
    module = _MODULE_OF.get(name)
    if module is None:
        raise AttributeError(f"module `aegisrt.conformance` has no attribute `{name}`")
    return getattr(importlib.import_module(module), name)
