"""Whatever is done to a good manifest, a user sees diagnostics with places inside his file, never a traceback."""

from __future__ import annotations

import json
import os
import unicodedata
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings

from aegisrt.core.result import ErrorCode
from aegisrt.manifest.check.validate import validate
from aegisrt.manifest.compose.compose import compose
from aegisrt.manifest.diagnostics.report import render_github, render_text, to_json
from aegisrt.manifest.diagnostics.snippet import read_lines
from aegisrt.manifest.schema import Manifest
from tests.manifest.mutations import GOOD, broken_manifests, mappings, overrides
from tests.manifest.test_corpus import KINDS, diagnostics_of

EXAMPLES = int(os.environ.get("AEGISRT_EXAMPLES", "250"))
OF_A_PARSER = [
    "no viable alternative",
    "extraneous input",
    "mismatched input",
    "token recognition",
    "<EOF>",
    "expecting {",
]
_UNSEEN = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
quick = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize="AEGISRT_EXAMPLES" not in os.environ,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.large_base_example],
)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits.onnx").write_bytes(b"x")
    return tmp_path


def check(content: bytes, given_overrides: list[str]) -> bool:
    """Return True where the manifest is good; fail where what it says of a bad one breaks a promise."""
    Path("deploy.yaml").write_bytes(content)
    return check_composed(Path("deploy.yaml"), given_overrides)


def check_composed(manifest, given_overrides: list[str], config_dir: str | None = None) -> bool:
    composition = compose(manifest, given_overrides, config_dir=config_dir, kinds=KINDS)
    result = validate(composition.unwrap(), KINDS) if composition.is_ok() else composition
    if result.is_ok():
        assert isinstance(result.unwrap(), Manifest)
        return True
    error = result.unwrap_err()
    assert error.code in set(ErrorCode) - {ErrorCode.INTERNAL}
    assert error.diagnostics
    for found in error.diagnostics:
        assert_inside(found.location)
        for note in found.notes:
            if note.location:
                assert_inside(note.location)
        assert found.id
        assert found.message
    assert len({(d.id, d.location, d.message) for d in error.diagnostics}) == len(error.diagnostics)
    text = render_text(error.diagnostics)
    assert not [words for words in OF_A_PARSER if words in " ".join(f"{d.message} {d.hint}" for d in error.diagnostics)]
    assert not {char for char in text if unicodedata.category(char) in _UNSEEN} - {"\n"}
    text.encode()
    render_github(error.diagnostics)
    assert json.dumps(to_json(error.diagnostics))
    return False


def assert_inside(location) -> None:
    lines = read_lines(location.file)
    if lines is None:  # a file that is not there
        assert (location.line, location.column) == (1, 1), location
        return
    assert 1 <= location.line <= len(lines), location
    assert 1 <= location.column <= len(lines[location.line - 1]) + 1, location
    assert location.column <= location.end_column, location


def test_the_unbroken_manifest_is_good(folder):
    assert check(GOOD.encode(), [])


@quick
@given(text=broken_manifests())
@example(text=GOOD.replace("digits.onnx", "digits\x01.onnx"))
@example(text="")
@example(text="\ufeff")
@example(text="a: *a")
@example(text="&a [*a]")
@example(text="[" * 5000)
@example(text="- " * 3000)
@example(text="a: " + "9" * 5000)
@example(text="a: 0x" + "f" * 5000)
@example(
    text="a: &a [x,x]\nb: &b [*a,*a]\n"
    + "".join(f"{chr(c + 1)}: &{chr(c + 1)} [*{chr(c)},*{chr(c)}]\n" for c in range(98, 121))
)
def test_no_mutation_gives_a_traceback(folder, text):
    check(text.encode("utf-8", "surrogatepass"), [])


@quick
@given(given_overrides=overrides().flatmap(lambda one: overrides().map(lambda other: [one, other])))
@example(given_overrides=["=2"])
@example(given_overrides=[""])
@example(given_overrides=["models.digits.path='a\n'"])
@example(given_overrides=["models.digits.instances=" + "[" * 500])
def test_no_override_gives_a_traceback(folder, given_overrides):
    check(GOOD.encode(), given_overrides)


@settings(quick, max_examples=EXAMPLES // 2)
@given(text=broken_manifests(2), override=overrides())
def test_no_mutation_with_an_override_gives_a_traceback(folder, text, override):
    check(text.encode("utf-8", "surrogatepass"), [override])


@settings(quick, max_examples=EXAMPLES // 2)
@given(text=broken_manifests())
def test_no_mutation_of_an_environment_gives_a_traceback(folder, text):
    Path("conf/env").mkdir(parents=True, exist_ok=True)
    Path("conf/env/mine.yaml").write_bytes(b"# @package _global_\n" + text.encode("utf-8", "surrogatepass"))
    Path("deploy.yaml").write_text("models:\n  digits: {path: digits.onnx, backend: mock}\n")
    check_composed(Path("deploy.yaml"), ["env=mine"], "conf")


@quick
@given(manifest=mappings())
def test_no_mapping_gives_a_traceback(folder, manifest):
    check_composed(manifest, [])


def test_mutations_of_either_outcome_are_drawn(folder):
    outcomes = set()

    @settings(quick, max_examples=60)
    @given(text=broken_manifests())
    def draw(text):
        outcomes.add(check(text.encode("utf-8", "surrogatepass"), []))

    draw()
    assert outcomes == {True, False}


def test_bytes_that_are_no_text(folder):
    for content in (b"\xff\xfe\x00\x00", b"\x80", b"models: \xc3", "models: {}".encode("utf-16"), bytes(range(256))):
        assert not check(content, [])
    assert diagnostics_of(Path("deploy.yaml"), [])[0].id
