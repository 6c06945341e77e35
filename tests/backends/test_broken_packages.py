"""Installed distributions whose backend kinds are broken, or claimed twice: they are named, and all else works."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from aegisrt.core.optional import DISTRIBUTION
from tests.docs.pages import ROOT

OTHER_VERBS = [
    ["run", "models.digits.backend=mock"],
    ["validate"],
    ["graph"],
    ["schema", "--out", "schemas"],
    ["conformance", "--backend", "mock", "--check", "lifecycle.unload-any-number-of-times"],
]
"""Verbs on manifests and kinds that do not use a broken package."""


def install(folder: Path, name: str, entry_points: dict[str, str]) -> Path:
    """Put what an installed distribution leaves of itself into `folder`, as pip does."""
    info = folder / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    lines = [f"{kind} = {target}" for kind, target in entry_points.items()]
    (info / "entry_points.txt").write_text("\n".join(["[aegisrt.backends]", *lines, ""]))
    return folder


def module(folder: Path, name: str, text: str) -> Path:
    """Put a module beside it."""
    (folder / f"{name}.py").write_text(text)
    return folder


def aegisrt(*words: str, path: list[Path], cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, [*path, ROOT]))}
    return subprocess.run(
        [sys.executable, "-m", "aegisrt", *words], env=environ, cwd=cwd, capture_output=True, text=True
    )


BROKEN = {
    "Capital": "fine:Backend",
    "dot.ted": "fine:Backend",
    "exits": "exits_at_import:Backend",
    "raises": "raises_at_import:Backend",
    "unavailable": "unavailable:Backend",
    "without-options": "without:Options",
    "without-capabilities": "without:Capabilities",
    "wrong-options": "without:Wrong",
    "other-kind": "aegisrt.backends.mock:MockBackend",
}


UNAVAILABLE = """
from typing import Literal
from aegisrt.backends.mock import MockBackend, MockOptions

class Own(MockOptions):
    kind: Literal["unavailable"] = "unavailable"

class Backend(MockBackend):
    kind = "unavailable"
    Options = Own

    @classmethod
    def availability(cls, *, probe=False):
        raise RuntimeError("odd")
"""
WITHOUT = """
from aegisrt.backends.mock import MockBackend

class Options(MockBackend):
    kind = "without-options"
    Options = None

class Capabilities(MockBackend):
    kind = "without-capabilities"
    capabilities = None

class Wrong(MockBackend):
    kind = "wrong-options"
"""


@pytest.fixture
def broken(tmp_path):
    """Return the folder of a distribution whose kinds are each broken in a way of its own."""
    folder = install(tmp_path / "site", "broken-package", BROKEN)
    module(folder, "exits_at_import", "import sys\nsys.exit()\n")
    module(folder, "raises_at_import", "raise RuntimeError('odd')\n")
    module(folder, "unavailable", UNAVAILABLE)
    return module(folder, "without", WITHOUT)


@pytest.fixture
def claimed(tmp_path):
    """Return two folders, each with a distribution that claims the kind `abacus`."""
    first = install(tmp_path / "a", "abacus-one", {"abacus": "abacus_one:Backend"})
    return [first, install(tmp_path / "b", "abacus-two", {"abacus": "abacus_two:Backend"})]


def test_both_are_named_by_what_uses_the_kind(claimed, tmp_path):
    (tmp_path / "m.yaml").write_text("models: {m: {path: m.json, backend: abacus}}\n")
    (tmp_path / "m.json").write_text("{}")
    commands = (["backends"], ["backends", "--json"], ["run", "m.yaml"], ["conformance", "--backend", "abacus"])
    for words in commands:
        done = aegisrt(*words, path=claimed, cwd=tmp_path)
        output = " ".join((done.stdout + done.stderr).split())
        assert "Traceback" not in output
        assert done.returncode == (0 if words[0] == "backends" else 1), output
        for name in ("`abacus`", "abacus-one", "abacus-two", "abacus_one:Backend", "abacus_two:Backend"):
            assert name in output, words


@pytest.mark.parametrize("words", OTHER_VERBS, ids=lambda words: words[0])
def test_everything_else_works(words, broken, tmp_path):
    done = aegisrt(*words, path=[broken], cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_each_broken_kind_is_listed_with_its_distribution(broken):
    rows = {row["kind"]: row for row in json.loads(aegisrt("backends", "--json", path=[broken]).stdout)}
    assert rows["mock"]["available"]
    for kind in BROKEN:
        assert rows[kind]["available"] is False, kind
        named = rows[kind]["reason"]
        assert "broken-package" in named or "availability()" in named, named


def test_a_manifest_that_uses_a_kind_with_a_bad_name_is_told_whose_it_is(broken, tmp_path):
    (tmp_path / "m.yaml").write_text(
        "models: {m: {path: m.json, backend: theirs}}\nbackends: {theirs: {kind: Capital}}\n"
    )
    (tmp_path / "m.json").write_text("{}")
    done = aegisrt("validate", "m.yaml", "--json", path=[broken], cwd=tmp_path)
    assert done.returncode == 2
    found = next(one for one in json.loads(done.stdout)["diagnostics"] if one["id"] == "unknown-kind")
    assert "`broken-package`" in found["hint"]


def test_a_claim_on_a_packaged_kind_names_ours_too(tmp_path):
    theirs = install(tmp_path, "other-mock", {"mock": "other_mock:Backend"})
    said = aegisrt("backends", "--json", path=[theirs]).stdout
    for name in ("`mock`", f"`{DISTRIBUTION}`", "`other-mock`"):
        assert name in said


def test_one_that_is_on_the_path_twice_is_one(claimed):
    first = claimed[0]
    twin = install(first.parent / "c", "abacus-one", {"abacus": "abacus_one:Backend"})
    done = aegisrt("backends", path=[first, twin])
    assert done.returncode == 0
    assert "abacus_one" in done.stdout, "it is listed, with the reason for which it does not import"
