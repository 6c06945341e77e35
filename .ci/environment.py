"""Make a virtual environment with this checkout and some of its extras, if what it is made from has changed.

    python .ci/environment.py FOLDER EXTRA,EXTRA

`FOLDER/installed` keeps what the environment was made from. It is compared by content: after a pull that changes
nothing of it, nothing is installed, and no network is needed.
"""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

PROJECT = Path("pyproject.toml")
STAMP = "installed"
PIP = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check")


def main(folder: str, extras: str) -> int:
    """Return 0 if the environment is up to date, or was made; else the exit code of the command that failed."""
    stamp = Path(folder, STAMP)
    base, content = made_from(tomllib.loads(PROJECT.read_text(encoding="utf-8")), extras.split(","))
    before = stamp.read_text(encoding="utf-8").split() if stamp.is_file() else []
    if before == [base, content]:
        return 0
    print(f"installing AegisRT and {extras} into {folder}", file=sys.stderr)
    clear = ["--clear"] if before[:1] != [base] and Path(folder).exists() else []
    python = str(Path(folder, "Scripts" if sys.platform == "win32" else "bin", "python"))
    for command in ([sys.executable, "-m", "venv", *clear, folder], [python, *PIP, "-e", f".[{extras}]"]):
        done = subprocess.run(command, check=False)  # noqa: S603  (fixed words)
        if done.returncode:
            return done.returncode
    stamp.write_text(f"{base} {content}\n", encoding="utf-8")
    return 0


def made_from(pyproject: dict[str, object], extras: list[str]) -> tuple[str, str]:
    """Return what an environment cannot change in place, and a digest of everything else that it is made from.

    The former is the version of Python and the distribution's name: another one begins with an empty folder.
    """
    project = pyproject["project"]
    assert isinstance(project, dict)
    parts = {name: project.get(name) for name in ("dependencies", "scripts", "entry-points")}
    chosen = _requirements(project, extras)
    known = sorted(project["optional-dependencies"])  # names alone: `aegisrt ci-matrix` reads them
    text = json.dumps([pyproject["build-system"], parts, chosen, known], sort_keys=True)
    base = f"{sys.version_info[0]}.{sys.version_info[1]}:{project['name']}"
    return base, hashlib.sha256(text.encode()).hexdigest()


def _requirements(project: dict[str, object], extras: list[str]) -> dict[str, object]:
    """Return the requirements of extras by name, and of the extras of this project that they require."""
    declared = project["optional-dependencies"]
    assert isinstance(declared, dict)
    found: dict[str, object] = {}
    waiting = list(extras)
    while waiting:
        extra = waiting.pop()
        if extra not in found:
            found[extra] = declared.get(extra)
            own = [
                match for text in declared.get(extra, ()) if (match := re.match(rf"{project['name']}\[(.*)\]", text))
            ]
            waiting += [name.strip() for match in own for name in match[1].split(",")]
    return found


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
