"""Counts of what a process holds: memory, files, threads; each None if the system does not report it."""

from __future__ import annotations

import gc
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from aegisrt.devices.base import Device


def resident_bytes() -> int | None:
    """Return the resident memory of this process, from Linux's /proc."""
    gc.collect()
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")


def open_files() -> int | None:
    """Return how many file descriptors are open."""
    return _entries("/proc/self/fd")


def os_threads() -> int | None:
    """Return how many threads the process has, an engine's own among them."""
    return _entries("/proc/self/task")


def device_bytes(device: Device) -> int | None:
    """Return the memory in use on a CUDA device, by all processes, from `nvidia-smi`; None elsewhere."""
    tool = shutil.which("nvidia-smi")
    if device.kind != "cuda" or tool is None:
        return None
    query = [tool, f"--id={device.ordinal}", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
    try:
        output = subprocess.run(query, capture_output=True, text=True, timeout=30, check=True).stdout  # noqa: S603
        return int(output.split()[0]) << 20
    except (OSError, ValueError, IndexError, subprocess.SubprocessError):
        return None


def settled(count: Callable[[], int | None], at_most: int, within_s: float = 2.0) -> int:
    """Return `count()`, given time to fall to `at_most`: threads end a moment after they are asked to."""
    until = time.monotonic() + within_s
    while (now := count() or 0) > at_most and time.monotonic() < until:
        time.sleep(0.02)
    return now


def growth(count: Callable[[], int | None], work: Callable[[], None], limit: int, rounds: int = 3) -> list[int]:
    """Return how much `count()` grew in each of up to `rounds` rounds of `work`; stops at one within `limit`.

    A leak grows in every round; an allocator that keeps pages, or a lazy cache, does not.
    """
    grown: list[int] = []
    for _ in range(rounds):
        before = count() or 0
        work()
        grown.append((count() or 0) - before)
        if grown[-1] <= limit:
            break
    return grown


def leak(work: Callable[[], None], turns: int, growth_bytes: int) -> str | None:
    """Return a description of what `work` leaks, or None; `work` repeats one action `turns` times.

    Resident memory shows an engine's leaks, Python's count of allocated blocks shows one small object a turn. Caches
    fill for a hundred turns or so, ever more slowly; a leak goes on.
    """
    work()
    work()
    fewest = turns * 9 // 10
    blocks = growth(_blocks, work, fewest, rounds=6)
    if blocks[-1] > fewest:
        return f"Python holds {blocks[-1] / turns:.1f} more memory blocks after each turn"
    if resident_bytes() is None:
        return None
    grown = growth(resident_bytes, work, growth_bytes)
    if grown[-1] > growth_bytes:
        return f"resident memory grew by {', '.join(f'{size / 1e6:.1f}' for size in grown)} MB, round after round"
    return None


def _blocks() -> int:
    """Return Python's count of allocated memory blocks, without those that its method cache keeps alive.

    That cache holds the name of each attribute that was looked up, up to 4096 of them: `getattr(x, f"ORT_{level}")`
    would look like a leak for a thousand turns.
    """
    gc.collect()
    clear = getattr(sys, "_clear_internal_caches", None) or getattr(sys, "_clear_type_cache", None)
    if clear is not None:
        clear()
    return sys.getallocatedblocks()


def _entries(folder: str) -> int | None:
    gc.collect()
    try:
        return len(list(Path(folder).iterdir()))
    except OSError:
        return None
