"""What a model, a request or a file names reaches a terminal and a log escaped, in every form of output."""

import json
import logging
import re
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from aegisrt.cli.main import main
from aegisrt.cli.output import engine_output, print_error, print_json, print_text, shown, warn
from aegisrt.cli.render import print_table
from aegisrt.core.result import Error, ErrorCode
from tests.backends.files.test_onnx import field, model, tensor

HOSTILE = "\x1b[2J\x07\r\n::set-env name=PATH::/tmp\n  ::error::x\u202e\x9b1m a ##[add-mask]b ##vso[x]"
"""Clears the screen, rings, starts a line over, runs commands of a CI system, and writes from right to left."""
INT64, FLOAT = 7, 1


def assert_safe(text: str) -> None:
    assert all(char.isprintable() or char == "\n" for char in text), ascii(text)
    assert not [line for line in text.split("\n") if line.lstrip().startswith("::")], text
    assert not re.search(r"##\w*\[", text), text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain: a::b\n  two", "plain: a::b\n  two"),
        ("é 模型 ½", "é 模型 ½"),
        ("a\x1b[1mb", "a\\x1b[1mb"),
        ("::error::x", "\\x3a:error::x"),
        ("a\n \t::x", "a\n \\t::x"),
        ("a\r::x", "a\\r::x"),
        ("\u2028::x", "\\u2028::x"),
        ("a ##[add-mask]b", "a \\x23#[add-mask]b"),
        ("###[a] ##vso[b]", "#\\x23#[a] \\x23#vso[b]"),
        ("## [a] # [b]", "## [a] # [b]"),
    ],
)
def test_lines_stay_and_the_rest_is_escaped(text, expected):
    assert shown(text) == expected


def test_errors_in_both_formats(capsys):
    error = Error(ErrorCode.INTERNAL, HOSTILE, HOSTILE, cause=f"{HOSTILE}\nmore")
    for form in ("text", "json"):
        print_error(error, form)
    out, err = capsys.readouterr()
    assert_safe(out)
    assert_safe(err)
    assert json.loads(out)["error"]["message"] == HOSTILE


def test_texts_tables_and_json(capsys):
    print_text(HOSTILE)
    warn(HOSTILE)
    print_table(("a", "b"), [(HOSTILE, HOSTILE), ("::x", "y")])
    print_json({HOSTILE: [HOSTILE]})
    out, err = capsys.readouterr()
    assert_safe(out)
    assert_safe(err)
    assert json.loads(out.splitlines()[-1]) == {HOSTILE: [HOSTILE]}


def test_a_name_forges_no_line(capsys):
    forged = "x\nhint: run this"
    print_error(Error(ErrorCode.INTERNAL, forged, forged, cause=" \n "), "text")
    print_table(("a",), [(forged,)])
    out, err = capsys.readouterr()
    assert [line for line in (out + err).split("\n") if line.startswith("hint: run")] == []


def test_what_is_logged_without_a_handler_is_escaped(capsys, monkeypatch):
    monkeypatch.setattr(logging, "lastResort", logging.lastResort)
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    with engine_output():
        logging.getLogger("aegisrt.test").warning("%s", HOSTILE)
    assert_safe(capsys.readouterr().err)


@pytest.fixture
def hostile(tmp_path, monkeypatch):
    """Write an ONNX file all of whose names are hostile, and return it."""
    monkeypatch.chdir(tmp_path)
    name, other = f"x{HOSTILE}", field(1, f"s{HOSTILE}") + field(2, field(4, b""))
    graph = (
        field(11, tensor(name, FLOAT, [HOSTILE, 2])) + field(12, tensor(f"y{HOSTILE}", FLOAT, [1])) + field(12, other)
    )
    Path("m.onnx").write_bytes(model(graph))
    np.savez("x.npz", **{name: np.zeros((1, 2), np.float32)})
    np.save("x.npy", np.zeros((1, 3), np.float32))
    return name


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize(
    "argv",
    [
        ["run", "aegisrt.yaml"],
        ["run", "aegisrt.yaml", "--input", "x.npz"],
        ["run", "aegisrt.yaml", "--input", "x.npy"],
        ["run", "aegisrt.yaml", "--input", "nothing=x.npy"],
        ["run", "aegisrt.yaml", "backends.mock.fail_execute=INTERNAL"],
        ["run", "aegisrt.yaml", "--model", HOSTILE],
        ["run", HOSTILE],
        ["run", "aegisrt.yaml", f"models.m.path={HOSTILE}"],
        ["run", "aegisrt.yaml", "--input", f"{HOSTILE}.npy"],
        ["run", "aegisrt.yaml", "--output", f"{HOSTILE}/x.npz"],
        ["graph", "aegisrt.yaml", "--load"],
        ["validate", "aegisrt.yaml"],
        ["explain", "aegisrt.yaml"],
        ["config", "aegisrt.yaml"],
        ["bench", "aegisrt.yaml", "--seconds", "0.05"],
        ["bench", "aegisrt.yaml", "--seconds", "0.05", "backends.mock.fail_execute=INTERNAL"],
        ["init", "--backend", "mock", "--force"],
        ["init", "--force", "--shape", f"{HOSTILE}=1"],
        ["init", "--force", "--backend", HOSTILE],
        ["artifacts", HOSTILE],
        [HOSTILE],
    ],
    ids=lambda argv: " ".join(word.replace(HOSTILE, "HOSTILE") for word in argv),
)
def test_every_verb_with_hostile_names(argv, form, hostile, capsys):
    assert main(["init", "--backend", "mock"]) == 0
    with suppress(SystemExit):
        main([*argv, *(["--json"] if form == "json" else [])])
    out, err = capsys.readouterr()
    assert_safe(out)
    assert_safe(err)
    assert form == "text" or json.loads(out.splitlines()[-1]) is not None


def test_the_composed_manifest_keeps_hostile_texts_and_shows_them_escaped(hostile, capsys):
    manifest = {"models": {"m": {"path": "m.onnx", "backend": "mock", "signature": {"inputs": {}}}}}
    names = {HOSTILE, "::error::x", "##[x]", "a\n::x", "  ::x", "a::b", "x\u202e", "\x9b1m", hostile}
    manifest["models"]["m"]["signature"]["inputs"] = {name: {"dtype": "FP32"} for name in names}
    manifest["models"]["m"]["signature"]["outputs"] = {"y": {"dtype": "FP32", "shape": [f"{'x' * 70_000}\x01::x"]}}
    Path("d.yaml").write_text(json.dumps(manifest))
    assert main(["config", "d.yaml"]) == 0
    out = capsys.readouterr().out
    assert_safe(out)
    Path("again.yaml").write_text(out)
    assert main(["config", "again.yaml", "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out)["models"]["m"]["signature"]["inputs"]) == names


@pytest.mark.parametrize("form", ["text", "json"])
def test_the_lines_and_the_name_of_a_manifest_run_no_command(form, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("::add-mask::x.yaml").write_text("models:\n  m: '##[add-mask]x'\n::add-mask::y: [\n")
    Path("x.yaml").write_text("models:\n  '##[add-mask]x':\n    path: '##[add-mask]y.onnx'\n::add-mask::y: 1\n")
    for name in ("::add-mask::x.yaml", "x.yaml"):
        for verb in ("validate", "config"):
            assert main([verb, name, "--format", form]) == 2
    out, err = capsys.readouterr()
    assert_safe(out)
    assert_safe(err)


def test_the_log_of_a_process_is_a_field_of_its_own(capsys):
    error = Error(ErrorCode.INTERNAL, "it died of SIGSEGV", "read the log", log="/cache/logs/m.log")
    assert print_error(error, "text") == 1
    assert "   = log: /cache/logs/m.log\n" in capsys.readouterr().err
    print_error(error, "json")
    assert json.loads(capsys.readouterr().out)["error"]["log"] == "/cache/logs/m.log"
    print_error(Error(ErrorCode.INTERNAL, "without a process"), "json")
    assert "log" not in json.loads(capsys.readouterr().out)["error"]
