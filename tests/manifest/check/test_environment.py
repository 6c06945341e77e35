"""Values from environment variables that are empty or of a wrong type: the variable is named."""

from __future__ import annotations

import json

import pytest

from aegisrt.cli.main import main
from aegisrt.deployment import resolve

DECODED = "${oc.decode:${oc.env:AEGISRT_TEST_N,2}}"


def found(instances, environment="hidden"):
    manifest = {"models": {"digits": {"path": "digits.onnx", "backend": "mock", "instances": instances}}}
    diagnostics = resolve(manifest, environment=environment).unwrap_err().diagnostics
    return next(one for one in diagnostics if one.path == "models.digits.instances")


@pytest.mark.parametrize("value", ["4 ", "08", "abc", "''"])
def test_a_variable_that_is_not_a_number(monkeypatch, value):
    monkeypatch.setenv("AEGISRT_TEST_N", value)
    one = found(DECODED)
    assert one.id == "wrong-type"
    name = "the environment variable `AEGISRT_TEST_N`"
    assert one.hint == f"{name} must be a whole number; `--show-env` shows its value"
    assert found(DECODED, "shown").hint == f"{name} is {json.dumps(value)}, and must be a whole number"


@pytest.mark.parametrize("value", ["", " ", "\t"])
def test_a_variable_that_is_empty(monkeypatch, value):
    monkeypatch.setenv("AEGISRT_TEST_N", value)
    one = found(DECODED)
    assert (one.id, one.message) == ("interpolation", "the environment variable `AEGISRT_TEST_N` is empty")
    one = found("${oc.env:AEGISRT_TEST_N}")
    assert one.id == "wrong-type"
    assert one.hint.startswith("the environment variable `AEGISRT_TEST_N` is ")


@pytest.mark.parametrize("value", ["[1", "1,5", "{a", "${", "a)", "${oc.env:AEGISRT_NOT_SET}"])
def test_a_variable_that_cannot_be_decoded(monkeypatch, value):
    monkeypatch.setenv("AEGISRT_TEST_N", value)
    one = found(DECODED)
    assert one.id == "interpolation"
    assert one.message.startswith("the environment variable `AEGISRT_TEST_N` cannot be decoded: ")


def test_a_variable_that_has_to_be_decoded(monkeypatch):
    monkeypatch.setenv("AEGISRT_TEST_N", "4")
    assert "`${oc.decode:${oc.env:AEGISRT_TEST_N}}`" in found("${oc.env:AEGISRT_TEST_N}").hint


def test_a_text_without_a_variable_keeps_its_hint():
    assert "oc.decode" in found("${oc.select:x,'4'}").hint


@pytest.mark.parametrize(
    ("written", "read", "is_warned"),
    [("010", 8, True), ("1:30", 90, True), ("1:30:05", 5405, True), ("10", 10, False),
     ("0", 0, False), ("00", 0, False), ("0x10", 16, False), ("0b11", 3, False), ("1_000", 1000, False)],
)  # fmt: skip
def test_a_number_in_another_base_is_a_warning(tmp_path, monkeypatch, capsys, written, read, is_warned):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits.onnx").write_bytes(b"x")
    text = f"models:\n  digits: {{path: digits.onnx, backend: mock, warmup: {written}}}\n"
    (tmp_path / "deploy.yaml").write_text(text)
    assert main(["validate", "deploy.yaml", "--json"]) == 0
    found = json.loads(capsys.readouterr()[0])["diagnostics"]
    places = [(one["id"], one["severity"], one["line"], one["column"]) for one in found]
    assert places == ([("ambiguous-number", "warning", 2, 54)] if is_warned else [])
    assert all(f"is read as {read}:" in one["message"] for one in found)
