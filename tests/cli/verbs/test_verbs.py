"""The verbs as a user runs them, in this process; on the mock alone, so that no engine is needed."""

import json

import numpy as np
import pytest

from aegisrt.cli.main import main
from tests.runtime.models import affine

MANIFEST = """\
models:
  double: {path: affine.mock.json, backend: mock, sample: {inputs: x.npy, labels: y.npy}}
"""


@pytest.fixture
def deploy(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    affine(tmp_path)
    np.save("x.npy", np.eye(4, dtype=np.float32))
    np.save("y.npy", np.arange(4))
    (tmp_path / "deploy.yaml").write_text(MANIFEST)
    return "deploy.yaml"


@pytest.fixture
def ask(capsys):
    def ask(*words: str):
        code = main(words)
        return code, json.loads(capsys.readouterr().out)

    return ask


def test_run_answers_one_document(deploy, ask):
    code, answer = ask("run", deploy, "--json")
    assert code == 0
    assert {key: answer[key] for key in ("ok", "model", "backend", "device", "accuracy")} == {
        "ok": True,
        "model": "double",
        "backend": "mock",
        "device": "cpu",
        "accuracy": 1.0,
    }
    assert answer["outputs"]["y"] == {"dtype": "FP32", "shape": [4, 4], "data": (2 * np.eye(4)).tolist()}
    assert set(answer["timings_ns"]) == {"queue", "host_to_device", "compute", "device_to_host"}


def test_run_prints_for_a_person(deploy, capsys):
    assert main(["run", deploy]) == 0
    out = capsys.readouterr().out
    assert "accuracy 1.0000 (4 of 4 correct)" in out
    assert "double on mock, device cpu" in out


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("in.npy", lambda path, x: np.save(path, x)),
        ("in.npz", lambda path, x: np.savez(path, x=x)),
        ("in.json", lambda path, x: path.write_text(json.dumps(x.tolist()))),
    ],
)
def test_run_reads_inputs_and_writes_outputs(deploy, ask, tmp_path, name, value):
    x = np.arange(8, dtype=np.float32).reshape(2, 4)
    value(tmp_path / name, x)
    for output in ("out.npy", "out.npz", "out.json"):
        code, answer = ask("run", deploy, "--input", f"x={name}", "--output", output, "--json")
        assert code == 0
        assert answer["outputs"]["y"]["data"] == (2 * x).tolist()
        assert "accuracy" not in answer
    np.testing.assert_array_equal(np.load("out.npy"), 2 * x)
    np.testing.assert_array_equal(np.load("out.npz")["y"], 2 * x)
    assert json.loads((tmp_path / "out.json").read_text()) == {"y": (2 * x).tolist()}


@pytest.mark.parametrize(
    ("words", "code", "status", "said"),
    [
        (("--model", "doubel"), "INVALID_ARGUMENT", 2, "did you mean `double`?"),
        (("--input", "x=none.npy"), "NOT_FOUND", 2, "the file does not exist"),
        (("--input", "z=x.npy"), "INVALID_ARGUMENT", 2, "`z` is not an input"),
        (("--input", "x=deploy.yaml"), "INVALID_ARGUMENT", 2, "unknown kind of file"),
        (("--input", "x=y.npy"), "INVALID_ARGUMENT", 2, "`x` is INT64, the model takes FP32"),
        (("--output", "out.txt"), "INVALID_ARGUMENT", 2, "unknown kind of file"),
        (("--output", "none/out.npz"), "NOT_FOUND", 2, "does not exist"),
        (("backends.mock.fail_execute=RESOURCE_EXHAUSTED",), "RESOURCE_EXHAUSTED", 1, "set to fail"),
        (("backends.mock.fail_load=UNAVAILABLE",), "UNAVAILABLE", 1, "set to fail at load"),
        (("backends.mock.delay_m=1",), "INVALID_ARGUMENT", 2, "delay_m"),
        (("~models.double.sample",), "INVALID_ARGUMENT", 2, "has no sample"),
        (("nonsense",), "INVALID_ARGUMENT", 2, "`nonsense` is neither a manifest"),
    ],
)
def test_what_a_person_does_wrong_is_one_document_and_no_traceback(deploy, capsys, words, code, status, said):
    try:
        got = main(["run", deploy, *words, "--json"])
    except SystemExit as stop:
        got = stop.code
    document = json.loads(capsys.readouterr().out)
    assert document["ok"] is False
    assert document["error"]["code"] == code
    assert said in json.dumps(document, ensure_ascii=False)
    assert got == status


def test_an_engine_error_has_the_place_of_the_line_that_asked_for_it(deploy, ask, tmp_path):
    (tmp_path / "affine.mock.json").write_text("{")
    _, answer = ask("run", deploy, "--json")
    assert answer["error"]["code"] == "DATA_LOSS"
    assert answer["error"]["location"] == "deploy.yaml:2:18"


def test_validate_in_three_formats(deploy, ask, capsys):
    assert ask("validate", deploy, "--json") == (0, {"ok": True, "diagnostics": []})
    code, answer = ask("validate", deploy, "models.double.instances=0", "--json")
    assert code == 2
    (found,) = answer["diagnostics"]
    assert set(found) >= {"id", "severity", "file", "line", "column", "end_column", "path", "message", "hint", "set_by"}
    assert (found["id"], found["line"], found["column"]) == ("out-of-range", 1, 25)
    assert main(["validate", deploy, "models.double.instances=0", "--format", "github"]) == 2
    assert capsys.readouterr().out.startswith("::error ")
    assert main(["validate", deploy, "models.double.instances=0"]) == 2
    assert "override models.double.instances=0:1:25: error[out-of-range]" in capsys.readouterr().out


def test_graph_in_three_formats(deploy, ask, capsys):
    code, answer = ask("graph", deploy, "models.double.instances=2", "--json")
    assert code == 0
    assert answer["nodes"][0]["instances"] == 2
    assert main(["graph", deploy]) == 0
    assert capsys.readouterr().out == "double -> mock -> cpu  [ready]\n"
    assert main(["graph", deploy, "--format", "mermaid"]) == 0
    assert capsys.readouterr().out.startswith("flowchart LR\n")


def test_graph_with_load_says_what_the_engine_says_of_the_model(deploy, ask):
    assert ask("graph", deploy, "--json")[1]["nodes"][0]["metadata"] is None
    code, answer = ask("graph", deploy, "--load", "--json")
    assert code == 0
    assert answer["nodes"][0]["metadata"] == {}, "the mock has nothing to say, and is loaded"
    assert answer["nodes"][1]["metadata"] is None


def test_graph_with_load_of_a_model_that_does_not_load(deploy, ask, tmp_path):
    (tmp_path / "bad.mock.json").write_text("{")
    code, answer = ask("graph", deploy, "--load", f"models.double.path={tmp_path / 'bad.mock.json'}", "--json")
    assert code == 1
    assert answer["error"]["code"] == "DATA_LOSS"


def test_explain_names_file_override_and_default(deploy, ask, capsys):
    code, rows = ask("explain", deploy, "models.double.instances=2", "--json")
    assert code == 0
    by_path = {row["path"]: row for row in rows}
    assert by_path["models.double.backend"]["file"] == "deploy.yaml"
    assert (by_path["models.double.backend"]["line"], by_path["models.double.backend"]["column"]) == (2, 45)
    assert by_path["models.double.instances"]["override"] == "models.double.instances=2"
    assert by_path["models.double.warmup"]["source"] == "default"
    assert main(["explain", deploy, "models.double.backend"]) == 0
    assert "deploy.yaml:2:45" in capsys.readouterr().out
    assert main(["explain", deploy, "models.doubel"]) == 2


def test_config_prints_what_deploys_again(deploy, capsys, tmp_path, monkeypatch):
    assert main(["config", deploy, "models.double.instances=3"]) == 0
    composed = capsys.readouterr().out
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "again.yaml").write_text(composed)
    monkeypatch.chdir(elsewhere)
    assert main(["config", "again.yaml"]) == 0
    assert capsys.readouterr().out == composed


def test_backends_lists_each_kind_with_what_it_can_do(ask):
    code, rows = ask("backends", "--json")
    assert code == 0
    mock = next(row for row in rows if row["kind"] == "mock")
    assert mock["available"] is True
    assert mock["capabilities"]["devices"] == ["cpu"]
    for row in rows:
        assert row["available"] or (row["reason"] and row["install"]), row


def test_schema_writes_where_it_is_told_and_says_what(ask, tmp_path):
    code, answer = ask("schema", "--out", str(tmp_path / "out"), "--json")
    assert code == 0
    assert str(tmp_path / "out" / "backend" / "mock.schema.json") in answer["files"]
    blocked = tmp_path / "file"
    blocked.write_text("")
    assert ask("schema", "--out", str(blocked), "--json")[0] == 1


def test_a_model_without_inputs_needs_no_sample(tmp_path, monkeypatch, ask):
    monkeypatch.chdir(tmp_path)
    output = {"name": "y", "dtype": "INT64", "shape": [2], "operation": {"kind": "digest"}}
    model = {"format": "aegisrt-mock/v1", "inputs": [], "outputs": [output]}
    (tmp_path / "m.mock.json").write_text(json.dumps(model))
    (tmp_path / "d.yaml").write_text("models: {m: {path: m.mock.json, backend: mock}}\n")
    code, answer = ask("run", "d.yaml", "--json")
    assert code == 0
    assert answer["outputs"]["y"]["shape"] == [2]


@pytest.mark.parametrize(
    ("labels", "said"),
    [(np.arange(3), "3 labels, x.npy has 4 rows"), (np.arange(4)[:, None], "shape [4,1]"), (7, "shape []")],
)
def test_labels_that_fit_no_row_are_told(deploy, ask, tmp_path, labels, said):
    np.save("y.npy", labels)
    code, answer = ask("run", deploy, "--json")
    assert code == 2
    assert said in answer["error"]["message"].replace(str(tmp_path) + "/", "")


def test_a_place_is_never_broken_over_lines(deploy, tmp_path, capsys):
    folder = tmp_path / ("long" * 30)
    folder.mkdir()
    (folder / "deploy.yaml").write_text(
        MANIFEST.replace("affine", "../affine").replace(" x.npy", " ../x.npy").replace("y.npy", "../y.npy")
    )
    manifest = str(folder / "deploy.yaml")
    assert main(["explain", manifest, "models"]) == 0
    assert f"{manifest}:2:18" in capsys.readouterr().out
