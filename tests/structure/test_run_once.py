"""`--write-passed` and `--skip-passed`: a second environment runs what the first could not, and what is `smoke`."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.structure.changed import mirrored

ROOT = Path(__file__).parents[2]
TESTS = """
import os
import pytest

def test_anywhere(): pass

@pytest.mark.smoke
def test_smoke(): pass

@pytest.mark.skipif("ENGINE" not in os.environ, reason="no engine")
def test_engine(): pass

def test_skips_inside():
    if "ENGINE" not in os.environ:
        pytest.skip("no engine")
"""


@pytest.fixture
def run(tmp_path: Path):
    """Return a function that runs the tests above under the project's conftest, and returns the names that ran."""
    (tmp_path / "conftest.py").write_text((ROOT / "tests" / "conftest.py").read_text(encoding="utf-8"))
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n  smoke: s\n  engine: e\n  gpu: g\n")
    (tmp_path / "test_it.py").write_text(TESTS)

    def ran(*words: str, **environment: str) -> set[str]:
        command = [sys.executable, "-m", "pytest", "-rA", "-p", "no:cacheprovider", *words, "test_it.py"]
        variables = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
        done = subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return set(re.findall(r"^PASSED test_it.py::(\w+)", done.stdout, re.MULTILINE))

    return ran


@pytest.mark.parametrize("processes", [[], ["-n", "2"]], ids=["one", "xdist"])
def test_each_test_runs_once(run, processes: list[str]):
    assert run("--write-passed=passed.txt", *processes) == {"test_anywhere", "test_smoke"}
    assert run("--skip-passed=passed.txt", *processes, ENGINE="1") == {"test_smoke", "test_engine", "test_skips_inside"}


@pytest.mark.parametrize(
    ("file", "tests"),
    [
        ("aegisrt/backends/onnx/backend.py", ["tests/backends/onnx", "tests/structure"]),
        ("aegisrt/backends/tvm/build/tune.py", ["tests/backends/tvm", "tests/structure"]),
        ("tests/core/test_result.py", ["tests/core/test_result.py"]),
        ("tests/runtime/models.py", ["tests/runtime"]),
        ("docs/MANIFEST.md", ["tests/docs"]),
        ("Makefile", []),
    ],
)
def test_the_tests_of_a_changed_file(file: str, tests: list[str]):
    assert mirrored([file]) == tests
