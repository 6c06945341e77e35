"""The environment block of a report: versions, processor, device."""

from __future__ import annotations

import os
import platform

import numpy as np

import aegisrt
from aegisrt.conformance.report import Environment
from aegisrt.devices.base import Device
from aegisrt.devices.discover import discover, processor


def environment(kind: str, engine_version: str | None, device: Device) -> Environment:
    """Return the environment block for one backend kind and device; loads no engine."""
    return Environment(
        aegisrt=aegisrt.__version__,
        python=platform.python_version(),
        numpy=np.__version__,
        platform=f"{platform.system()} {platform.release()} {platform.machine()}",
        cpu=processor(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        engines={kind: engine_version},
        devices={device.name: _device(device)},
    )


def _device(device: Device) -> str:
    """Return the device's name and driver, or why it is not available."""
    if device.kind == "cpu":
        return processor()
    found = [one for one in discover() if one.kind == device.kind]
    one = next((one for one in found if one.id == f"{device.kind}:{device.ordinal}"), found[0] if found else None)
    if one is None or not one.available:
        return (one and one.reason) or "not found"
    return " ".join(part for part in (one.name, one.driver and f"(driver {one.driver})") if part)
