"""Our calls under compute-sanitizer's memcheck: `python -m tests.gpu.sanitize [LOG]`; a few minutes.

It runs streams, events, copies, page-locked memory and graphs of `devices/`, and the conformance kit's small models on
ONNX Runtime's CUDA provider, without and with `cuda_graph`. Exit: 0 nothing found in our own calls, 1 something found,
3 it could not run here, and says why. The tool comes with the CUDA toolkit, or with the package
`nvidia-cuda-sanitizer-api` from 13.5 on; before that its helper programs are missing from the package.
"""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from tests.gpu.sanitizer_log import findings, finished

TOOL = "compute-sanitizer"
PARTS = ("devices", "onnx", "onnx-graph")
LIMIT_S = 240


def tool():
    """Return the command to start it with, or None."""
    places = [os.environ.get(name) for name in ("CUDA_HOME", "CUDA_PATH", "CUDA_ROOT")]
    folders = [Path(place, "bin") for place in places if place] + sorted(Path("/usr/local").glob("cuda*/bin"))
    found = shutil.which(TOOL) or next((str(folder / TOOL) for folder in folders if (folder / TOOL).is_file()), None)
    return [found] if found else packaged()


def packaged():
    """Return the command of the one in a Python package; pip takes from its programs the right to be run."""
    try:
        files = importlib.metadata.files("nvidia-cuda-sanitizer-api") or []
    except importlib.metadata.PackageNotFoundError:
        return None
    folders = {Path(str(file.locate())).parent for file in files if file.name == "TreeLauncherSubreaper"}
    for folder in sorted(folders):
        if (folder / TOOL).is_file():
            for name in (TOOL, "TreeLauncherSubreaper", "TreeLauncherTargetLdPreloadHelper"):
                (folder / name).chmod(0o755)
            return [str(folder / TOOL)]
    return None


def watched(command, part, log):
    """Return what one part printed and its exit code, with the tool's own words in `log`."""
    arguments = [*command, "--tool", "memcheck", "--log-file", str(log), "--print-limit", "1000"]
    work = [sys.executable, "-m", "tests.gpu.sanitized", part]
    try:
        done = subprocess.run(
            [*arguments, *work], capture_output=True, text=True, timeout=LIMIT_S, check=False, errors="replace"
        )
    except subprocess.TimeoutExpired:
        return f"it took more than {LIMIT_S} s", None
    return (done.stdout + done.stderr).strip(), done.returncode


def report(part, log, printed, code):
    """Say what was found in one part; return the exit code for it."""
    text = log.read_text(errors="replace") if log.is_file() else ""
    if f"{part}: done" not in printed or not finished(text):
        last = " | ".join((printed + "\n" + text).strip().splitlines()[-8:])
        print(f"{part}: could not be watched (exit code {code}): {last}")
        return 3
    found = findings(text)
    ours = [finding for finding in found if finding.is_ours]
    others = Counter(f"{Path(finding.caller).name}: {finding.text}" for finding in found if not finding.is_ours)
    print(f"{part}: {len(ours)} findings in our own calls, {others.total()} in calls of the libraries themselves")
    for finding in ours[:20]:
        print(f"  ours: {finding.text} (from {Path(finding.caller).name or 'an unknown library'})")
    for words, count in others.most_common(5):
        print(f"  theirs, {count} times: {words[:200]}")
    return 1 if ours else 0


def main():
    command = tool()
    if command is None:
        print(f"{TOOL} is not here: install the CUDA toolkit, or nvidia-cuda-sanitizer-api>=13.5")
        return 3
    print(" ".join(command))
    codes = []
    with tempfile.TemporaryDirectory() as folder:
        keep = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(folder)
        keep.mkdir(parents=True, exist_ok=True)
        for part in PARTS:
            log = keep / f"{part}.log"
            codes.append(report(part, log, *watched(command, part, log)))
            sys.stdout.flush()
    return max(codes, key=(0, 3, 1).index)


if __name__ == "__main__":
    raise SystemExit(main())
