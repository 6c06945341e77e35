"""Fuzz what AegisRT reads from outside: print each input that gives a traceback, or takes too much memory or time.

    python -m tests.measuring.fuzz [--seconds 600] [--target NAME] [--seed N]
    python -m tests.measuring.fuzz --target NAME --seed N --first I --count 1       repeat one input

Each target runs in a process of its own, which may use 512 MiB beyond what it has after its valid inputs. The exit
code is 1 if anything was found; an input that was found is kept in --keep.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.measuring.fuzz.targets import TARGETS

SECONDS_FOR_START = 120


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600.0, help="of all targets together")
    parser.add_argument("--target", choices=sorted(TARGETS), action="append")
    parser.add_argument("--seed", type=int, default=time.time_ns() % 10**6)
    parser.add_argument("--first", type=int, default=0, help="the first input's number")
    parser.add_argument("--count", type=int, help="of inputs of each target, in place of --seconds")
    parser.add_argument("--keep", type=Path, default=Path(tempfile.gettempdir(), "fuzz-finds"))
    arguments = parser.parse_args()
    named = arguments.target or list(TARGETS)
    here = [name for name in named if TARGETS[name].is_here]
    for name in set(named) - set(here):
        print(f"{name}: left out, {TARGETS[name].needs} is not installed")
    found = 0
    for name in here:
        seconds = None if arguments.count else arguments.seconds / len(here)
        report = fuzz(name, arguments.seed, arguments.first, arguments.count, seconds, arguments.keep)
        found += len(report["finds"])
        print(
            f"{name}: {report['inputs']} inputs, {report['refused']} refused, slowest {report['slowest_s']:.2f} s, ",
            end="",
        )
        print(f"{len(report['finds'])} finds", flush=True)
        for find in report["finds"]:
            print(f"\n{find['what']}\n{find['file']}\npython -m tests.measuring.fuzz --target {name} ", end="")
            print(f"--seed {arguments.seed} --first {find['index']} --count 1\n", flush=True)
    return 1 if found else 0


def fuzz(name: str, seed: int, first: int, count: int | None, seconds: float | None, keep: Path) -> dict:  # type: ignore[type-arg]
    """Return the report of `one_target`, from a process of its own; its death is a find."""
    keep.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        job = {"name": name, "seed": seed, "first": first, "count": count, "seconds": seconds, "keep": str(keep)}
        command = [sys.executable, "-m", "tests.measuring.fuzz.one_target", json.dumps({**job, "folder": folder})]
        limit_s = None if seconds is None else seconds + SECONDS_FOR_START
        run = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=limit_s)
        lines = run.stdout.splitlines()
        if run.returncode == 0 and lines:
            return dict(json.loads(lines[-1]))
        progress = Path(folder, "index")
        index = int(progress.read_text()) if progress.exists() else -1
        kept = keep / f"{name}-{seed}-{index}{TARGETS[name].suffix}"
        written = Path(folder, "input" + TARGETS[name].suffix)
        kept.write_bytes(written.read_bytes() if written.exists() else b"")
        what = f"the process ended with {run.returncode}: {run.stderr[-3000:]}"
        find = {"index": index, "what": what, "file": str(kept)}
        return {"inputs": index + 1, "refused": 0, "slowest_s": 0.0, "finds": [find]}


if __name__ == "__main__":
    sys.exit(main())
