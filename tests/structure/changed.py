"""Prints the tests of what changed since the main branch: `python -m tests.structure.changed`.

A changed test is run itself. A changed file of the package brings the tests that mirror its folder, and those of the
package's shape; a changed page or configuration brings the tests of the docs.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).parents[2]
MAIN = "main"


def changed_files() -> list[str]:
    """Return the files that differ from the merge base with the main branch, and the untracked ones."""
    base = _git("merge-base", "HEAD", MAIN) or ["HEAD"]
    return [*_git("diff", "--name-only", "--diff-filter=d", base[0]), *_git("ls-files", "-o", "--exclude-standard")]


def mirrored(files: Iterable[str]) -> list[str]:
    """Return the test files and folders that mirror changed `files`, without repetition."""
    chosen: dict[str, None] = {}
    for name in files:
        path = Path(name)
        if path.parts[0] == "tests":
            chosen[name if path.name.startswith("test_") else path.parent.as_posix()] = None
        elif path.parts[0] == "aegisrt":
            chosen[_mirror(Path("tests", *path.parts[1:-1]))] = None
            chosen["tests/structure"] = None
        elif path.suffix in (".md", ".yaml", ".json"):
            chosen["tests/docs"] = None
    whole = chosen.keys() - {"tests"}  # a change at the top level has no folder of its own: `make test` is for that
    return sorted(one for one in whole if not any(one != other and one.startswith(f"{other}/") for other in whole))


def _mirror(folder: Path) -> str:
    while not (ROOT / folder).is_dir():
        folder = folder.parent
    return folder.as_posix()


def _git(*words: str) -> list[str]:
    done = subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True, check=False)
    return done.stdout.split() if done.returncode == 0 else []


if __name__ == "__main__":
    sys.stdout.write(" ".join(mirrored(changed_files())))
