"""`discover`: the devices of this machine, and in words why one cannot be used."""

from __future__ import annotations

import os
import platform
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from aegisrt.core.result import ResultError
from aegisrt.devices.cuda.driver import CudaDriver, cuda_driver, installed_driver


@dataclass(frozen=True, slots=True)
class Found:
    """A device that a manifest can name, or the reason why none of its kind can be used."""

    id: str
    """What `device=` takes in direct use: `cpu`, `cuda:0`; `cuda` where no CUDA device can be used at all."""
    kind: str
    name: str | None = None
    compute_capability: str | None = None
    """CUDA: `9.0` and the like."""
    memory_bytes: int | None = None
    available: bool = True
    reason: str | None = None
    """Why it is not available, in the driver's words, and what to do."""
    driver: str | None = None
    """CUDA: the driver's version, and the newest CUDA version that it serves."""

    def to_json(self) -> dict[str, Any]:
        """Return plain values, as one entry of `aegisrt devices --json`."""
        return asdict(self)


def discover() -> tuple[Found, ...]:
    """Return the CPU and every CUDA device, or one entry that says why there is none. Needs no package installed."""
    return (_cpu(), *_cuda())


def _cuda() -> tuple[Found, ...]:
    try:
        driver = cuda_driver()
        count = driver.count()
    except ResultError as failure:
        return (_unusable(str(failure.error)),)
    if not count:
        return (_unusable("the driver sees no device; see CUDA_VISIBLE_DEVICES"),)
    return tuple(_device(driver, ordinal) for ordinal in range(count))


def _device(driver: CudaDriver, ordinal: int) -> Found:
    name = f"cuda:{ordinal}"
    try:
        capability = ".".join(map(str, driver.compute_capability(ordinal)))
        return Found(
            name,
            "cuda",
            driver.name(ordinal),
            capability,
            driver.memory_bytes(ordinal),
            driver=_words(driver.version()),
        )
    except ResultError as failure:
        return Found(name, "cuda", available=False, reason=str(failure.error), driver=_words(None))


def _unusable(reason: str) -> Found:
    return Found("cuda", "cuda", available=False, reason=reason, driver=_words(None))


def _words(cuda: str | None) -> str | None:
    parts = [installed_driver() or "", f"CUDA {cuda}" if cuda else ""]
    return ", ".join(part for part in parts if part) or None


def _cpu() -> Found:
    return Found("cpu", "cpu", _processor(), memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, None) or platform.processor() or platform.machine()
