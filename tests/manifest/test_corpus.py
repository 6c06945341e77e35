"""Every case of tests/manifest/corpus, end to end: exactly the errors that its marks say, at exactly their places."""

from __future__ import annotations

from pathlib import Path

import pytest

from aegisrt.backends.mock import MockOptions
from aegisrt.backends.onnx.options import ONNXOptions
from aegisrt.manifest.check.validate import validate
from aegisrt.manifest.compose.compose import compose
from aegisrt.manifest.diagnostics.report import render_github, render_text, to_json
from tests.manifest.corpus_cases import read_cases
from tests.manifest.yaml_composition import TensorRTLike

KINDS = {"mock": MockOptions, "onnx": ONNXOptions, "tensorrt": TensorRTLike}
CASES = read_cases()
GOOD = "models:\n  digits: {path: digits.onnx, backend: mock}\n"


def diagnostics_of(manifest, overrides, config_dir=None, kinds=KINDS):
    composition = compose(manifest, overrides, config_dir=config_dir, kinds=kinds, partly=True)  # as `deploy` does
    result = validate(composition.unwrap(), kinds) if composition.is_ok() else composition
    return () if result.is_ok() else result.unwrap_err().diagnostics


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.source}: {case.name}")
def test_errors_are_where_the_marks_are(case, tmp_path, monkeypatch):
    case.write(tmp_path)
    monkeypatch.chdir(tmp_path)
    config_dir = Path("conf") if (tmp_path / "conf").is_dir() else None
    overrides = [text.replace("«", "").replace("»", "") for text in case.overrides]
    found = diagnostics_of(Path("deploy.yaml"), overrides, config_dir)
    expected = case.expected()
    places = sorted((d.id, d.location.file, d.location.line, d.location.column) for d in found)
    assert places == [place[:4] for place in expected], "\n" + render_text(found)
    read_by_others = ("yaml-syntax", "not-utf8", "bad-override")  # parsers that know where, and not how far
    ends = {(d.id, d.location.file, d.location.line, d.location.column): d.location.end_column for d in found}
    widths = {place[:4]: place[4] for place in expected if place[4] and place[0] not in read_by_others}
    assert widths.items() <= ends.items()
    assert list(found) == sorted(found, key=lambda d: (d.location.file.startswith("override "), d.location))
    assert all(d.message and (d.hint or d.label) for d in found if d.id != "yaml-syntax"), "an error without advice"
    assert render_text(found)
    assert render_github(found).count("\n") == len(found)
    assert to_json(found)["ok"] is False


def test_the_corpus_is_as_large_as_it_has_to_be():
    assert len({(case.source, case.name) for case in CASES}) == len(CASES) >= 120


def test_the_manifest_that_the_cases_break_is_good(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits.onnx").write_bytes(b"x")
    Path("deploy.yaml").write_text(GOOD)
    assert diagnostics_of(Path("deploy.yaml"), ["models.digits.instances=2"]) == ()
