"""`discover`: the devices of this machine, each with the reason if it cannot be used."""

from __future__ import annotations

import os
import platform
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from aegisrt.core.result import ResultError
from aegisrt.devices.cuda.driver import CudaDriver, cuda_driver, installed_driver


@dataclass(frozen=True, slots=True)
class DiscoveredDevice:
    """A device that a manifest can name, or the reason why no device of its kind can be used."""

    id: str
    """The value of `device=` in direct use: `cpu`, `cuda:0`; `cuda` if no CUDA device can be used at all."""
    kind: str
    name: str | None = None
    compute_capability: str | None = None
    """CUDA: `9.0` and the like."""
    memory_bytes: int | None = None
    available: bool = True
    reason: str | None = None
    """Why it is not available, in the driver's own text, and what to do."""
    driver: str | None = None
    """CUDA: the driver's version, and the newest CUDA version that it supports."""

    def to_json(self) -> dict[str, Any]:
        """Return plain values, as one entry of `aegisrt devices --json`."""
        return asdict(self)


def discover() -> tuple[DiscoveredDevice, ...]:
    """Return the CPU and every CUDA device, or one entry with the reason why there is none. Needs no package."""
    return (_cpu(), *_cuda())


def _cuda() -> tuple[DiscoveredDevice, ...]:
    try:
        driver = cuda_driver()
        count = driver.count()
    except ResultError as failure:
        return (_unusable(str(failure.error)),)
    if not count:
        return (_unusable("the driver sees no device; see CUDA_VISIBLE_DEVICES"),)
    return tuple(_device(driver, ordinal) for ordinal in range(count))


def _device(driver: CudaDriver, ordinal: int) -> DiscoveredDevice:
    name = f"cuda:{ordinal}"
    try:
        capability = ".".join(map(str, driver.compute_capability(ordinal)))
        return DiscoveredDevice(
            name,
            "cuda",
            driver.name(ordinal),
            capability,
            driver.memory_bytes(ordinal),
            driver=_driver_text(driver.version()),
        )
    except ResultError as failure:
        return DiscoveredDevice(name, "cuda", available=False, reason=str(failure.error), driver=_driver_text(None))


def _unusable(reason: str) -> DiscoveredDevice:
    return DiscoveredDevice("cuda", "cuda", available=False, reason=reason, driver=_driver_text(None))


def _driver_text(cuda: str | None) -> str | None:
    parts = [installed_driver() or "", f"CUDA {cuda}" if cuda else ""]
    return ", ".join(part for part in parts if part) or None


def _cpu() -> DiscoveredDevice:
    return DiscoveredDevice(
        "cpu", "cpu", processor(), memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    )


def processor() -> str:
    """Return the product name of this machine's processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, None) or platform.processor() or platform.machine()
