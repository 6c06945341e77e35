"""`Runner`: a machine that runs the workflow's steps: a copy of this checkout, and a Python of its own.

Nothing is downloaded. What a step installs is AegisRT, by pip, into the environment that the step makes; that
environment sees the packages of this one, all but AegisRT and pip, by way of PYTHONPATH.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sysconfig
import venv
from dataclasses import dataclass
from pathlib import Path

from tests.ci.workflow import ROOT, Step

_TOP = ("aegisrt", "configs", "schemas", ".github", "Makefile", "pyproject.toml", "README.md", "LICENSE")
"""What the steps read of a checkout; the tests are not among it, since none runs here."""


@dataclass(frozen=True)
class Done:
    """What a step did."""

    code: int
    printed: str
    outputs: dict[str, str]
    summary: str


class Runner:
    """Runs steps, one at a time."""

    def __init__(self, folder: Path) -> None:
        self.checkout = folder / "checkout"
        self.python = folder / "python"
        self._files = folder / "github"
        self._files.mkdir()
        self._packages = folder / "packages"
        self._link_packages()
        for name in _TOP:
            source, target = ROOT / name, self.checkout / name
            target.parent.mkdir(exist_ok=True, parents=True)
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copyfile(source, target)
        venv.create(self.python, with_pip=True, symlinks=True)

    def run(self, step: Step, *, hidden: tuple[str, ...] = (), **environment: str) -> Done:
        """Return what a step does, as `shell: bash` runs it.

        `hidden` are modules that cannot be imported meanwhile; `environment` is laid over the step's own.
        """
        files = {name: self._files / name for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY", "GITHUB_ENV")}
        for file in files.values():
            file.write_text("")
        script = self._files / "script.sh"
        script.write_text(step.script)
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", str(script)],
            cwd=self.checkout,
            env={**self._environment(hidden), **dict(step.environment), **_texts(files), **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        lines = files["GITHUB_OUTPUT"].read_text().splitlines()
        outputs = dict(line.partition("=")[::2] for line in lines)
        assert not files["GITHUB_ENV"].read_text(), "no step here sets a variable for later steps"
        return Done(done.returncode, done.stdout, outputs, files["GITHUB_STEP_SUMMARY"].read_text())

    def _environment(self, hidden: tuple[str, ...]) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("HOME", "TMPDIR", "LANG") if name in os.environ}
        return {
            **kept,
            "PATH": os.pathsep.join([str(self.python / "bin"), os.environ["PATH"]]),
            "PYTHONPATH": os.pathsep.join([str(self._hiding(hidden)), str(self._packages)]),
            "AEGISRT_CACHE_DIR": str(self._files / "cache"),
            "PIP_NO_INDEX": "1",
            "PIP_NO_DEPS": "1",
            "PIP_NO_BUILD_ISOLATION": "0",  # pip reads it as the option's value: https://github.com/pypa/pip/issues/5735
        }

    def _link_packages(self) -> None:
        """Make a folder of links to what is installed here."""
        self._packages.mkdir()
        for kind in ("purelib", "platlib"):
            for entry in Path(sysconfig.get_paths()[kind]).iterdir():
                link = self._packages / entry.name
                if not (entry.name.startswith(("aegisrt", "pip")) or link.exists()):
                    link.symlink_to(entry)

    def _hiding(self, modules: tuple[str, ...]) -> Path:
        """Return a folder whose `sitecustomize` makes modules impossible to import, in every process of a step."""
        folder = self._files / "hidden"
        folder.mkdir(exist_ok=True)
        (folder / "sitecustomize.py").write_text(_SITECUSTOMIZE.format(modules=modules))
        return folder


_SITECUSTOMIZE = """
import sys


class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {modules!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)


sys.meta_path.insert(0, Hidden())
"""


def _texts(files: dict[str, Path]) -> dict[str, str]:
    return {name: str(file) for name, file in files.items()}
