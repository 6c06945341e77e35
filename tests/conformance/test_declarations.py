"""A class whose declaration is broken fails the check of declarations, and does not end the run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from typing import ClassVar

import pytest

from aegisrt.backends.mock import MockBackend, MockOptions
from aegisrt.conformance import run
from aegisrt.conformance.target import fault
from tests.docs.pages import ROOT

WELL_FORMED, LOADS = "capabilities.well-formed", "lifecycle.load-valid-model"


class WithoutCapabilities(MockBackend):
    capabilities = None


class CapabilitiesInWords(MockBackend):
    capabilities = {"formats": [".mock.json"]}  # noqa: RUF012


class WithoutDevices(MockBackend):
    capabilities = replace(MockBackend.capabilities, devices=None)


class WithoutOptions(MockBackend):
    Options = None


class OptionsOfNoKind(MockBackend):
    Options = dict


class WithoutKind(MockBackend):
    kind = None


class KindIsAType(MockBackend):
    kind = int


class WithoutOptionsOfTheKit(MockBackend):
    conformance_options = None


BROKEN = {
    WithoutCapabilities: "`capabilities` is None, not a Capabilities",
    CapabilitiesInWords: "`capabilities` is {'formats': ['.mock.json']}, not a Capabilities",
    WithoutDevices: "`capabilities.devices` is None, not a collection",
    WithoutOptions: "`Options` is None, not a subclass of BackendOptions",
    OptionsOfNoKind: "`Options` is <class 'dict'>, not a subclass of BackendOptions",
    WithoutKind: "`kind` is None, not a string",
    KindIsAType: "`kind` is <class 'int'>, not a string",
    WithoutOptionsOfTheKit: "`conformance_options` is None, not a mapping",
}


@pytest.mark.parametrize(("backend", "reason"), BROKEN.items(), ids=lambda value: getattr(value, "__name__", ""))
def test_a_broken_declaration_fails_the_check_of_declarations_and_skips_the_others(backend, reason):
    report = run(backend, checks=[LOADS, "capabilities.*", "model-files.truncated"])
    assert [(result.check, result.reason) for result in report.failed] == [(WELL_FORMED, reason)]
    others = {(result.status, result.reason) for result in report.results if result.check != WELL_FORMED}
    assert others == {("skipped", f"not judged: {reason}")}
    assert report.exit_code == 1
    assert report.results[0].backend == (backend.kind if isinstance(backend.kind, str) else backend.__name__)


@pytest.mark.parametrize("backend", [WithoutOptions, WithoutCapabilities])
def test_a_run_without_that_check_fails_all_the_same(backend):
    report = run(backend, checks=[LOADS, "dtypes.fp32"])
    assert {(result.status, result.reason) for result in report.results} == {("failed", BROKEN[backend])}


def test_an_instance_is_looked_at_too(monkeypatch):
    backend = MockBackend()
    monkeypatch.setattr(MockBackend, "capabilities", None)
    assert run(backend, checks=WELL_FORMED).results[0].reason == "`capabilities` is None, not a Capabilities"


def test_a_sound_declaration_has_no_fault():
    assert fault(MockBackend) is None


class AvailabilityRaises(MockBackend):
    @classmethod
    def availability(cls, *, probe=False):
        raise RuntimeError("no license server")


class AvailabilityExits(MockBackend):
    @classmethod
    def availability(cls, *, probe=False):
        sys.exit("no license server")


class AvailabilityInWords(MockBackend):
    @classmethod
    def availability(cls, *, probe=False):
        return "yes"


@pytest.mark.parametrize(
    ("backend", "reason"),
    [
        (AvailabilityRaises, "`availability()` raises RuntimeError: no license server"),
        (AvailabilityExits, "`availability()` raises SystemExit: no license server"),
        (AvailabilityInWords, "`availability()` is 'yes', wanted an Availability"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_an_availability_that_fails_costs_its_own_check_alone(backend, reason):
    report = run(backend, checks=[LOADS, "capabilities.*"])
    assert [(result.check, result.reason) for result in report.failed] == [(WELL_FORMED, reason)]
    assert report.result(LOADS).status == "passed"
    assert report.environment.engines == {"mock": None}


class RaisingOptions(MockOptions):
    """Options that raise an exception which pydantic does not convert to a ValidationError."""

    @classmethod
    def parse(cls, values=None):
        raise OSError("no license file")


class OptionsRaise(MockBackend):
    Options: ClassVar = RaisingOptions


def test_options_that_raise_are_failed_checks():
    report = run(OptionsRaise, checks=[LOADS, WELL_FORMED])
    assert len(report.failed) == 2
    assert all("OSError: no license file" in result.reason for result in report.failed)


THEIRS = {
    "broken": "raise RuntimeError('no driver')",
    "leaves": "import sys; sys.exit(0)",
    "Capital": "from aegisrt import MockBackend as Their",
    "dotted.kind": "from aegisrt import MockBackend as Their",
    "optionless": "from aegisrt import MockBackend\nclass Their(MockBackend):\n    kind, Options = 'optionless', None",
    "misnamed": "from aegisrt import MockBackend\nclass Their(MockBackend):\n    kind = 'other'",
    "thing": "Their = 7",
}


@pytest.fixture
def distribution(tmp_path):
    """Install a third party's distribution into a folder of its own, and return the folder."""
    info = tmp_path / "theirs-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    points = [f"{kind} = their_{kind.replace('.', '_')}:Their" for kind in THEIRS]
    (info / "entry_points.txt").write_text("\n".join(["[aegisrt.backends]", *points, ""]))
    for kind, code in THEIRS.items():
        (tmp_path / f"their_{kind.replace('.', '_')}.py").write_text(code)
    return tmp_path


@pytest.mark.parametrize("kind", [*THEIRS, "mock"])
def test_a_third_partys_kind_that_cannot_be_used_fails_alone(distribution, kind):
    words = ["--backend", kind, "--check", LOADS, "--check", WELL_FORMED, "--json"]
    path = os.pathsep.join([str(distribution), str(ROOT)])
    command = [sys.executable, "-m", "aegisrt", "conformance", *words]
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False, timeout=120
    )
    results = {result["check"]: result for result in json.loads(done.stdout)["results"]}
    statuses = [results[check]["status"] for check in (LOADS, WELL_FORMED)]
    if kind == "mock":
        assert (done.returncode, statuses) == (0, ["passed", "passed"])
    else:
        assert (done.returncode, statuses) == (1, ["skipped", "failed"])
        assert results[WELL_FORMED]["backend"] == kind
        assert "`theirs`" in results[WELL_FORMED]["reason"]
