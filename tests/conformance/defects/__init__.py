"""Backends that break one rule each; one file for each subject, as in aegisrt/conformance/checks/."""

from __future__ import annotations

import importlib

from tests.conformance.defects.defect import Defect, declared

SUBJECTS = (
    "lifecycle",
    "forks",
    "signature",
    "inputs",
    "optional_inputs",
    "outputs",
    "dtypes",
    "shapes",
    "numerics",
    "model_files",
    "errors",
    "timings",
    "deadlines",
    "busy_deadlines",
    "concurrency",
    "memory",
    "capabilities",
)


def all_defects() -> list[Defect]:
    """Return every defect, in the order of the files."""
    for subject in SUBJECTS:
        importlib.import_module(f"{__name__}.{subject}")
    return list(declared)
