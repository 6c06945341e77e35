"""The virtual environments of the Makefile: with a Python that will do, and installed again by content alone."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.pages import ROOT

SCRIPT = ROOT / ".ci" / "environment.py"
TARGETS = re.findall(r"^(\.venv[\w-]*)/installed:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)

needs_make = pytest.mark.skipif(not shutil.which("make"), reason="make is not installed")


@pytest.fixture
def environment(monkeypatch, tmp_path):
    """The script as a module, in a folder with a copy of pyproject.toml; `ran` lists what it ran instead of running."""
    spec = importlib.util.spec_from_file_location("environment", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    monkeypatch.chdir(tmp_path)
    module.ran, module.code = [], 0

    def run(command, check):
        module.ran.append(command)
        if "venv" in command:
            Path(command[-1]).mkdir(exist_ok=True)
        return subprocess.CompletedProcess(command, module.code)

    monkeypatch.setattr(module.subprocess, "run", run)
    return module


def changed(old, new):
    file = Path("pyproject.toml")
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new), encoding="utf-8")


def again(environment, extras="onnx,images"):
    environment.ran.clear()
    assert environment.main(".venv", extras) == 0
    return environment.ran


def test_it_is_installed_once(environment):
    made, installed = again(environment)
    assert made == [sys.executable, "-m", "venv", ".venv"]
    assert installed[-2:] == ["-e", ".[onnx,images]"]
    assert again(environment) == []
    os.utime("pyproject.toml")
    assert again(environment) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("line-length = 120", "line-length = 119"),
        ('"ruff==', '"ruff>='),
        ('"numpy>=1.26",\n  "pydantic', '"numpy>=1.26",   \n  "pydantic'),
        ('version = "', 'version = "9.'),
        ("Programming Language :: Python :: 3.13", "Topic :: Software Development"),
    ],
)
def test_a_pull_that_changes_nothing_of_it_installs_nothing(environment, old, new):
    again(environment)
    changed(old, new)
    assert again(environment) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"filelock>=3.20.3"', '"filelock>=3.21"'),
        ('"pillow>=10"', '"pillow>=11"'),
        ('mock = "aegisrt.backends.mock:MockBackend"', 'mock = "aegisrt.backends.mock:Other"'),
        ("hatchling>=1.27", "hatchling>=1.28"),
        ("images = [", "pictures = []\nimages = ["),
    ],
)
def test_what_it_is_made_from_is_installed_again_in_place(environment, old, new):
    again(environment)
    changed(old, new)
    made, installed = again(environment)
    assert "--clear" not in made
    assert installed[-1] == ".[onnx,images]"


def test_other_extras_are_installed_in_place(environment):
    again(environment)
    assert "--clear" not in again(environment, "onnx,images,test")[0]


@pytest.mark.parametrize("stamp", ["", "3.9:aegisrt-runtime 0\n", "3.11:aegisrt 0\n"])
def test_one_of_another_python_or_name_begins_empty(environment, stamp):
    again(environment)
    Path(".venv/installed").write_text(stamp)
    assert again(environment)[0] == [sys.executable, "-m", "venv", "--clear", ".venv"]


def test_a_failed_install_is_tried_again(environment):
    environment.code = 3
    assert environment.main(".venv", "onnx") == 3
    assert not Path(".venv/installed").exists()
    environment.code = 0
    assert len(again(environment, "onnx")) == 2


def test_the_targets_are_found():
    assert {".venv", ".venv-cpu", ".venv-unit", ".venv-lint"} <= set(TARGETS)


@needs_make
@pytest.mark.parametrize("target", [*(f"{name}/installed" for name in TARGETS), "demo", "cell-install"])
def test_an_older_python_is_refused_before_anything_is_made(tmp_path, target):
    shutil.copy(ROOT / "Makefile", tmp_path)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    old = tmp_path / "python3.10"
    pretend = "import sys; sys.version_info = (3, 10, 1); $2"
    old.write_text(f'#!/bin/sh\n[ "$1" = -c ] || exit 9\nexec {sys.executable} -c "{pretend}"\n')
    old.chmod(0o755)
    done = subprocess.run(
        ["make", "--no-print-directory", target, f"PYTHON={old}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "AegisRT needs Python 3.11 or later, this is 3.10; name another one: make PYTHON=python3.12" in done.stderr
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".venv")] == []


@needs_make
def test_every_environment_is_made_by_that_script():
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    made = re.findall(r"^(\S+): python\n\t(.*)", text, re.MULTILINE)
    assert {target for target, _ in made} == {*(f"{name}/installed" for name in TARGETS), "cell-install"}
    assert text.count("-m venv") == 1, "the cell's environment alone is made by hand"
