"""`aegisrt compare`: agreement, differences, failures of one backend, and mistakes of the user."""

import json
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from aegisrt.cli.main import main
from tests.runtime.models import affine

OTHER = "+backends.other={kind: mock}"


@pytest.fixture
def manifest(tmp_path):
    path = tmp_path / "m.yaml"
    model = affine(tmp_path)
    path.write_text(f"models:\n  m: {{path: {model.name}, backend: mock}}\n")
    return str(path)


def compare(capsys, *words):
    code = main(["compare", *words, "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_equal_backends_agree(capsys, manifest):
    code, found = compare(capsys, manifest, OTHER, "--backends", "mock,other")
    assert (code, found["ok"], found["reference"], found["made_up_inputs"]) == (0, True, "mock", True)
    assert [result["backend"] for result in found["results"]] == ["mock", "other"]
    for result in found["results"]:
        assert result["latency_us"] > 0
        for output in result["outputs"].values():
            assert output["max_abs"] == 0
            assert output["max_rel"] == 0


def test_a_backend_that_fails_is_a_result_and_the_others_are_compared(capsys, manifest):
    failing = "+backends.bad={kind: mock, fail_execute: INTERNAL}"
    broken = "+backends.broken={kind: mock, fail_load: DATA_LOSS}"
    code, found = compare(capsys, manifest, OTHER, failing, broken, "--backends", "mock,bad,broken,other")
    assert (code, found["ok"]) == (1, False)
    assert [result["ok"] for result in found["results"]] == [True, False, False, True]
    assert [(result["error"] or {}).get("code") for result in found["results"]] == [None, "INTERNAL", "DATA_LOSS", None]


def test_a_reference_that_fails_is_an_error(capsys, manifest):
    code, found = compare(capsys, manifest, OTHER, "backends.mock.fail_load=DATA_LOSS", "--backends", "mock,other")
    assert (code, found["ok"], found["error"]["code"]) == (1, False, "DATA_LOSS")
    assert "the reference `mock`" in found["error"]["message"]


def test_the_given_input_is_used_and_a_wrong_one_is_located(capsys, manifest, tmp_path):
    np.save(tmp_path / "x.npy", np.ones((2, 4), np.float32))
    words = [manifest, OTHER, "--backends", "mock,other", "--input"]
    code, found = compare(capsys, *words, str(tmp_path / "x.npy"))
    assert (code, found["made_up_inputs"]) == (0, False)
    code, found = compare(capsys, *words, str(tmp_path / "none.npy"))
    assert code == 2
    assert "none.npy" in found["error"]["message"]


def test_the_report_is_junit_or_json(capsys, manifest, tmp_path):
    words = [manifest, "+backends.bad={kind: mock, fail_execute: INTERNAL}", "--backends", "mock,bad", "--report"]
    assert compare(capsys, *words, str(tmp_path / "r.xml"))[0] == 1
    suites = ElementTree.parse(tmp_path / "r.xml").getroot()
    assert [suite.get("failures") for suite in suites] == ["0", "1"]
    _, document = compare(capsys, *words, str(tmp_path / "r.json"))
    written = json.loads((tmp_path / "r.json").read_text())
    assert written.keys() == document.keys()


def test_a_report_replaces_a_link_and_leaves_its_target(capsys, manifest, tmp_path):
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "r.json").symlink_to(tmp_path / "precious")
    compare(capsys, manifest, OTHER, "--backends", "mock,other", "--report", str(tmp_path / "r.json"))
    assert (tmp_path / "precious").read_text() == "precious"
    assert json.loads((tmp_path / "r.json").read_text())["ok"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--backends", "mock"], "at least two backends"),
        ([], "at least two backends"),
        (["--backends", "mock,mock"], "names mock twice"),
        (["--backends", "mock,moc"], "did you mean `mock`?"),
        (["--backends", "mock,onnx", "--atol", "-1"], "not a number of at least 0"),
        (["--backends", "mock,onnx", "--report", "r.txt"], "name a .json or a .xml file"),
        (["--backends", "mock,onnx", "--report", "none/r.xml"], "the folder none does not exist"),
        (["--backends", "mock,onnx", "--model", "n"], "not a model of the manifest"),
    ],
)
def test_a_mistake_is_a_usage_error(capsys, manifest, words, message):
    with pytest.raises(SystemExit) as exit_:
        main(["compare", manifest, *words])
    assert exit_.value.code == 2
    assert message in capsys.readouterr().err


def test_as_text_each_output_has_a_line(capsys, manifest):
    assert main(["compare", manifest, OTHER, "--backends", "mock,other"]) == 0
    out = capsys.readouterr().out
    assert out.count("equal") == 2
    assert "median of a call: mock" in out
    assert "made up" in out


@pytest.mark.engine("onnx", "tvm")
def test_the_demo_agrees_on_onnx_and_tvm_and_not_on_the_mock(capsys):
    code, found = compare(capsys, "--backends", "onnx,tvm")
    assert (code, found["ok"]) == (0, True)
    tvm = found["results"][1]["outputs"]["probabilities"]
    assert 0 < tvm["max_abs"] < 1e-5
    assert tvm["top1"] == 1
    code, found = compare(capsys, "--backends", "onnx,mock")
    assert (code, found["ok"]) == (1, False)
    assert found["results"][1]["outputs"]["probabilities"]["wrong"] > 3000


@pytest.mark.engine("onnx", "tvm")
def test_a_tolerance_is_the_users(capsys):
    assert compare(capsys, "--backends", "onnx,tvm", "--atol", "0", "--rtol", "0")[0] == 1
