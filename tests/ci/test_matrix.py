"""`aegisrt ci-matrix`: cell by cell, by event, swept, and wrong."""

import json
import tomllib

import jsonschema
import pytest
import yaml

from aegisrt.backends.registry import backend_class
from aegisrt.ci.matrix import EVENTS, make_matrix
from aegisrt.ci.schemas import ci_schemas
from aegisrt.cli.main import main
from aegisrt.core.resources import configs_dir, schemas_dir
from tests.docs.pages import ROOT

HOSTED = {"runs_on": ["ubuntu-24.04"], "when": "always", "device": "cpu", "demo": "run", "conformance": "ci"}
GPU = {"when": "default-branch-push", "demo": "run", "conformance": "ci", "target": "test-cell", "python": "3.12"}
ON_GPU = ["+devices.gpu.kind=cuda"]
UNIT = {**HOSTED, "cell": "unit-tests", "extras": ["test"], "backend": "mock", "target": "test-unit"}
ALWAYS = [
    {
        **HOSTED, "name": "cpu-onnx", "cell": "cpu-onnx", "python": "3.12", "extras": ["onnx", "images", "test"],
        "backend": "onnx", "overrides": ["models.digits.backend=onnx"], "target": "test-cell", "timeout_minutes": 30,
    },
    {
        **HOSTED, "name": "cpu-tensorrt-build", "cell": "cpu-tensorrt-build", "python": "3.12", "backend": "tensorrt",
        "extras": ["tensorrt-rtx", "images", "test"], "conformance": None, "demo": "build", "target": "test-cell",
        "overrides": [
            *ON_GPU, "backends.trt.device=gpu", "backends.trt.distribution=tensorrt_rtx",
            'backends.trt.compute_capabilities=["8.9","12.0"]', "models.digits.backend=trt",
        ],
        "timeout_minutes": 60,
    },
    {
        **HOSTED, "name": "cpu-tvm", "cell": "cpu-tvm", "python": "3.12", "extras": ["tvm", "images", "test"],
        "backend": "tvm", "overrides": ["models.digits.backend=tvm"], "target": "test-cell", "timeout_minutes": 60,
    },
    *(
        {
            **UNIT, "name": f"unit-tests ({python})", "python": python,
            "overrides": ["models.digits.backend=mock"], "timeout_minutes": 30,
        }
        for python in ("3.11", "3.12", "3.13", "3.14")
    ),
]  # fmt: skip
AFTER_A_PUSH = [
    {
        **GPU, "name": "integration-onnx", "cell": "integration-onnx", "runs_on": ["self-hosted", "gpu"],
        "extras": ["onnx-gpu", "cuda", "images", "test"], "backend": "onnx", "device": "cuda",
        "overrides": [*ON_GPU, "backends.onnx.device=gpu", "models.digits.backend=onnx"], "timeout_minutes": 60,
    },
    {
        **GPU, "name": "integration-trt", "cell": "integration-trt", "runs_on": ["self-hosted", "gpu", "tensorrt"],
        "extras": ["tensorrt", "cuda", "images", "test"], "backend": "tensorrt", "device": "cuda",
        "overrides": [*ON_GPU, "backends.trt.device=gpu", "models.digits.backend=trt"], "timeout_minutes": 120,
    },
    {
        **GPU, "name": "integration-tvm", "cell": "integration-tvm", "runs_on": ["self-hosted", "gpu"],
        "extras": ["tvm", "cuda", "images", "test"], "backend": "tvm", "device": "cuda",
        "overrides": [*ON_GPU, "backends.tvm.device=gpu", "models.digits.backend=tvm"], "timeout_minutes": 120,
    },
]  # fmt: skip
TO_MAIN = ("--event", "push", "--ref", "refs/heads/main", "--default-branch", "main")


def asked(capsys, *words):
    """Return the exit code, stdout and stderr."""
    try:
        code = main(["ci-matrix", *words])
    except SystemExit as stop:
        code = stop.code
    out, err = capsys.readouterr()
    return code, out, err


def cells(capsys, *words):
    code, out, err = asked(capsys, *words)
    assert (code, err) == (0, "")
    assert out.count("\n") == 1, "one line, as $GITHUB_OUTPUT takes it"
    matrix = json.loads(out)
    assert list(matrix) == ["include"]
    return matrix["include"]


def names(capsys, *words):
    return [cell["name"] for cell in cells(capsys, *words)]


@pytest.mark.parametrize("words", [(), ("--event", "push"), TO_MAIN, ("--json",), ("--format", "github")])
def test_every_cell(capsys, words):
    by_name = sorted([*ALWAYS, *AFTER_A_PUSH], key=lambda cell: cell["name"])
    assert cells(capsys, *words) == by_name


@pytest.mark.parametrize(
    "words",
    [
        ("--event", "pull_request"),
        ("--event", "schedule", "--ref", "refs/heads/main", "--default-branch", ""),
        ("--event", "workflow_dispatch", "--ref", "refs/heads/main", "--default-branch", "main"),
        ("--event", "push", "--ref", "refs/heads/topic", "--default-branch", "main"),
        ("--event", "push", "--ref", "refs/tags/main", "--default-branch", "main"),
        ("--event", "push", "--ref", "", "--default-branch", "main"),
        ("--runner", "hosted"),
    ],
)
def test_cells_without_those_of_the_gpu(capsys, words):
    assert cells(capsys, *words) == ALWAYS


def test_the_cells_of_self_hosted_runners(capsys):
    assert cells(capsys, *TO_MAIN, "--runner", "self-hosted") == AFTER_A_PUSH
    assert cells(capsys, "--event", "pull_request", "--runner", "self-hosted") == []


def test_the_table_tells_why_a_cell_does_not_run(capsys):
    code, out, _ = asked(capsys, "--format", "text", "--event", "pull_request")
    rows = {line.split("   ")[0]: line for line in out.splitlines()}
    assert code == 0
    assert "no: only on a push to the default branch, and this is a pull_request" in rows["integration-trt"]
    assert rows["cpu-onnx"].split()[-1] == "yes"
    assert set(rows) >= {cell["name"] for cell in (*ALWAYS, *AFTER_A_PUSH)}


def test_a_sweep_is_a_cell_for_each_combination(capsys):
    swept = cells(capsys, "-m", "ci=cpu-onnx,cpu-tvm", "ci.python=3.11,3.13", "backends.onnx.intra_op_threads=2")
    assert [(cell["name"], cell["python"]) for cell in swept] == [
        ("cpu-onnx (ci.python=3.11)", "3.11"), ("cpu-onnx (ci.python=3.13)", "3.13"),
        ("cpu-tvm (ci.python=3.11)", "3.11"), ("cpu-tvm (ci.python=3.13)", "3.13"),
    ]  # fmt: skip
    assert {cell["overrides"][-1] for cell in swept} == {"backends.onnx.intra_op_threads=2"}


def test_a_sweep_goes_over_what_users_deploy_with(capsys):
    swept = cells(capsys, "-m", "ci=integration-trt", "backends.trt.precision=fp32,fp16", "env=dev,prod")
    own = AFTER_A_PUSH[1]["overrides"]
    assert [cell["overrides"] for cell in swept] == [
        [*own, f"backends.trt.precision={precision}", f"env={env}"]
        for precision in ("fp32", "fp16") for env in ("dev", "prod")
    ]  # fmt: skip
    assert swept[0]["name"] == "integration-trt (backends.trt.precision=fp32, env=dev)"
    assert len({cell["name"] for cell in swept}) == 4


def test_an_override_of_a_field_changes_every_cell(capsys):
    changed = cells(capsys, "ci.timeout_minutes=7", 'ci.python=["3.12"]')
    assert {(cell["timeout_minutes"], cell["python"]) for cell in changed} == {(7, "3.12")}
    assert names(capsys, "ci=unit-tests", "ci.python=3.13") == ["unit-tests"]


def test_a_file_of_ones_own_is_a_cell(capsys, tmp_path):
    (tmp_path / "ci").mkdir()
    (tmp_path / "ci" / "night.yaml").write_text("defaults: [cpu-onnx]\nconformance: load\n")
    (tmp_path / "conformance").mkdir()
    there = ("--config-dir", str(tmp_path))
    assert [cell for cell in cells(capsys, *there) if cell["cell"] == "night"] == [
        {**ALWAYS[0], "name": "night", "cell": "night", "conformance": "load"}
    ]
    (tmp_path / "conformance" / "ours.yaml").write_text("checks: ['lifecycle.*']\n")
    assert cells(capsys, *there, "ci=night", "ci.conformance=ours")[0]["conformance"] == "ours"


GOOD = {
    "runs_on": "[ubuntu-24.04]", "when": "always", "python": '"3.12"', "extras": "[onnx, test]", "backend": "onnx",
    "conformance": "ci", "target": "test-cell",
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "line", "column", "id_", "said"),
    [
        ({"backend": "onx"}, 5, 10, "unknown-kind", "did you mean `onnx`?"),
        ({"backend": "trt"}, 5, 10, "unknown-kind", "did you mean `tensorrt`?"),
        ({"backend": "tensorrt"}, 5, 10, "unsupported-device", "write `conformance: null` and `demo: build`"),
        ({"extras": "[test, onxx]"}, 4, 16, "unknown-extra", "did you mean `onnx`?"),
        ({"conformance": "quik"}, 6, 14, "unknown-option", "did you mean `quick`?"),
        ({"python": '"3.10"'}, 3, 9, "bad-value", "allowed are `3.11`, `3.12`, `3.13`, `3.14`"),
        ({"python": '["3.11", "3.11"]'}, 3, 1, "bad-value", "`3.11` is repeated"),
        ({"extras": "[test, test]"}, 4, 1, "bad-value", "`test` is repeated"),
        ({"when": "sometimes"}, 2, 7, "bad-value", "allowed are `always`, `default-branch-push`"),
        ({"runs_on": "[self-hosted, gpu]"}, 2, 7, "ungated-runner", "write `when: default-branch-push`"),
        ({"runs_on": "[gpu]"}, 2, 7, "ungated-runner", "name one hosted runner"),
        ({"runs_on": "[ubuntu-24.04, gpu]"}, 2, 7, "ungated-runner", "name one hosted runner"),
        ({"runs_on": "[ubuntu-24.04-gpu]"}, 2, 7, "ungated-runner", "name one hosted runner"),
        ({"runs_on": "[]"}, 1, 1, "bad-value", "`runs_on`: it is empty"),
        ({"runs_on": "['${{ github.actor }}']"}, 1, 11, "interpolation", "`${{ github.actor }}` is not a valid"),
        ({"runs_on": "['a b']"}, 1, 11, "bad-value", "does not have the form"),
        ({"target": "test; rm"}, 7, 9, "bad-value", "does not have the form"),
        ({"conformance": "null"}, 6, 14, "unproven-engine", "name a profile here"),
        ({"overrides": "[models.digits.backend=tvmm]"}, 8, 13, "dangling-reference", "did you mean `tvm`?"),
        ({"overrides": "[backends.onnx.threads=2]"}, 8, 13, "unknown-field", "`threads` is not a field of backend"),
        ({"overrides": "['models.digits.warmup=1 ']"}, 8, 13, "bad-value", "does not have the form"),
        ({"overrides": "[conformance=quick]"}, 8, 13, "unknown-group", "this command does not read `conformance`"),
        ({"device": "tpu"}, 8, 9, "bad-value", "devices are `cpu`, `cuda`, `cuda:1`"),
        ({"timeout": "3"}, 8, 1, "unknown-field", "did you mean `timeout_minutes`?"),
        ({"when": "[always"}, 3, 7, "yaml-syntax", ""),
    ],
)  # fmt: skip
def test_a_wrong_cell_is_told_with_its_line_and_a_remedy(capsys, tmp_path, change, line, column, id_, said):
    file = tmp_path / "ci" / "mine.yaml"
    file.parent.mkdir()
    file.write_text("".join(f"{key}: {value}\n" for key, value in {**GOOD, **change}.items()))
    code, out, _ = asked(capsys, "--config-dir", str(tmp_path), "--event", "pull_request", "--json")
    assert code == 2
    (found,) = json.loads(out)["error"]["diagnostics"]
    assert (found["id"], found["file"], found["line"], found["column"]) == (id_, str(file), line, column)
    assert said in f"{found['message']} {found['hint']}"


def test_a_file_that_would_be_passed_over_is_told(capsys, tmp_path):
    file = tmp_path / "ci" / "night.yml"
    file.parent.mkdir()
    file.write_text("defaults: [cpu-onnx]\n")
    code, _, err = asked(capsys, "--config-dir", str(tmp_path))
    assert code == 2
    assert f"{file}:1:1: error[ignored-file]" in err
    assert "rename it to `night.yaml`" in err


def test_a_cell_without_a_field_is_told(capsys, tmp_path):
    file = tmp_path / "ci" / "mine.yaml"
    file.parent.mkdir()
    file.write_text("runs_on: [ubuntu-24.04]\n")
    code, _, err = asked(capsys, "--config-dir", str(tmp_path))
    assert code == 2
    for field in ("when", "python", "backend", "conformance", "target"):
        assert f"a cell of the CI matrix needs `{field}`" in err
    assert "5 errors" in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["ci=cpu-onx"], "did you mean `cpu-onnx`?"),
        (["ci.pyton=3.12"], "did you mean `python`?"),
        (["-m", "python=3.11,3.12"], "did you mean `ci.python`?"),
        (["ci=cpu-onnx,cpu-tvm"], "several values"),
        (["ci=[cpu-onnx,cpu-tvm]"], "`-m ci=NAME,NAME` for several"),
        (["~ci"], "a cell is chosen by its name"),
        (["-m", "ci=cpu-onnx", "ci.python=3.12,3.12"], "does the same as `cpu-onnx (ci.python=3.12)`"),
        (["-m", "ci.python=((" ], "cannot be read"),
        (["backends.trt.precison=fp16"], "did you mean `precision`?"),
        (["conformance.cycles=3"], "`conformance` is neither a key of the manifest nor a group"),
        (["models.digits.path='a b'"], "contains blanks"),
        (["deploy.yaml"], "this verb takes no manifest"),
        (["nonsense"], "`nonsense` is neither a manifest"),
        (["--event", "pull"], "invalid choice: 'pull'"),
        (["--ref", "refs/heads/main"], "--ref and --default-branch need --event"),
        (["--event", "push", "--ref", "refs/heads/main"], "--ref needs --default-branch NAME"),
        (["--event", "push", "--ref", "refs/heads/main", "--default-branch", ""], "--ref needs --default-branch"),
        (["--config-dir", "none"], "the folder `none` does not exist"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("json_", [False, True])
def test_a_mistake_is_exit_code_2(capsys, words, said, json_):
    code, out, err = asked(capsys, *words, *(["--json"] if json_ else []))
    assert code == 2
    if json_:
        assert (json.loads(out)["ok"], err) == (False, "")
        assert said in json.dumps(json.loads(out), ensure_ascii=False)
    else:
        assert out == ""
        assert said in err
        assert "Traceback" not in err


def test_the_versions_of_python_are_those_of_the_package(capsys):
    said = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["classifiers"]
    prefix = "Programming Language :: Python :: "
    supported = [text.removeprefix(prefix) for text in said if text.startswith(prefix)]
    assert [cell["python"] for cell in cells(capsys, "ci=unit-tests")] == supported
    offered = ci_schemas()["ci.schema.json"]["properties"]["python"]["anyOf"][0]["enum"]
    assert offered == supported


def test_cells_run_where_their_backend_does():
    for entry in make_matrix().unwrap():
        options = entry.cell.options
        can = backend_class(options.backend).unwrap().capabilities.devices
        assert options.is_hosted or options.device == ("cuda" if "cuda" in can else "cpu"), (
            f"{entry.name} has a runner with a GPU: `device: cuda`"
        )
        assert "gpu" in options.runs_on or options.is_hosted


def test_an_event_is_one_that_the_workflow_has():
    file = configs_dir().parent / ".github" / "workflows" / "ci.yml"
    if not file.exists():
        pytest.skip("the workflow is no part of this copy of the project")
    said = yaml.load(file.read_text(), yaml.BaseLoader)
    assert sorted(said["on"]) == sorted(EVENTS)


def test_the_committed_schema_is_what_the_code_makes():
    for name, schema in ci_schemas().items():
        assert json.loads((schemas_dir() / name).read_text()) == schema, "write it again: make schemas"
        jsonschema.Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize(
    ("change", "valid"),
    [
        ({}, True),
        ({"defaults": ["cpu-onnx"]}, True),
        ({"python": ["3.11", "3.12"]}, True),
        ({"python": 3.12}, False),
        ({"when": None}, False),
        ({"extra": []}, False),
        ({"overrides": ["a b"]}, False),
    ],
)
def test_the_schema_is_for_editors(change, valid):
    cell = {**{key: yaml.safe_load(value) for key, value in GOOD.items()}, **change}
    assert jsonschema.Draft202012Validator(ci_schemas()["ci.schema.json"]).is_valid(cell) is valid
    without = {"when": "always"}
    assert not jsonschema.Draft202012Validator(ci_schemas()["ci.schema.json"]).is_valid(without)
