"""Serving a model tells nobody of it, and leaves no trace of the engine's in the user's folders."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from aegisrt.core.resources import configs_dir

pytestmark = pytest.mark.engine("onnx")
SERVE = "import sys; from aegisrt import ONNXBackend; ONNXBackend().load(sys.argv[1]).unwrap()"
SUPPRESSED_IN = ("CI", "GITHUB_ACTIONS", "ORT_DISABLE_TELEMETRY", "ORT_RUNNING_UNIT_TESTS")


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """An environment in which ONNX Runtime decides for itself, and in which its files go to folders of our own."""
    folders = {"TMPDIR": tmp_path / "tmp", "XDG_CACHE_HOME": tmp_path / "cache", "HOME": tmp_path / "home"}
    for folder in folders.values():
        folder.mkdir()
    kept = {name: value for name, value in os.environ.items() if name not in SUPPRESSED_IN}
    return kept | {name: str(folder) for name, folder in folders.items()}


def run(program: str, environment: dict[str, str]) -> str:
    command = [sys.executable, "-c", program, str(configs_dir() / "model" / "digits.onnx")]
    return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout.strip()


@pytest.mark.parametrize(
    "program", [SERVE, "from aegisrt.cli.main import main; main(['doctor'])"], ids=["load", "doctor"]
)
def test_no_identifier_and_no_session_are_written(program, environment, tmp_path):
    run(program, environment)
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.glob("*/*") if path.name != "aegisrt"] == []


def test_a_user_may_leave_it_on(environment):
    program = SERVE + "; import os; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    assert run(program, environment | {"ORT_DISABLE_TELEMETRY": "0"}) == "0"
