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


@pytest.mark.parametrize(
    "program", [SERVE, "from aegisrt.cli.main import main; main(['doctor'])"], ids=["load", "doctor"]
)
def test_no_identifier_and_no_session_are_written(program, tmp_path: Path):
    for name in ("tmp", "cache", "home"):
        (tmp_path / name).mkdir()
    kept = {name: value for name, value in os.environ.items() if name not in SUPPRESSED_IN}
    folders = {
        "TMPDIR": str(tmp_path / "tmp"),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "HOME": str(tmp_path / "home"),
    }
    model = configs_dir() / "model" / "digits.onnx"
    subprocess.run([sys.executable, "-c", program, str(model)], env=kept | folders, check=False, capture_output=True)
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.glob("*/*") if path.name != "aegisrt"] == []


def test_a_user_may_leave_it_on():
    said = subprocess.run(
        [sys.executable, "-c", SERVE + "; import os; print(os.environ['ORT_DISABLE_TELEMETRY'])",
         str(configs_dir() / "model" / "digits.onnx")],
        env=os.environ | {"ORT_DISABLE_TELEMETRY": "0"}, check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert said.stdout.strip() == "0"
