"""docs/examples/openvino-backend: its own tests pass, the kit is green, and `doctor` and `backends` show it."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.backends.test_broken_packages import install
from tests.docs.pages import ROOT

EXAMPLE = ROOT / "docs" / "examples" / "openvino-backend"
MOST_LINES = 100


@pytest.fixture
def run(tmp_path):
    """Return a function that runs Python where the example is installed, and returns its exit code and output."""
    pytest.importorskip("openvino", reason="OpenVINO is not installed; run: pip install 'aegisrt-runtime[examples]'")
    install(tmp_path, "aegisrt-openvino", {"openvino": "aegisrt_openvino:OpenVINOBackend"})
    path = os.pathsep.join(map(str, (tmp_path, EXAMPLE, ROOT)))

    def python(*words):
        environ = {**os.environ, "PYTHONPATH": path}
        done = subprocess.run([sys.executable, *words], env=environ, cwd=tmp_path, capture_output=True, text=True)
        return done.returncode, done.stdout + done.stderr

    return python


def test_it_stays_short():
    assert len((EXAMPLE / "aegisrt_openvino.py").read_text(encoding="utf-8").splitlines()) <= MOST_LINES


def test_its_own_tests_pass(run):
    code, printed = run("-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", os.devnull, str(EXAMPLE / "tests"))
    assert code == 0, printed
    assert " passed" in printed


@pytest.mark.slow
def test_the_kit_is_green(run):
    code, printed = run("-m", "aegisrt", "conformance", "--backend", "openvino", "conformance=quick", "--json")
    assert code == 0, printed
    counts = json.loads(printed.splitlines()[-1])["counts"]
    assert counts["failed"] == 0
    assert counts["passed"] > 90, "most of the kit applies"


def test_doctor_and_backends_show_it(run):
    _, printed = run("-m", "aegisrt", "doctor", "--json")
    (check,) = [check for check in json.loads(printed)["checks"] if check["id"] == "openvino"]
    assert check["status"] == "ok"
    _, printed = run("-m", "aegisrt", "backends", "--json")
    (row,) = [row for row in json.loads(printed) if row["kind"] == "openvino"]
    assert row["available"]
    assert row["packages"] == {"openvino": row["version"]}


def test_a_manifest_that_says_ov_is_corrected(run, tmp_path):
    (tmp_path / "deploy.yaml").write_text("backends:\n  fast: {kind: ov}\n")
    code, printed = run("-m", "aegisrt", "validate", "deploy.yaml")
    assert code == 2
    assert "did you mean `openvino`?" in printed
