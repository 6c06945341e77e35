"""Overrides: Hydra's grammar, checked keys, and places inside the override's own text."""

from __future__ import annotations

import pytest

from aegisrt.manifest.compose.compose import compose
from tests.manifest.composing import KINDS, MODEL, composed, errors, values


@pytest.fixture(autouse=True)
def manifest(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "deploy.yaml").write_text(MODEL)


def origin(text, *path):
    found = composed("deploy.yaml", text).origins.of(path)
    assert (found.source, found.override) == ("override", text)
    assert found.value.file == f"override {text}"
    assert found.value.line == 1
    return text[found.key.column - 1 : found.key.end_column - 1], text[
        found.value.column - 1 : found.value.end_column - 1
    ]


@pytest.mark.parametrize(
    ("text", "path", "key", "value"),
    [
        ("models.digits.instances=2", ("models", "digits", "instances"), "instances", "2"),
        ("++models.digits.instances= 2 ", ("models", "digits", "instances"), "instances", "2"),
        ("+models.seg-net={path: a.onnx, backend: 'mock'}", ("models", "seg-net", "backend"), "backend", "'mock'"),
        (
            "+models.seg-net={path: a.onnx, backend: mock}",
            ("models", "seg-net"),
            "seg-net",
            "{path: a.onnx, backend: mock}",
        ),
        ('+models.m.path="数字.onnx"', ("models", "m", "path"), "path", '"数字.onnx"'),
        (
            "models.digits.signature={inputs:{x:{dtype:FP32}}}",
            ("models", "digits", "signature", "inputs", "x"),
            "x",
            "{dtype:FP32}",
        ),
        ("backends.onnx.kind=mock", ("backends", "onnx", "kind"), "kind", "mock"),
        ("models.digits.instances=int(2.5)", ("models", "digits", "instances"), "instances", "int(2.5)"),
        (
            "models.digits.backend=${models.digits.path}",
            ("models", "digits", "backend"),
            "backend",
            "${models.digits.path}",
        ),
        ("models.digits.sample=null", ("models", "digits", "sample"), "sample", "null"),
    ],
)
def test_keys_and_values_are_located_in_the_text(text, path, key, value):
    assert origin(text, *path) == (key, value)


def test_entries_of_a_list_are_located_too():
    text = "models.digits.signature={inputs:{x:{dtype:FP32,shape:[1,null, 64]}}}"
    found = composed("deploy.yaml", text).origins.of(("models", "digits", "signature", "inputs", "x", "shape", 2))
    assert text[found.value.column - 1 : found.value.end_column - 1] == "64"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("models.digits.instances=2", 2),
        ("models.digits.instances='2'", "2"),
        ("models.digits.instances=1e3", 1000.0),
        ("models.digits.instances=TRUE", True),
        ("models.digits.instances=null", None),
        ("models.digits.instances=", ""),
        ("models.digits.instances=a b", "a b"),
        (r"models.digits.instances=a\,b", "a,b"),
        ("models.digits.instances=[1,[a,'b']]", [1, ["a", "b"]]),
        ("models.digits.instances={a: 1, b: {c: null}}", {"a": 1, "b": {"c": None}}),
        ("models.digits.instances=sort(3,1)", [1, 3]),
        (r"models.digits.instances=\${x}", "${x}"),
    ],
)
def test_values_are_those_of_hydra_s_grammar(text, expected):
    if "sort" in text:  # a sweep in Hydra
        assert errors("deploy.yaml", text) == [f"sweep-not-here override {text}:1:25"]
    else:
        assert values("deploy.yaml", text)["models"]["digits"]["instances"] == expected


def test_a_mapping_is_merged_and_anything_else_replaces():
    got = values("deploy.yaml", "models.digits={instances: 2}", "+models.digits={warmup: 1}")["models"]["digits"]
    assert (got["backend"], got["instances"], got["warmup"]) == ("onnx", 2, 1)
    assert values("deploy.yaml", "models=null")["models"] is None


def test_overrides_apply_in_order():
    added = ("+models.x={backend: mock}", "models.x.path=a.onnx", "models.x.instances=3", "models.x.instances=4")
    assert values("deploy.yaml", *added)["models"]["x"]["instances"] == 4
    assert errors("deploy.yaml", *added[::-1])[0].startswith("unknown-name")


def test_a_name_that_starts_with_a_digit_is_set_by_the_mapping_around_it():
    assert "3d" in values("deploy.yaml", "+models={3d: {path: a.onnx, backend: mock}, 7: {path: b.onnx}}")["models"]
    assert errors("deploy.yaml", "+models.3d.path=a.onnx") == ["bad-override override +models.3d.path=a.onnx:1:9"]


def test_removals():
    assert "digits" not in values("deploy.yaml", "~models.digits")["models"]
    assert (
        "path"
        not in values("deploy.yaml", "~models.digits.path=digits.onnx", "models.digits.warmup=1")["models"]["digits"]
    )
    for text in ("~models.x", "~models.digits.instances", "~models.digits.path.x", "~models.digits.path=other.onnx"):
        assert [one.split()[0] for one in errors("deploy.yaml", text)] == ["unknown-name"], text


def test_what_was_removed_is_a_default_again():
    composition = composed("deploy.yaml", "models.digits.instances=3", "~models.digits.instances")
    assert composition.origins.of(("models", "digits", "instances")).source == "default"


@pytest.mark.parametrize(
    ("text", "column", "label"),
    [
        ("evn=prod", 1, "env"),
        ("modles.digits.instances=2", 1, "models"),
        ("models.digit.instances=2", 8, "digits"),
        ("backends.onx.device=cpu", 10, "onnx"),
        ("env=prd", 5, "prod"),
        ("model=[digits,digts]", 15, "digits"),
        ("bakend@backends.x=onnx", 1, "backend"),
    ],
)
def test_a_typo_is_answered_with_what_was_meant(text, column, label):
    (found,) = compose("deploy.yaml", [text], kinds=KINDS).unwrap_err().diagnostics
    assert (found.location.column, found.label) == (column, f"did you mean `{label}`?")


def test_an_unknown_name_says_how_to_add_it():
    (found,) = compose("deploy.yaml", ["models.speech.path=a.onnx"], kinds=KINDS).unwrap_err().diagnostics
    assert "`+models.speech.path=a.onnx`" in found.hint


@pytest.mark.parametrize(
    "text", ["a=1,2", "a=choice(1,2)", "a=range(1,3)", "a=[choice(1,2)]", "a=glob(*)", "env=dev,prod"]
)
def test_sweeps_are_refused(text):
    assert errors("deploy.yaml", text)[0].startswith("sweep-not-here")


@pytest.mark.parametrize(
    ("text", "column"),
    [
        ("models.digits", 1),
        ("", 1),
        ("=2", 1),
        ("+", 1),
        ("models..x=1", 7),
        (".models=1", 1),
        ("models.=1", 7),
        ("a b=1", 2),
        ("models.digits.path=[1", 22),
        ("models.digits.path=]", 20),
        ("models.digits.path='a", 20),
        ("models.digits.path=é", 20),
        ("models.digits.path=a=b", 21),
        ("models.digits.path=what(1)", 20),
        ("models.digits.path=int(a)", 20),
    ],
)
def test_bad_grammar_is_located(text, column):
    assert errors("deploy.yaml", text) == [f"bad-override override {text}:1:{column}"]


@pytest.mark.parametrize(
    "text",
    [
        "hydra.run.dir=x",
        "+hydra.x=1",
        "~hydra.job",
        "hydra/launcher=basic",
        "hydra={run: {dir: x}}",
        "++hydra.verbose=true",
        "backend@hydra=onnx",
        "+backend@_global_.hydra.job=onnx",
        "hydra/env@x=y",
    ],
)
def test_hydra_itself_is_out_of_reach(text):
    assert [one.split()[0] for one in errors("deploy.yaml", text)] == ["hydra-key"]


@pytest.mark.parametrize(
    ("text", "column"),
    [
        ("models.digits._target_=os.system", 15),
        ("+models.digits._target_.x=1", 16),
        ("+models.x={a:{_target_:os.system}}", 15),
        ("+models.x=[{_partial_: true}]", 13),
        ("+_target_=os.system", 2),
    ],
)
def test_no_override_names_code(text, column):
    assert errors("deploy.yaml", text) == [f"target-key override {text}:1:{column}"]


def test_all_errors_come_at_once():
    texts = ["evn=prod", "models.digits", "models.digts.instances=2", "a=1,2", "models.digits.warmup=${nowhere}"]
    every = ["bad-override", "interpolation", "sweep-not-here", "unknown-field", "unknown-name"]
    assert sorted(one.split()[0] for one in errors("deploy.yaml", *texts)) == every


def test_names_are_not_judged_where_a_file_that_might_declare_them_is_missing():
    texts = ["evn=prod", "models.digts.instances=2", "model=nope"]
    assert sorted(one.split()[0] for one in errors("deploy.yaml", *texts)) == ["unknown-field", "unknown-option"]
