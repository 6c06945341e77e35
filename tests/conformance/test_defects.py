"""The kit detects every defect by the check that is meant for it, and every check has a defect."""

from __future__ import annotations

import importlib.util
import os
import stat
import sys
from collections import Counter

import pytest

import aegisrt.conformance
from aegisrt.conformance.catalogue import all_checks
from aegisrt.conformance.report import Status
from tests.conformance.defects import all_defects, optional_inputs, sound

DEFECTS = all_defects()
FAST = {"cycles": 4, "calls": 10, "race_ms": 100.0, "time_limit_s": 20.0}
EXEMPT: dict[str, str] = {}
"""Checks that no defect can trip here, and why; none is so far."""
_NVIDIA_SMI = """#!{python}
import os, sys
print(open(os.environ["{variable}"]).read() if "memory" in " ".join(sys.argv) else "Pretended device, 1.0")
"""


@pytest.fixture
def device(tmp_path, monkeypatch):
    """Simulate a device whose memory `nvidia-smi` reports."""
    tool = tmp_path / "nvidia-smi"
    tool.write_text(_NVIDIA_SMI.format(python=sys.executable, variable=sound.DEVICE_MEMORY))
    tool.chmod(tool.stat().st_mode | stat.S_IXUSR)
    used = tmp_path / "used"
    used.write_text("100")
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv(sound.DEVICE_MEMORY, str(used))


def judged(backend, checks, device="cpu", **settings):
    return aegisrt.conformance.run(backend, checks=checks, device=device, **{**FAST, **settings})


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize("defect", DEFECTS, ids=str)
def test_the_check_finds_its_defect(defect):
    if defect.module and importlib.util.find_spec(defect.module) is None:
        pytest.skip(f"needs the module {defect.module}")
    found = judged(defect.backend, defect.check, defect.device, **defect.settings).result(defect.check)
    assert (found.status, defect.says in (found.reason or "")) == (Status.FAILED, True), found.reason


def test_every_check_has_a_defect():
    untested = set(all_checks()) - {defect.check for defect in DEFECTS} - set(EXEMPT)
    assert not untested, "no defect trips these checks, so nothing shows that they find anything"


def test_no_defect_and_no_exemption_is_stale():
    assert {defect.check for defect in DEFECTS} | set(EXEMPT) <= set(all_checks())
    assert not set(EXEMPT) & {defect.check for defect in DEFECTS}


def test_every_defect_is_one_class_of_its_own():
    names = Counter(defect.backend.__name__ for defect in DEFECTS)
    assert not [name for name, count in names.items() if count > 1]


def test_the_issue_asks_for_sixty():
    assert len({defect.backend for defect in DEFECTS}) >= 60


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize(
    ("backend", "device_kind", "checks"),
    [
        (sound.SoundBackend, "cpu", "*"),
        (sound.WithoutExternalData, "cpu", ["capabilities.*", "model-files.*"]),
        (sound.Modest, "cpu", ["lifecycle.*", "signature.*", "inputs.*", "outputs.*", "capabilities.*"]),
        (optional_inputs.CompilesDefaultsIn, "cpu", ["inputs.*", "signature.*"]),
        (sound.NoEmptyBatch, "cpu", ["capabilities.*", "shapes.*"]),
        (sound.OnGpu, "cuda", ["lifecycle.*", "memory.device-cycles"]),
        pytest.param(sound.WithBf16, "cpu", ["dtypes.*", "numerics.*"], marks=pytest.mark.engine("onnx")),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_what_the_defects_are_made_of_is_sound(backend, device_kind, checks):
    report = judged(backend, checks, device_kind)
    assert not report.failed
    assert report.counts.passed > 5
    assert not report.counts.not_installed
