"""Deep and large manifests: an error within the limits, by every way in, and never a RecursionError or a long wait."""

from __future__ import annotations

import json
import sys
import time

import pytest

from aegisrt import deploy
from aegisrt.cli.main import main
from aegisrt.core.result import ErrorCode
from aegisrt.manifest.compose.sweep import expand_sweep
from tests.manifest.composing import MODEL, composed, deploy_yaml, errors, write


@pytest.fixture(autouse=True)
def _files(folder):
    (folder / "digits.onnx").write_bytes(b"x")
    deploy_yaml(MODEL.replace("onnx}", "mock}"))


DEEP = [51, 250, 330, 480, 3000]
QUOTES = ["'", "'"]
TOO_DEEP = "nested deeper than 50 levels"


def nested(levels, opening="[", closing="]", inside=""):
    return opening * levels + inside + closing * levels


def mapping(levels):
    value = 1
    for _ in range(levels):
        value = {"a": value}
    return value


def texts(capsys, *arguments):
    status = main(["validate", *arguments, "--json"])
    return status, [
        (one["id"], one["message"], one["line"], one["column"])
        for one in json.loads(capsys.readouterr()[0])["diagnostics"]
    ]


@pytest.mark.parametrize("levels", DEEP)
@pytest.mark.parametrize(
    ("opening", "closing"), [("{a: ", "}"), ("[", "]"), ("{a: [", "]}")], ids=["mapping", "list", "both"]
)
def test_a_manifest_in_brackets(capsys, levels, opening, closing):
    per = len([char for char in opening if char in "[{"])
    deploy_yaml(f"models: {nested(levels // per + 1, opening, closing, '1')}\n")
    index = 50 // per if per == 2 else 49  # `models` itself is the first level
    column = 9 + len(opening) * (49 // per) + (opening.rindex("[") if per == 2 else 0)
    assert texts(capsys, "deploy.yaml") == (2, [("too-deep", TOO_DEEP, 1, column)]), index


@pytest.mark.parametrize("levels", DEEP[:-1])
def test_a_manifest_of_indented_lines(capsys, levels):
    deploy_yaml("".join(f"{' ' * level}a:\n" for level in range(levels + 1)))
    assert texts(capsys, "deploy.yaml")[0] == 2
    deploy_yaml("".join(f"{' ' * level}a:\n" for level in range(levels + 1)) + " " * (levels + 1) + "b: 1\n")
    assert texts(capsys, "deploy.yaml") == (2, [("too-deep", TOO_DEEP, 51, 51)])


def test_what_is_within_the_limit_is_read():
    deploy_yaml(MODEL + f"    # deep\nstreams: {nested(48, '{a: ', '}', '[1]')}\n")
    assert composed("deploy.yaml").values["streams"]
    with_list = composed("deploy.yaml", f"++streams.b={nested(49)}").values["streams"]["b"]
    assert json.dumps(with_list) == nested(49)
    assert composed({"streams": mapping(49)}).values["streams"]["a"] == mapping(48)
    assert errors({"streams": mapping(50)}) == ["too-deep <mapping>:1:1"]


@pytest.mark.parametrize("levels", DEEP)
def test_aliases_that_nest(capsys, levels):
    lines = ["a0: &a0 [1]", *(f"a{n}: &a{n} [*a{n - 1}]" for n in range(1, levels))]
    deploy_yaml("\n".join(lines))
    status, found = texts(capsys, "deploy.yaml")
    assert status == 2
    assert ("too-deep", TOO_DEEP) in {one[:2] for one in found}
    assert {one[0] for one in found} - {"more-errors"} == {"too-deep", "unknown-field"}, (
        "the keys that hold the anchors are wrong too"
    )


@pytest.mark.parametrize("levels", DEEP)
@pytest.mark.parametrize("brackets", ["[]", "{}", "()"])
def test_an_override(capsys, levels, brackets):
    opening = {"[]": "[", "{}": "{a:", "()": "int("}[brackets]
    text = f"models.digits.sample={nested(levels, opening, brackets[1], '1')}"
    column = len("models.digits.sample=") + 50 * len(opening) + len(opening.rstrip("a:"))
    assert texts(capsys, "deploy.yaml", text) == (2, [("too-deep", TOO_DEEP, 1, column)])
    error = expand_sweep([text]).unwrap_err()
    assert [one.id for one in error.diagnostics] == ["too-deep"]


@pytest.mark.parametrize("levels", DEEP)
def test_an_override_that_is_never_closed(capsys, levels):
    status, found = texts(capsys, "deploy.yaml", f"models.digits.sample={'[' * levels}")
    assert (status, [one[:2] for one in found]) == (2, [("too-deep", TOO_DEEP)])


@pytest.mark.parametrize("levels", DEEP)
@pytest.mark.parametrize("start", ["models.", "+models.", "backend@", "+model@models.", "~models."])
def test_the_key_of_an_override(capsys, levels, start):
    value = "" if start[0] == "~" else "=mock"
    status, found = texts(capsys, "deploy.yaml", f"{start}{'.'.join(['a'] * levels)}{value}")
    assert (status, [one[:2] for one in found]) == (2, [("too-deep", TOO_DEEP)])


def test_a_deep_value_at_a_deep_key():
    key, value = ".".join(["a"] * 40), nested(30)
    composition = composed("deploy.yaml", f"++models.digits.{key}={value}")
    assert composition.values
    assert errors("deploy.yaml", "++models.digits.sample='${oc.decode:\"" + nested(60) + "\"}'")[0].startswith(
        "interpolation"
    )


@pytest.mark.parametrize("levels", DEEP)
@pytest.mark.parametrize(
    "make", [mapping, lambda levels: json.loads(nested(min(levels, 900)))], ids=["mapping", "list"]
)
def test_a_mapping_from_python(levels, make):
    model = {"path": "digits.onnx", "backend": "mock", "signature": make(levels)}
    error = deploy({"models": {"digits": model}}).unwrap_err()
    assert error.code is ErrorCode.INVALID_ARGUMENT
    assert ("too-deep", TOO_DEEP) in {(one.id, one.message) for one in error.diagnostics}


@pytest.mark.parametrize(
    "manifest", [mapping(5000), json.loads(nested(900)), 5, object()], ids=["mapping", "list", "number", "object"]
)
def test_a_wrong_call_shows_no_endless_text(manifest):
    for overrides in ([1], 5, [mapping(5000)], [json.loads(nested(900))]):
        assert deploy(manifest, overrides).unwrap_err().code is ErrorCode.INVALID_ARGUMENT


@pytest.mark.parametrize("levels", DEEP[:-1])
def test_a_group_s_package(folder, levels):
    package = ".".join(["models", *["a"] * levels])
    write(folder, conf__model__deep=f"# @package {package}\nb: 1\n", conf__model__flat="b: 1\n")
    assert errors("deploy.yaml", "model=deep", config_dir="conf") == ["too-deep conf/model/deep.yaml:1:1"]
    deploy_yaml(f"defaults: [model@{package}: flat]\n{MODEL}")
    assert [one.split()[0] for one in errors("deploy.yaml", config_dir="conf")] == ["too-deep"]


@pytest.mark.parametrize("levels", DEEP[1:])
@pytest.mark.parametrize("form", ["${oc.select:%s}", "${oc.decode:'%s'}", "[%s]", "${a:%s}"])
def test_an_interpolation(levels, form):
    text = "a"
    for _ in range(levels):
        text = form % text
    quoted = text.replace("'", "''")
    deploy_yaml(f"models:\n  digits:\n    path: x\n    backend: '${{oc.decode:{quoted}}}'\n")
    assert errors("deploy.yaml") == ["interpolation deploy.yaml:4:14"]


def reference(number):
    return f"${{models.a{number}}}"


def test_interpolations_that_contain_each_other_are_bounded():
    lines = [f"a{n}: [{', '.join([reference(n - 1).join(QUOTES)] * 9)}]" for n in range(1, 12)]
    deploy_yaml("models:\n  a0: [1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(f"  {line}\n" for line in lines))
    started = time.monotonic()
    assert {one.split()[0] for one in errors("deploy.yaml")} == {"interpolation"}
    assert time.monotonic() - started < 30


def test_texts_that_contain_each_other_are_bounded():
    lines = [f"a0: {'x' * 99}", *(f"a{n}: '{reference(n - 1) * 9}'" for n in range(1, 12))]
    deploy_yaml("models:\n" + "".join(f"  {line}\n" for line in lines))
    assert {one.split()[0] for one in errors("deploy.yaml")} == {"interpolation"}


@pytest.mark.parametrize("levels", [60, 300])
def test_interpolations_that_nest_each_other(levels):
    lines = ["a0: [1]", *(f"a{n}: [{reference(n - 1).join(QUOTES)}]" for n in range(1, levels))]
    deploy_yaml("models:\n" + "".join(f"  {line}\n" for line in lines))
    assert {one.split()[0] for one in errors("deploy.yaml")} == {"interpolation"}
    deploy_yaml("models:\n" + "".join(f"  {line}\n" for line in reversed(lines)))
    assert {one.split()[0] for one in errors("deploy.yaml")} == {"interpolation"}


def test_defaults_lists_that_include_without_end(folder):
    write(folder, **{f"conf__model__m{n}": f"# @package _global_\ndefaults: [m{n + 1}]\n" for n in range(1200)})
    write(folder, conf__model__m1200="# @package _global_\na: 1\n")
    assert errors("deploy.yaml", "model=m0", config_dir="conf") == ["defaults-syntax deploy.yaml:1:1"]
    write(folder, conf__model__m200="# @package _global_\ndefaults: [m0]\n")
    assert [one.split()[0] for one in errors("deploy.yaml", "model=m0", config_dir="conf")] == ["defaults-cycle"]
    twice = {f"conf__model__d{n}": f"# @package _here_\ndefaults: [d{n + 1}@x, d{n + 1}@y]\n" for n in range(40)}
    write(folder, **twice, conf__model__d40="a: 1\n")
    started = time.monotonic()
    assert [one.split()[0] for one in errors("deploy.yaml", "model=d0", config_dir="conf")] == ["defaults-syntax"]
    assert time.monotonic() - started < 30


@pytest.mark.parametrize("overrides", [["a=range(0,1000000000)"], ["a=range(0,200)", "b=range(0,200)"]])
def test_a_sweep_without_end_is_refused(overrides):
    (found,) = expand_sweep(overrides).unwrap_err().diagnostics
    assert (found.id, found.message) == ("bad-override", "a sweep of more than 10000 cells")


def test_a_stack_that_is_used_up_to_a_half_is_enough(capsys):
    def call(levels):
        return call(levels - 1) if levels else texts(capsys, "deploy.yaml", f"models.digits.sample={nested(50)}")

    status, found = call(sys.getrecursionlimit() // 3)
    assert (status, [one[0] for one in found]) == (2, ["wrong-type", "too-deep"])


@pytest.mark.parametrize("text", ["a: {x: 1}" + "[" * 50_000, "%YAML 1." + "1" * 50_000 + "\n%YAML 1.1\n---\na: 1\n"])
def test_the_cause_of_a_syntax_error_is_found_in_time(tmp_path, text):
    file = tmp_path / "m.yaml"
    file.write_text(text)
    started = time.process_time()
    assert deploy(file).unwrap_err().diagnostics
    assert time.process_time() - started < 5


@pytest.mark.parametrize("number", ["1" + ":59" * 300_000, "1" + ":59" * 200 + ".5", "1" + ":59" * 200])
def test_a_long_number_in_base_60_is_an_error_at_once(number):
    """PyYAML needs quadratic time for it, and a fraction of it overflows."""
    manifest = deploy_yaml(MODEL.replace("onnx}", f"mock, instances: {number}}}"))
    started = time.process_time()
    (error,) = errors(manifest)
    assert time.process_time() - started < 10
    assert error.startswith("yaml-syntax deploy.yaml:2:")


def test_a_short_number_in_base_60_is_a_number():
    manifest = deploy_yaml(MODEL.replace("onnx}", "mock, instances: 1:30}"))
    assert composed(manifest).values["models"]["digits"]["instances"] == 90
