"""`environment`: the machine and the versions of a benchmark."""

from __future__ import annotations

import os
import platform
from typing import Any

import numpy as np

from aegisrt import __version__


def environment() -> dict[str, Any]:
    """Return the machine and the versions that a measurement depends on."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "aegisrt": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "system": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
        "cores": usable,
        "load_average": list(os.getloadavg()) if hasattr(os, "getloadavg") else None,
    }
