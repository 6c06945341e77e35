"""The whole conformance kit on a GPU, its groups side by side: for engines whose builds take long.

    python -m tests.gpu.whole_kit REPORT.json [OVERRIDE ...] [--backend trt] [--device cuda] [--limit_s 540]

Each group of checks runs in a process of its own. Those that measure memory run afterwards, alone on the GPU. Prints a
table and the reasons of what failed, and writes all results to one file; exits 1 unless each group ended and nothing
failed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from aegisrt.conformance.catalogue import all_checks

GROUPS = (
    "lifecycle signature", "inputs outputs", "dtypes numerics", "shapes capabilities", "model-files errors",
    "timings deadlines", "concurrency",
)  # fmt: skip
ALONE = "memory"


def start(group, folder, arguments):
    """Start a group's process; return it with its report and its log."""
    report, log = folder / f"{group.replace(' ', '-')}.json", folder / f"{group.replace(' ', '-')}.log"
    globs = [word for name in group.split() for word in ("--check", f"{name}.*")]
    device = ["--backend", arguments.backend, "--device", arguments.device]
    program = [sys.executable, "-m", "aegisrt", "conformance", *device, *globs, "--report", str(report)]
    with log.open("wb") as stream:
        process = subprocess.Popen([*program, *arguments.overrides], stdout=stream, stderr=subprocess.STDOUT)
    return process, report, log


def finish(group, started, began, deadline):
    """Wait for a group; print its line and what failed; return its results, None if it did not end well."""
    process, report, log = started
    try:
        process.wait(max(deadline - time.monotonic(), 1))
    except subprocess.TimeoutExpired:
        process.terminate()
        process.wait()
    results = json.loads(report.read_text())["results"] if report.is_file() else None
    counts = Counter(item["status"] for item in results or ())
    line = " ".join(f"{name} {count}" for name, count in sorted(counts.items())) or "NO REPORT"
    print(f"{group:24} {time.monotonic() - began:6.0f} s  exit {process.returncode:3}  {line}", flush=True)
    for item in results or ():
        if item["status"] == "failed":
            print(f"    FAILED {item['check']}: {item['reason']}", flush=True)
    if results is None:
        print(log.read_text(errors="replace")[-1500:], flush=True)
    return results


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("report", type=Path)
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--backend", default="trt")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--limit_s", type=float, default=540)
    arguments = parser.parse_args()
    left_out = {name.partition(".")[0] for name in all_checks()} - {ALONE} - set(" ".join(GROUPS).split())
    groups = [*GROUPS, *([" ".join(sorted(left_out))] if left_out else [])]
    began, found, missing = time.monotonic(), [], False
    deadline = began + arguments.limit_s
    with tempfile.TemporaryDirectory() as folder:
        running = [(group, start(group, Path(folder), arguments)) for group in groups]
        for group, started in running:
            results = finish(group, started, began, deadline - 90)
            missing |= results is None
            found += results or []
        results = finish(ALONE, start(ALONE, Path(folder), arguments), began, deadline)
        missing |= results is None
        found += results or []
    counts = Counter(item["status"] for item in found)
    print(" ".join(arguments.overrides) or "plain", dict(counts), "of", len(all_checks()), flush=True)
    arguments.report.write_text(json.dumps({"overrides": arguments.overrides, "counts": counts, "results": found}))
    sys.exit(bool(counts["failed"] or missing))


if __name__ == "__main__":
    main()
