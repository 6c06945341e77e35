"""The package of docs/adding-a-backend.md is built, installed in a fresh environment, and does what the page says."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import shlex
import site
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from aegisrt.core.tensor import DataType
from tests.docs.examples import differs
from tests.docs.pages import ROOT, read_page

PAGE = read_page(ROOT / "docs" / "adding-a-backend.md")
FILES = [block for block in PAGE.blocks if block.file]
SESSIONS = [block for block in PAGE.blocks if block.language == "shell-session"]

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform == "win32", reason="the page is of a POSIX shell")]


class Author:
    """An author of a backend at a terminal: a folder, and an environment that has AegisRT but not the package."""

    def __init__(self, folder: Path) -> None:
        self.project, home = folder / "project", folder / "venv"
        venv.create(home, with_pip=importlib.util.find_spec("pip") is None)  # the one of this environment is seen too
        self.python = home / "bin" / "python"
        self.packages = Path(self._asked("import sysconfig; print(sysconfig.get_paths()['purelib'])"))
        # AegisRT, numpy and hatchling are those of this environment, since nothing is downloaded here
        ours = [sysconfig.get_paths()["purelib"], str(ROOT)]
        lines = [f"import site; site.addsitedir({path!r})" for path in ours]
        (self.packages / "ours.pth").write_text("\n".join(lines) + "\n")
        for block in FILES:
            file = self.project / str(block.file)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(block.text + "\n", encoding="utf-8")

    def types(self, command: str) -> tuple[int, str]:
        """Return the exit code and the output of a command of the page."""
        program, *words = shlex.split(command)
        match program:
            case "python":
                return self.run(*words)
            case "aegisrt":
                return self.run("-P", "-m", "aegisrt", *words)  # as the command itself: this folder is no import path
            case "pip":
                offline = ("--no-index", "--no-deps", "--no-build-isolation", "--disable-pip-version-check")
                return self.run("-m", "pip", *words, *offline)
        raise AssertionError(f"the page has a command that this test does not know: {command}")

    def run(self, *words: str) -> tuple[int, str]:
        """Return the exit code of the fresh environment's Python, and what it prints."""
        done = subprocess.run(
            [self.python, *words],
            cwd=self.project,
            env={**os.environ, "COLUMNS": "200", "PYTHONPATH": ""},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout

    def _asked(self, program: str) -> str:
        return subprocess.run([self.python, "-c", program], capture_output=True, text=True, check=True).stdout.strip()


def test_the_page_from_top_to_bottom(tmp_path):
    author = Author(tmp_path)
    assert wrong_sessions(author) == []
    check_the_installation(author)
    check_the_report(author)


def wrong_sessions(author):
    wrong = []
    for session in SESSIONS:
        old, _, new = session.attributes.get("swap", "").partition("=>")
        with swapped(author.packages / "aegisrt_linear" / "__init__.py", old, new):
            for step in re.split(r"^\$ ", session.text, flags=re.MULTILINE)[1:]:
                command, _, expected = step.partition("\n")
                code, printed = author.types(command)
                wanted = int(session.attributes.get("exit", 0))
                if code != wanted or (expected and differs(printed, expected)):
                    wrong.append(f"{session}: `{command}` exits with {code} and prints\n{printed}\nwanted\n{expected}")
    return wrong


def check_the_installation(author):
    installed = {path.name for path in author.packages.iterdir()}
    assert {"aegisrt_linear", "aegisrt_linear-1.0.0.dist-info"} <= installed
    assert "aegisrt" not in installed
    assert "aegisrt_linear" not in {path.name for folder in site.getsitepackages() for path in Path(folder).glob("*")}
    models = {path.stem for path in (author.packages / "aegisrt_linear" / "models").iterdir()}
    assert {"affine", "multi-io", "slow-384", *(f"identity-{dtype.lower()}" for dtype in DataType)} <= models


def check_the_report(author):
    code, printed = author.types("aegisrt conformance --backend linear conformance=quick --report report.xml --json")
    counts = re.search(r'"counts": \{(.*)\}', printed)[1]
    assert code == 0, printed
    assert '"failed": 0' in counts
    assert int(re.search(r'"passed": (\d+)', counts)[1]) > 80, "most of the kit applies to the example"
    assert (author.project / "report.xml").exists()


@contextlib.contextmanager
def swapped(file, old, new):
    """Replace `old` by `new` in a file while the block runs."""
    text = file.read_text(encoding="utf-8") if old else ""
    assert old in text
    if old:
        file.write_text(text.replace(old, new), encoding="utf-8")
    yield
    if old:
        file.write_text(text, encoding="utf-8")
