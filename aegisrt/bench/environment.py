"""`environment`: the machine and the versions of a benchmark; `engine`: what ran the model."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
from datetime import UTC, datetime
from typing import Any

import numpy as np

from aegisrt import __version__
from aegisrt.backends.base.description import availability_of
from aegisrt.devices.discover import discover, processor
from aegisrt.runtime.context import ExecutionContext


def environment() -> dict[str, Any]:
    """Return the machine, the date (UTC) and the versions that a measurement depends on.

    `versions` has every distribution with a module that this process has imported, so also a third party's engine.
    """
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "aegisrt": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "system": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
        "processor": processor(),
        "cores": usable,
        "load_average": list(os.getloadavg()) if hasattr(os, "getloadavg") else None,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": _versions(),
    }


def engine(context: ExecutionContext, model: str) -> dict[str, Any]:
    """Return the kind and the version of a model's engine, what it reports of the model, and its device."""
    backend = context.backend(model)
    state = availability_of(type(backend))
    metadata = {key: value if _is_plain(value) else str(value) for key, value in (backend.metadata or {}).items()}
    return {
        "kind": backend.kind,
        "version": state.version,
        "metadata": metadata,
        "device": backend.device.name,
        "device_name": _device_name(backend.device.name),
        "instances": backend.instances,
    }


def _device_name(device: str) -> str | None:
    """Return the product name of a device; a GPU's with its driver. The driver is asked only for a GPU."""
    if device == "cpu":
        return processor()
    found = next((one for one in discover() if one.id == device), None)
    if found is None or found.name is None:
        return None
    return f"{found.name} (driver {found.driver})" if found.driver else found.name


def _versions() -> dict[str, str]:
    loaded = {name.partition(".")[0] for name in sys.modules}
    names = {name for module, names in importlib.metadata.packages_distributions().items() if module in loaded
             for name in names}  # fmt: skip
    versions = {}
    for name in sorted(names, key=str.lower):
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:  # its metadata is damaged
            continue
    return versions


def _is_plain(value: object) -> bool:
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_plain(inner) for key, inner in value.items())
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, str | int | float | bool)
