from __future__ import annotations

import json
import time

import pytest

from aegisrt.core.diagnostic import Diagnostic, Location, Note
from aegisrt.manifest.diagnostics.report import render_github, render_text, to_json
from aegisrt.manifest.diagnostics.snippet import read_lines

TENSORRT = Diagnostic(
    "unknown-field",
    "`precison` is not a field of backend kind `tensorrt`",
    Location("deploy.yaml", 12, 5, 13),
    path="backends.trt.precison",
    hint="fields are `kind`, `device`, `precision`, `profiles`, `workspace_bytes`",
    set_by="backend=tensorrt, chosen in configs/env/prod.yaml:4:5",
    label="did you mean `precision`?",
)
LINES = [""] * 10 + ["    kind: tensorrt", "    precison: fp16"]


def test_text_is_as_the_conventions_show_it():
    assert render_text([TENSORRT], sources=lambda _: LINES) == (
        """\
deploy.yaml:12:5: error[unknown-field]: `precison` is not a field of backend kind `tensorrt`
   |
11 |     kind: tensorrt
12 |     precison: fp16
   |     ^^^^^^^^ did you mean `precision`?
   = path: backends.trt.precison
   = set by: backend=tensorrt, chosen in configs/env/prod.yaml:4:5

hint: fields are `kind`, `device`, `precision`, `profiles`, `workspace_bytes`

1 error in deploy.yaml
"""
    )


def test_an_override_is_its_own_snippet():
    text = "backends.trt.precison=fp8"
    error = Diagnostic("unknown-field", "no", Location(f"override {text}", 1, 14, 22), label="did you mean?")
    assert render_text([error]) == (
        """\
override backends.trt.precison=fp8:1:14: error[unknown-field]: no
  |
1 | backends.trt.precison=fp8
  |              ^^^^^^^^ did you mean?

1 error in 1 override
"""
    )


def test_both_places_of_a_reference_are_shown():
    notes = (Note("`fast` is declared here", Location("base.yaml", 7, 3, 7)), Note("no place"))
    error = Diagnostic("dangling-reference", "m", Location("a.yaml", 1, 1, 2), notes=notes)
    assert render_text([error], sources=lambda _: ["x"]) == (
        """\
a.yaml:1:1: error[dangling-reference]: m
  |
1 | x
  | ^
  = note: `fast` is declared here: base.yaml:7:3
  = note: no place

1 error in a.yaml
"""
    )


def caret(line, column, end, **rest):
    error = Diagnostic("x", "m", Location("f", 1, column, end), **rest)
    text, carets = render_text([error], sources=lambda _: [line]).splitlines()[2:4]
    return text[4:], carets[4:]


@pytest.mark.parametrize(
    ("line", "column", "end", "text", "carets"),
    [
        ("名前: 値段", 1, 3, "名前: 値段", "^^^^"),
        ("名前: 値段", 5, 7, "名前: 値段", "      ^^^^"),
        ("e\u0301a: b", 3, 4, "e\u0301a: b", " ^"),
        ("\tkey: value", 2, 5, "    key: value", "    ^^^"),
        ("key:\tvalue", 6, 11, "key:    value", "        ^^^^^"),
        ("é: x", 4, 5, "é: x", "   ^"),
        ("🚀: x", 4, 5, "🚀: x", "    ^"),
        ("a: \x1b[31mred", 4, 5, "a: \N{REPLACEMENT CHARACTER}[31mred", "   ^"),
        ("a: \u202ex", 5, 6, "a: x", "   ^"),
        ("key:", 5, 5, "key:", "    ^"),
        ("key:", 9, 12, "key:", "    ^"),
        ("", 1, 2, "", "^"),
    ],
)
def test_carets_stand_under_what_they_mark(line, column, end, text, carets):
    assert caret(line, column, end) == (text, carets)


def test_a_long_line_is_shown_around_its_error():
    line = "models: {" + ", ".join(f"m{i}: {{path: p, backend: b}}" for i in range(500)) + "}"
    column = line.index("m250") + 1
    text, carets = caret(line, column, column + 4)
    assert len(text) <= 122
    assert text.startswith("…")
    assert text.endswith("…")
    start = carets.index("^")
    assert text[start : start + 4] == "m250"
    assert carets.strip() == "^^^^"


def test_a_long_marked_value_does_not_overflow():
    text, carets = caret("key: " + "x" * 5000, 6, 5006)
    assert text.endswith("…")
    assert len(carets) <= 121


def test_without_the_file_the_label_remains():
    error = Diagnostic("x", "m", Location("gone.yaml", 3, 1, 2), label="look")
    assert (
        render_text([error], sources=lambda _: None) == "gone.yaml:3:1: error[x]: m\n  = look\n\n1 error in gone.yaml\n"
    )


def test_a_line_beyond_the_file_gives_no_snippet():
    error = Diagnostic("x", "m", Location("a", 9, 1, 2))
    assert "|" not in render_text([error], sources=lambda _: ["one"])


def test_numbers_line_up_where_they_grow_a_digit():
    error = Diagnostic("x", "m", Location("f", 10, 1, 2))
    rows = render_text([error], sources=lambda _: [f"line{n}" for n in range(1, 11)]).splitlines()
    assert rows[1:5] == ["   |", " 9 | line9", "10 | line10", "   | ^"]


def test_the_count_names_files_and_overrides():
    def error(file, severity="error"):
        return Diagnostic("x", "m", Location(file, 1, 1, 2), severity=severity)

    def count(*found):
        return render_text(found, sources=lambda _: None).splitlines()[-1]

    assert count(error("a.yaml"), error("a.yaml"), error("a.yaml")) == "3 errors in a.yaml"
    assert count(error("a.yaml"), error("b.yaml")) == "2 errors in 2 files"
    assert count(error("a.yaml"), error("override x=1")) == "2 errors in a.yaml and 1 override"
    assert count(error("override y"), error("override x=1")) == "2 errors in 2 overrides"
    assert count(error("a.yaml"), error("a.yaml", "warning")) == "1 error and 1 warning in a.yaml"
    assert count(error("a.yaml", "warning")) == "1 warning in a.yaml"
    assert render_text([]) == ""


def test_color_changes_no_words():
    import re

    plain = render_text([TENSORRT], sources=lambda _: LINES)
    colored = render_text([TENSORRT], sources=lambda _: LINES, color=True)
    assert "\x1b[1;31m" in colored
    assert re.sub(r"\x1b\[[0-9;]*m", "", colored) == plain


def test_control_characters_never_reach_the_terminal():
    evil = "a\x1b]0;title\x07b\r\nc\ud800"
    error = Diagnostic("x", evil, Location(f"override {evil}", 1, 1, 2), path=evil, hint=evil, label=evil, set_by=evil)
    text = render_text([error])
    assert not set(text) & set("\x1b\x07\r")
    text.encode()
    assert not set(render_github([error])) & set("\x1b\x07\r\ud800")


def test_lines_are_split_as_yaml_splits_them(tmp_path):
    file = tmp_path / "f.yaml"
    file.write_bytes("\ufeffa\r\nb\rc\u2028d\x85e\n".encode())
    assert read_lines(str(file)) == ["a", "b", "c", "d", "e", ""]
    file.write_bytes(b"\xff\xfe\x00")
    assert read_lines(str(file)) is not None
    assert read_lines(str(tmp_path / "none")) is None
    assert read_lines("nul\0") is None


def test_github_commands_are_escaped(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    error = Diagnostic("bad-value", "50% of it", Location(str(tmp_path / "a,b:c.yaml"), 3, 5, 9), hint="h: x, y")
    assert render_github([error]) == (
        "::error file=a%2Cb%3Ac.yaml,line=3,col=5,endColumn=9,title=bad-value::50%25 of it%0Ah: x, y\n"
    )


def test_github_gets_no_file_for_an_override():
    error = Diagnostic("unknown-field", "no", Location("override a=1", 1, 1, 2), severity="warning")
    assert render_github([error]) == "::warning title=unknown-field::override a=1:1:1:%0Ano\n"


def test_json_is_as_the_contract_says():
    document = json.loads(json.dumps(to_json([TENSORRT])))
    assert document["ok"] is False
    assert set(document["diagnostics"][0]) == {
        "id", "severity", "file", "line", "column", "end_column", "path", "message", "hint", "set_by",
    }  # fmt: skip
    assert (document["diagnostics"][0]["line"], document["diagnostics"][0]["end_column"]) == (12, 13)
    assert to_json([]) == {"ok": True, "diagnostics": []}
    warning = Diagnostic("x", "m", Location("f", 1, 1, 2), severity="warning")
    assert to_json([warning])["ok"] is True


def test_many_errors_in_one_long_line_are_shown_in_time():
    line = "é, " * 100_000
    places = [Location("deploy.yaml", 2, column, column + 1) for column in range(1, len(line), 300)]
    started = time.perf_counter()
    text = render_text([Diagnostic("bad-value", "no", at) for at in places], sources=lambda _: [line, line])
    assert text.count("^") == len(places)
    assert time.perf_counter() - started < 10
