"""The checks and packages of backends of other distributions show in `aegisrt doctor` and `aegisrt backends`."""

import json
import sys

import pytest

from aegisrt.backends import registry
from aegisrt.backends.registry import BackendEntry
from aegisrt.cli.main import main
from aegisrt.doctor.environment import MachineFacts

OPTIONS = """
from typing import Literal
from aegisrt.backends.base.backend import RuntimeBackend
from aegisrt.backends.base.installation import DoctorCheck, EngineInstallation
from aegisrt.core.capabilities import Capabilities
from aegisrt.core.optional import Requirement
from aegisrt.core.options import BackendOptions

class Options(BackendOptions):
    kind: Literal["theirs"] = "theirs"

class Backend(RuntimeBackend):
    kind = "theirs"
    Options = Options
    capabilities = Capabilities(formats=(".theirs",), dtypes=frozenset())
"""
PLAIN = """
    requirement = Requirement({module!r}, ({distribution!r},), "fast", of="their-backend", minimum={minimum})
"""
OWN = """    doctor = "their_backend:Own"

class Own(EngineInstallation):
    packages = ("numpy", "their-second-package")

    def facts(self):
        {facts}

    def checks(self, machine):
        {checks}
"""


@pytest.fixture
def theirs(tmp_path, monkeypatch):
    """Return a function that installs a backend of another distribution, with this body of its class."""

    def install(body):
        (tmp_path / "their_backend.py").write_text(OPTIONS + body)
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, "their_backend", raising=False)
        entry = BackendEntry("theirs", "their_backend:Backend", "their-backend")
        mock = BackendEntry("mock", "aegisrt.backends.mock:MockBackend", "aegisrt-runtime")
        monkeypatch.setattr(registry, "_declared", lambda: (mock, entry))

    return install


@pytest.fixture
def found(capsys):
    """Return a function that returns the findings of `aegisrt doctor` about the backend, as (status, detail, fix)."""

    def doctor():
        main(["doctor", "--json"])
        checks = json.loads(capsys.readouterr().out)["checks"]
        return [(check["status"], check["detail"], check["fix"]) for check in checks if check["id"] == "theirs"]

    return doctor


def test_a_requirement_is_a_check(theirs, found):
    theirs(PLAIN.format(module="numpy", distribution="numpy", minimum=(1, 2)))
    ((status, detail, fix),) = found()
    assert (status, fix) == ("ok", None)
    assert detail.startswith("numpy ")


@pytest.mark.parametrize(
    ("module", "minimum", "status", "says"),
    [
        ("no_such_engine", (), "warn", "no_such_engine is not installed"),
        ("numpy", (99, 1), "fail", "is older than 99.1"),
    ],
)
def test_an_engine_that_is_missing_or_old(theirs, found, module, minimum, status, says):
    theirs(PLAIN.format(module=module, distribution=module, minimum=minimum))
    ((got, detail, fix),) = found()
    assert (got, fix) == (status, "pip install 'their-backend[fast]'")
    assert says in detail


def test_an_engine_that_does_not_import(theirs, found, tmp_path, monkeypatch):
    (tmp_path / "their_engine.py").write_text("raise RuntimeError('libtheirs.so is missing')")
    theirs(PLAIN.format(module="their_engine", distribution="their-engine", minimum=()))
    ((status, detail, fix),) = found()
    assert (status, fix) == ("fail", "pip install 'their-backend[fast]'")
    assert "libtheirs.so is missing" in detail


def test_checks_of_their_own_with_facts_and_packages(theirs, found, capsys):
    body = 'yield DoctorCheck("theirs", "warn", f"{machine.facts[self.kind]}, {sorted(machine.packages)}", "do it")'
    theirs(OWN.format(facts="return 'a fact'", checks=body))
    ((status, detail, fix),) = found()
    assert (status, fix) == ("warn", "do it")
    assert detail.startswith("a fact")
    assert "'numpy'" in detail
    main(["backends", "--json"])
    (row,) = [row for row in json.loads(capsys.readouterr().out) if row["kind"] == "theirs"]
    assert list(row["packages"]) == ["numpy"]


@pytest.mark.parametrize(
    ("checks", "says"),
    [
        ("raise KeyError('x')", "raises KeyError: 'x'"),
        ("raise SystemExit(3)", "raises SystemExit: 3"),
        ("return ['text']", "yields 'text', not a DoctorCheck"),
        ("return None", "raises TypeError"),
    ],
)
def test_checks_that_are_broken_are_a_warning_and_end_nothing(theirs, found, checks, says):
    theirs(OWN.format(facts="raise RuntimeError('no facts')", checks=checks))
    ((status, detail, fix),) = found()
    assert (status, fix) == ("warn", "report it to the author of backend `theirs`")
    assert says in detail


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("no_such_module:X", "does not import: 'no_such_module:X'"),
        ("their_backend:NoSuchClass", "does not import"),
        ("builtins:dict", "does not import"),
        ("their_backend:Constant", "is 5, not an EngineInstallation"),
    ],
)
def test_a_doctor_that_is_no_installation_fails(theirs, found, capsys, name, says):
    theirs(f'    doctor = "{name}"\n\ndef Constant(kind, requirement):\n    return 5\n')
    ((status, detail, fix),) = found()
    assert status == "fail"
    assert says in detail
    assert fix
    assert main(["backends"]) == 0


def test_a_backend_that_does_not_import_fails(theirs, found):
    theirs("\nraise RuntimeError('of an older API')\n")
    ((status, detail, fix),) = found()
    assert (status, fix) == ("fail", "reinstall `their-backend`")
    assert "of an older API" in detail


def test_a_package_for_a_newer_cuda_than_the_driver(theirs):
    from aegisrt.doctor.diagnose import diagnose
    from aegisrt.doctor.engines import known_engines

    theirs(
        '    doctor = "their_backend:Own"\n\nclass Own(EngineInstallation):\n    cuda_packages = {"their-gpu": 14}\n'
    )
    engines, _ = known_engines()
    machine = MachineFacts(packages={"their-gpu": "1"}, engines=engines, driver_cuda="13.2")
    (check,) = [check for check in diagnose(machine) if check.id == "cuda-version"]
    assert check.detail == "their-gpu need CUDA 14, and the driver supports up to 13.2"
