import subprocess
import sys
from xml.etree import ElementTree

PYTEST = [sys.executable, "-m", "pytest", "-p", "aegisrt.conformance.plugin", "-p", "no:cacheprovider", "-W", "error"]


def pytest_run(folder, *arguments, package="aegisrt.conformance"):
    command = [*PYTEST, "--pyargs", package, *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_each_check_is_a_test(tmp_path):
    done = pytest_run(tmp_path, "--backend", "mock", "--check", "dtypes.*", "--junit-xml", "out.xml", "-rs")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "13 passed, 1 skipped" in done.stdout
    assert "declares no BF16" in done.stdout
    cases = {case.attrib["name"] for case in ElementTree.parse(tmp_path / "out.xml").iter("testcase")}
    assert "dtypes.fp32" in cases
    assert len(cases) == 14


def test_a_failure_says_what_why_and_how_to_mend_it(tmp_path):
    options = ["--conformance", "conformance.options={fail_load: INTERNAL}"]
    done = pytest_run(tmp_path, "--backend", "mock", "--check", "lifecycle.load-valid-model", *options)
    assert done.returncode == 1
    assert "`load` of a valid model file answers Ok." in done.stdout
    assert "got: load(affine.mock.json): wanted Ok, got INTERNAL: the mock is set to fail at load" in done.stdout
    assert "fix: Run `backend.load(path)`" in done.stdout


def test_a_device_that_is_not_declared_is_skipped(tmp_path):
    done = pytest_run(tmp_path, "--backend", "mock", "--device", "cuda", "--check", "dtypes.fp32")
    assert done.returncode == 0
    assert "1 skipped" in done.stdout


def test_k_chooses_among_checks(tmp_path):
    done = pytest_run(tmp_path, "--backend", "mock", "-k", "unload-any", "--collect-only", "-q")
    assert "kit.py::mock on cpu::lifecycle.unload-any-number-of-times" in done.stdout
    assert "1/" in done.stdout


def test_mistakes_are_usage_errors(tmp_path):
    for arguments, words in (
        (["--backend", "mok"], "`mok` is not a backend kind"),
        (["--backend", "mock", "--check", "nothing.*"], "no check matches `nothing.*`"),
        (["--backend", "mock", "--conformance", "conformance.cyles=1"], "`cyles` is not a field"),
        ([], "--backend KIND"),
    ):
        done = pytest_run(tmp_path, *arguments)
        assert done.returncode not in (0, 1), done.stdout
        assert words in done.stdout + done.stderr
