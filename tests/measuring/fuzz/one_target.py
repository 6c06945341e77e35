"""One target in this process, under limits; `python -m tests.measuring.fuzz` starts it. Prints one line of JSON."""

from __future__ import annotations

import faulthandler
import json
import os
import shutil
import sys
import time
import traceback
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

from aegisrt.core.result import Error, ErrorCode, ResultError
from tests.measuring.fuzz.targets import TARGETS, Target

MOST_BYTES = 512 * 2**20
MOST_SECONDS = 5.0
HUNG_AFTER_S = 100.0
_MOST_FINDS = 10
_NO_MEMORY = ("MemoryError", "Unable to allocate", "cannot allocate")


def main(job: dict[str, Any]) -> dict[str, Any]:
    """Read inputs until `count` or `seconds` is reached, or enough was found."""
    target, folder = TARGETS[job["name"]], Path(job["folder"])
    seeds = target.seeds()
    for seed in seeds:
        _read(target, folder, seed)
    _limit_memory()
    started, slowest, refused, finds = time.monotonic(), 0.0, 0, {}
    done = 0
    for index in _indices(job, started):
        (folder / "index").write_text(str(index))
        random = Random(f"{job['name']}/{job['seed']}/{index}")
        data = random.choice(seeds)
        for _ in range(random.choice((1, 1, 2, 4))):
            data = target.change(data, random)
        begun = time.monotonic()
        what, is_refused = _read(target, folder, data)
        elapsed = time.monotonic() - begun
        if what is None and elapsed > MOST_SECONDS and job["seconds"] is not None:
            what = f"it took {elapsed:.1f} s"
        done, refused, slowest = done + 1, refused + is_refused, max(slowest, elapsed)
        if what is not None and _place(what) not in finds:
            kept = Path(job["keep"], f"{job['name']}-{job['seed']}-{index}{target.suffix}")
            shutil.copy(folder / f"input{target.suffix}", kept)
            finds[_place(what)] = {"index": index, "what": what, "file": str(kept)}
        if len(finds) == _MOST_FINDS:
            break
    return {"inputs": done, "refused": refused, "slowest_s": slowest, "finds": list(finds.values())}


def _indices(job: dict[str, Any], started: float) -> Iterator[int]:
    for index in count(job["first"]):
        late = job["seconds"] is not None and time.monotonic() - started > job["seconds"]
        if late or (job["count"] is not None and index - job["first"] >= job["count"]):
            return
        yield index


def _read(target: Target, folder: Path, data: bytes) -> tuple[str | None, bool]:
    """Return what is wrong with how an input is read, and whether it is refused."""
    path = folder / f"input{target.suffix}"
    path.write_bytes(data)
    faulthandler.dump_traceback_later(HUNG_AFTER_S, exit=True)
    try:
        error = target.read(path)
    except ResultError as raised:
        error = raised.error
    except target.allowed:
        return None, True
    except BaseException:  # noqa: BLE001  (SystemExit is a find too)
        return traceback.format_exc(), False
    finally:
        faulthandler.cancel_dump_traceback_later()
    return (_hidden(error), True) if isinstance(error, Error) else (None, False)


def _hidden(error: Error) -> str | None:
    """Return an error that hides a bug, or that memory ran out."""
    text = f"{error.code}: {error.message} ({error.cause})"
    if error.code is ErrorCode.INTERNAL:
        return text
    no_memory = any(word in text for word in _NO_MEMORY) and error.code is not ErrorCode.RESOURCE_EXHAUSTED
    return text if no_memory else None


def _place(what: str) -> str:
    """Return the last line of the package in a traceback: finds of the same place are one."""
    lines = [line for line in what.splitlines() if "/aegisrt/" in line and line.lstrip().startswith("File")]
    return lines[-1] + what.splitlines()[-1].partition(":")[0] if lines else what[:60]


def _limit_memory() -> None:
    """Limit the address space to what it is now and 512 MiB more; only Linux shows what it is."""
    statm = Path("/proc/self/statm")
    if not statm.exists():
        return
    import resource

    used = int(statm.read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (used + MOST_BYTES, used + MOST_BYTES))


if __name__ == "__main__":
    report = main(json.loads(sys.argv[1]))
    print(json.dumps(report))
    sys.stdout.flush()
    os._exit(0)
