"""Two installed distributions that claim one backend kind: every command says so, and names both."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.pages import ROOT

VERBS = [
    ["backends"],
    ["backends", "--json"],
    ["run"],
    ["validate"],
    ["schema"],
    ["conformance", "--backend", "mock", "--check", "lifecycle.*"],
    ["conformance", "--check", "lifecycle.*"],
]


def install(folder: Path, name: str, entry_points: dict[str, str]) -> Path:
    """Put what an installed distribution leaves of itself into `folder`, as pip does."""
    info = folder / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    lines = [f"{kind} = {target}" for kind, target in entry_points.items()]
    (info / "entry_points.txt").write_text("\n".join(["[aegisrt.backends]", *lines, ""]))
    return folder


def aegisrt(*words: str, path: list[Path]) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, [*path, ROOT]))}
    return subprocess.run([sys.executable, "-m", "aegisrt", *words], env=environ, capture_output=True, text=True)


@pytest.fixture
def claimed(tmp_path):
    """Return two folders, each with a distribution that claims the kind `abacus`."""
    first = install(tmp_path / "a", "abacus-one", {"abacus": "abacus_one:Backend"})
    return [first, install(tmp_path / "b", "abacus-two", {"abacus": "abacus_two:Backend"})]


@pytest.mark.parametrize("words", VERBS, ids=" ".join)
def test_both_are_named(words, claimed):
    done = aegisrt(*words, path=claimed)
    said = done.stdout + done.stderr
    assert done.returncode in (1, 2)
    assert "Traceback" not in said
    for name in ("`abacus`", "abacus-one", "abacus-two", "abacus_one:Backend", "abacus_two:Backend", "pip uninstall"):
        assert name in said


def test_a_claim_on_a_packaged_kind_names_ours_too(tmp_path):
    theirs = install(tmp_path, "other-mock", {"mock": "other_mock:Backend"})
    said = aegisrt("backends", path=[theirs]).stderr
    for name in ("`mock`", "`aegisrt`", "`other-mock`"):
        assert name in said


def test_one_that_is_on_the_path_twice_is_one(claimed):
    first = claimed[0]
    twin = install(first.parent / "c", "abacus-one", {"abacus": "abacus_one:Backend"})
    done = aegisrt("backends", path=[first, twin])
    assert done.returncode == 0
    assert "abacus_one" in done.stdout, "it is listed, with the reason for which it does not import"
