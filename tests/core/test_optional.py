from __future__ import annotations

import sys

import pytest

from aegisrt.core.optional import Requirement, require
from aegisrt.core.result import ErrorCode, ResultError

ABSENT = Requirement("no_such_module", ("no-such-package",), "absent")


def test_what_is_there():
    numpy = Requirement("numpy", ("no-such-package", "numpy"), "x")
    assert numpy.missing() is None
    assert numpy.version() == require(numpy).__version__


def test_what_is_not_there():
    assert ABSENT.missing() == "Python module `no_such_module` is not installed"
    assert ABSENT.version() is None
    with pytest.raises(ResultError) as caught:
        require(ABSENT)
    error = caught.value.error
    assert error.code is ErrorCode.UNAVAILABLE
    assert error.hint == "run: pip install 'aegisrt-runtime[absent]'"


def test_a_parent_that_is_not_there():
    assert Requirement("no_such.module", (), "x").missing() is not None


def test_a_third_partys_package_is_installed_from_theirs():
    assert Requirement("m", ("d",), "fast", of="their-backend").install == "pip install 'their-backend[fast]'"


def test_what_is_there_and_does_not_import(tmp_path, monkeypatch):
    (tmp_path / "broken_on_import.py").write_text("import no_such_library\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ResultError) as caught:
        require(Requirement("broken_on_import", (), "x"))
    error = caught.value.error
    assert error.message == "Python module `broken_on_import` is installed but does not import"
    assert "no_such_library" in error.cause


@pytest.mark.parametrize(
    ("minimum", "fits"), [((), True), ((1,), True), ((1, 26), True), ((99,), False), ((99, 1), False)]
)
def test_the_oldest_version_that_will_do(minimum, fits):
    numpy = Requirement("numpy", ("numpy",), "x", minimum=minimum)
    if fits:
        assert numpy.missing() is None
        assert require(numpy).__name__ == "numpy"
    else:
        wanted = ".".join(map(str, minimum))
        reason = f"Python module `numpy` is version {numpy.version()}, and {wanted} or later is needed"
        assert numpy.missing() == reason
        with pytest.raises(ResultError) as caught:
            require(numpy)
        assert (caught.value.error.code, caught.value.error.message) == (ErrorCode.UNAVAILABLE, reason)


@pytest.mark.parametrize(
    ("version", "old"), [("1.9.9", True), ("1.25.1rc2", True), ("1.26.0+cpu", False), ("1.100", False), ("2", False)]
)
def test_versions_are_compared_as_numbers(monkeypatch, version, old):
    monkeypatch.setattr("importlib.metadata.version", lambda name: version)
    assert bool(Requirement("numpy", ("numpy",), "x", minimum=(1, 26)).too_old()) is old


def test_looking_imports_nothing(tmp_path, monkeypatch):
    (tmp_path / "loud_on_import.py").write_text("raise SystemExit\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert Requirement("loud_on_import", (), "x").missing() is None
    assert "loud_on_import" not in sys.modules
