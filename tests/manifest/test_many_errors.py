"""Manifests with thousands of errors, or of names that are nearly right: bounded time, memory and output."""

from __future__ import annotations

import json
import time

import pytest

from aegisrt.cli.main import main
from aegisrt.core.suggest import listed, nearest
from aegisrt.manifest.errors import MOST_DIAGNOSTICS
from tests.manifest.composing import deploy_yaml

COUNT = 4000
MODELS = [f"  m{index}: {{path: digits.onnx, backend: x{index}}}\n" for index in range(COUNT)]


@pytest.fixture(autouse=True)
def _files(folder):
    (folder / "digits.onnx").write_bytes(b"x")


MANY = {
    "duplicate keys": "models:\n" + "  m: 1\n" * 20_000,
    "unknown keys": "".join(f"k{index}: 1\n" for index in range(20_000)),
    "dangling references": "models:\n" + "".join(MODELS) + "backends:\n" + "  y: {kind: mock}\n",
    "interpolations": "models:\n" + "".join(f"  m{index}: '${{nope{index}}}'\n" for index in range(COUNT)),
    "missing files": "models:\n" + "".join(MODELS).replace("digits.onnx", "none.onnx"),
    "misspelt keys": "models:\n" + "".join(MODELS).replace("path", "paht"),
    "values that are no numbers": "models:\n" + "".join(MODELS).replace("digits.onnx", ".nan, z: 1"),
    "tags": "models:\n" + "".join(MODELS).replace("digits", "!!binary digits"),
}


@pytest.mark.parametrize("text", MANY.values(), ids=MANY.keys())
def test_the_first_errors_are_reported_and_that_there_are_more(text, capsys):
    deploy_yaml(text)
    began = time.process_time()
    assert main(["validate", "deploy.yaml", "--json"]) == 2
    assert time.process_time() - began < 15, "each error may not cost as much as the whole manifest"
    out = capsys.readouterr().out
    found = json.loads(out)["diagnostics"]
    assert len(found) == MOST_DIAGNOSTICS
    assert [one["id"] for one in found].count("more-errors") == 1
    assert found[-1]["id"] == "more-errors"
    assert len(out) < 1_000_000


def test_as_many_names_as_references(capsys):
    names = "".join(f"  y{index}: {{kind: mock}}\n" for index in range(COUNT))
    deploy_yaml("models:\n" + "".join(MODELS) + "backends:\n" + names)
    began = time.process_time()
    assert main(["validate", "deploy.yaml"]) == 2
    assert time.process_time() - began < 15
    assert len(capsys.readouterr().out) < 1_000_000


def test_an_error_is_reported_after_any_number_of_warnings(capsys):
    numbers = "".join(f"  m{index}: {{path: digits.onnx, backend: mock, instances: 010}}\n" for index in range(400))
    deploy_yaml(f"models:\n{numbers}  z: {{path: !!binary aGk=, backend: mock}}\n")
    assert main(["validate", "deploy.yaml", "--json"]) == 2
    found = json.loads(capsys.readouterr().out)["diagnostics"]
    assert "yaml-tag" in {one["id"] for one in found}


def test_a_key_is_no_longer_than_a_name_can_be(capsys):
    inside = ", ".join(f"a{index}: 1" for index in range(200))
    deploy_yaml(f"models:\n  ? {'k' * 300_000}\n  : {{{inside}}}\n")
    assert main(["validate", "deploy.yaml", "--json"]) == 2
    out = capsys.readouterr().out
    assert len(out) < 300_000
    assert "a key has at most 1024 characters" in out


def test_a_file_of_many_values_is_refused_before_all_of_it_is_read(capsys):
    deploy_yaml("[" + "a, " * 300_000 + "]")
    assert main(["validate", "deploy.yaml", "--json"]) == 2
    found = json.loads(capsys.readouterr().out)["diagnostics"]
    assert [one["message"] for one in found] == ["more than 100000 keys and values"]


def test_a_defaults_list_of_thousands_reads_no_file(capsys):
    deploy_yaml("defaults:\n" + "".join(f"- backend: x{index}\n" for index in range(5000)))
    assert main(["validate", "deploy.yaml", "--json"]) == 2
    found = json.loads(capsys.readouterr().out)["diagnostics"]
    assert [one["message"] for one in found] == ["a defaults list has at most 500 entries"]


def test_names_in_a_hint():
    names = [f"name{index}" for index in range(10_000)]
    assert listed(names).endswith("`name49` and 9950 more")
    assert nearest("nmae7", names) == "name7"
    assert nearest("x" * 100_000, ["x" * 100_000, "y"]) is None


VALUES = "t: {" + ", ".join(f"k{index}: 1" for index in range(10_000)) + "}\n"
COSTLY = {
    "a text of many": "a: 1\nx: '" + "${a}" * 100_000 + "'\n",
    "many texts": "a: 1\n" + "".join(f"x{index}: '${{a}}'\n" for index in range(12_000)),
    "a long key": "x: '${" + "a." * 100_000 + "a}'\n",
    "a key of many dots": "x: '${" + "." * 300_000 + "a}'\n",
    "a key of many brackets": "x: '${a" + "[0]" * 50_000 + "}'\n",
    "a large mapping in many texts": VALUES + "".join(f"x{index}: 'a${{t}}'\n" for index in range(3000)),
    "a large mapping as many keys": VALUES + "".join(f"x{index}: '${{oc.select:${{t}},1}}'\n" for index in range(3000)),
}


@pytest.mark.parametrize("text", COSTLY.values(), ids=COSTLY.keys())
def test_what_interpolations_cost_is_counted(text, capsys):
    deploy_yaml("models:\n  m: {path: digits.onnx, backend: mock}\n" + text)
    began = time.process_time()
    assert main(["validate", "deploy.yaml", "--json"]) == 2
    assert time.process_time() - began < 15
    out = capsys.readouterr().out
    assert len(out) < 500_000
    assert any(text in out for text in ("interpolations make the manifest too large", "at most 2048", "more-errors"))
