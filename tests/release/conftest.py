"""The distributions, built once a session, and an environment that has the wheel and nothing of this checkout."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from filelock import FileLock

from tests.docs.pages import ROOT

_OUT_OF_REACH = (
    "Failed to establish a new connection",
    "Temporary failure in name resolution",
    "Network is unreachable",
    "Connection refused",
    "No route to host",
    "Read timed out",
    "ProxyError",
)
"""pip's words where there is no network; without CI such a test is skipped, in CI it fails."""


@dataclass(frozen=True)
class Distributions:
    """What `python -m build` makes."""

    sdist: Path
    wheel: Path
    """Built from the sdist, as `python -m build` does."""
    direct: Path
    """The wheel built from this checkout."""


@dataclass(frozen=True)
class Installed:
    """An environment with the wheel and its extras `onnx` and `serve`."""

    binaries: Path

    def run(self, program: str, *words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
        """Run a program of the environment, in a folder; nothing of this process's Python shows through."""
        command = [str(self.binaries / program), *words]
        return subprocess.run(command, cwd=cwd, env=clean(), capture_output=True, text=True, check=False)


def clean() -> Mapping[str, str]:
    """Return the environment variables without those that lead Python or AegisRT elsewhere."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "AEGISRT_", "ORT_"))}


@pytest.fixture(scope="session")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Distributions:
    for tool in ("build", "twine"):
        if importlib.util.find_spec(tool) is None:
            pytest.skip(f"the package {tool} is not installed; run: pip install -e '.[release]'")
    folder = _once(tmp_path_factory, "distributions", _build)
    (sdist,), (wheel,), (direct,) = (folder.glob(name) for name in ("*.tar.gz", "*.whl", "direct/*.whl"))
    return Distributions(sdist, wheel, direct)


@pytest.fixture(scope="session")
def installed(distributions: Distributions, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    def install(folder: Path) -> None:
        venv.create(folder / "venv", with_pip=True)
        pip = [
            str(folder / "venv" / "bin" / "python"),
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
        ]
        done = subprocess.run(
            [*pip, f"{distributions.wheel}[onnx,serve]"], env=clean(), capture_output=True, text=True, check=False
        )
        (folder / "told").write_text("" if done.returncode == 0 else done.stderr or "pip failed")

    folder = _once(tmp_path_factory, "installed", install)
    told = (folder / "told").read_text()
    if any(words in told for words in _OUT_OF_REACH) and "CI" not in os.environ:
        pytest.skip("the package index is out of reach")
    assert not told, told
    return Installed(folder / "venv" / "bin")


def _build(folder: Path) -> None:
    """Without isolation, so that nothing is downloaded: hatchling is the one of this environment."""
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir"]
    for words in ([*build, str(folder)], [*build, str(folder / "direct"), "--wheel"]):
        subprocess.run([*words, str(ROOT)], check=True, capture_output=True, text=True)


def _once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """Return a folder that `make` fills; of all workers of a session, one does it."""
    base = factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            folder.mkdir()
            try:
                make(folder)
            except BaseException:
                shutil.rmtree(folder)
                raise
    return folder
