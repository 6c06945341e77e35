"""The cost of starting: `python -m aegisrt.bench.own.startup [--rounds N] [--json]`.

Fresh processes: `aegisrt --help`, `import aegisrt`, all public names, `aegisrt validate` and `aegisrt run` of the
packaged demo, each as a ratio to `python -c "import numpy, pydantic"` in the same rounds. Every command runs once
before it is timed, so that its files are in the cache and its bytecode is written.
"""

from __future__ import annotations

import json
import platform
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from aegisrt.bench.measure import Call, TimedCalls, interleaved
from aegisrt.bench.own.arguments import parser_of
from aegisrt.bench.own.finding import Finding, at_most, exit_code

HELP, IMPORT = "aegisrt --help", "import aegisrt"
BARE = 'python -c "import numpy, pydantic"'
COMMANDS: dict[str, tuple[str, ...]] = {
    BARE: ("-c", "import numpy, pydantic"),
    HELP: ("-m", "aegisrt", "--help"),
    IMPORT: ("-c", "import aegisrt"),
    "from aegisrt import *": ("-c", "from aegisrt import *"),
    "aegisrt validate": ("-m", "aegisrt", "validate"),
    "aegisrt run": ("-m", "aegisrt", "run"),
}
HELP_MS, IMPORT_ADDED_MS = 400.0, 100.0


@dataclass(frozen=True, slots=True)
class StartupTimes:
    """All commands of one run, the bare one first."""

    samples: dict[str, TimedCalls]
    rounds: int
    missing: dict[str, str]
    """Commands that could not be measured, and why."""

    def findings(self) -> list[Finding]:
        """Return the best times of the two commands that have a bound."""
        best_ms = {name: min(sample.times_ns) / 1e6 for name, sample in self.samples.items()}
        found = []
        if HELP in best_ms:
            found.append(at_most(HELP, best_ms[HELP], HELP_MS, "ms", "the best round"))
        if IMPORT in best_ms:
            added = best_ms[IMPORT] - best_ms[BARE]
            found.append(
                at_most(f"{IMPORT}, beyond numpy and pydantic", added, IMPORT_ADDED_MS, "ms", "the best rounds")
            )
        return found

    def to_json(self) -> dict[str, Any]:
        """Return plain values: environment, and for each command `median_ms`, `best_ms`, `added_ms` and `ratio`."""
        bare_us = self.samples[BARE].median_us
        return {
            "environment": {"python": platform.python_version(), "machine": platform.machine()},
            "rounds": self.rounds,
            "commands": {
                name: {
                    "median_ms": round(sample.median_us / 1e3, 1),
                    "best_ms": round(min(sample.times_ns) / 1e6, 1),
                    "added_ms": round((sample.median_us - bare_us) / 1e3, 1),
                    "ratio": round(sample.median_us / bare_us, 3),
                }
                for name, sample in self.samples.items()
            },
            "missing": self.missing,
            "findings": [asdict(finding) for finding in self.findings()],
        }


def measure(rounds: int, commands: Sequence[str] = tuple(COMMANDS)) -> StartupTimes:
    """Return the wall times of `rounds` fresh processes of each command; a command that fails is in `missing`."""
    with tempfile.TemporaryDirectory() as empty:
        reasons = {name: _failure(name, empty) for name in dict.fromkeys((BARE, *commands))}
        calls: dict[str, Call] = {name: _start(name, empty) for name, reason in reasons.items() if reason is None}
        missing = {name: reason for name, reason in reasons.items() if reason is not None}
        return StartupTimes(interleaved(calls, rounds, warmup=0), rounds, missing)


def table(measured: StartupTimes) -> str:
    """Return the table that a person reads."""
    lines = [
        f"fresh processes, {measured.rounds} interleaved rounds, Python {platform.python_version()}",
        f"{'command':40}{'median ms':>10}{'best ms':>10}{'added ms':>10}{'ratio':>8}",
    ]
    for name, row in measured.to_json()["commands"].items():
        lines.append(
            f"{name:40}{row['median_ms']:10.1f}{row['best_ms']:10.1f}{row['added_ms']:10.1f}{row['ratio']:8.2f}"
        )
    lines += [f"{name:40}{why}" for name, why in measured.missing.items()]
    return "\n".join([*lines, *map(str, measured.findings())])


def main(arguments: list[str] | None = None) -> int:
    """Return the exit code: 0 if the bounds hold, else 1."""
    given = parser_of("startup", __doc__, rounds=10, what="command").parse_args(arguments)
    measured = measure(given.rounds)
    print(json.dumps(measured.to_json(), indent=2) if given.json else table(measured))
    return exit_code(measured.findings())


def _failure(name: str, folder: str) -> str | None:
    """Return why a command fails, or None; running it once also warms the caches."""
    done = _run(name, folder)
    if done.returncode == 0:
        return None
    output = (done.stderr or done.stdout).decode(errors="replace").strip().splitlines()
    return f"exit code {done.returncode}: {output[0] if output else 'no output'}"


def _start(name: str, folder: str) -> Call:
    return lambda: _run(name, folder)


def _run(name: str, folder: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, *COMMANDS[name]]
    return subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, check=False)  # noqa: S603


if __name__ == "__main__":
    raise SystemExit(main())
