import json
from xml.etree import ElementTree

import jsonschema
import pytest

from aegisrt.cli.main import main
from aegisrt.conformance.catalogue import all_checks
from aegisrt.core.resources import schemas_dir


def conformance(capsys, *words):
    try:
        code = main(["conformance", *words])
    except SystemExit as stop:
        code = stop.code
    out, err = capsys.readouterr()
    return code, out, err


def test_a_green_run(capsys):
    code, out, _ = conformance(capsys, "--backend", "mock", "--check", "dtypes.*")
    assert code == 0
    assert "mock on cpu" in out
    assert "skipped: declares no BF16 (dtypes.bf16)" in out
    assert "13 passed, 1 skipped" in out


def test_a_red_run_says_how_to_mend_it(capsys):
    words = ("--backend", "mock", "--check", "lifecycle.load-valid-model", "conformance.options={fail_load: INTERNAL}")
    code, out, _ = conformance(capsys, *words)
    assert code == 1
    assert "FAILED lifecycle.load-valid-model" in out
    assert "got: load(affine.mock.json): wanted Ok, got INTERNAL" in out
    assert "fix: Run `backend.load(path)`" in out


def test_json_is_one_document_of_its_schema(capsys):
    code, out, _ = conformance(capsys, "--json", "conformance.backend=mock", "conformance.checks=[numerics.*]")
    assert code == 0
    schema = json.loads((schemas_dir() / "conformance-report.schema.json").read_text())
    value = json.loads(out)
    jsonschema.validate(value, schema)
    assert value["counts"]["passed"] == 9


def test_a_sweep_runs_every_combination(capsys):
    words = ("-m", "conformance.backend=mock", "conformance.device=cpu,cuda", "--check", "dtypes.fp32", "--json")
    code, out, _ = conformance(capsys, *words)
    assert code == 0
    results = [(one["backend"], one["device"], one["status"]) for one in json.loads(out)["results"]]
    assert results == [("mock", "cpu", "passed"), ("mock", "cuda", "skipped")]


def test_reports_are_written(capsys, tmp_path):
    files = [tmp_path / "report.json", tmp_path / "report.xml"]
    words = [word for file in files for word in ("--report", str(file))]
    code, _, _ = conformance(capsys, "--backend", "mock", "--check", "dtypes.fp32", *words)
    assert code == 0
    assert json.loads(files[0].read_text())["counts"]["passed"] == 1
    assert ElementTree.parse(files[1]).getroot().attrib["tests"] == "1"


def test_list_runs_nothing_and_tells_everything(capsys):
    code, out, _ = conformance(capsys, "--list", "--json")
    assert code == 0
    listed = {one["id"]: one for one in json.loads(out)}
    assert list(listed) == list(all_checks())
    assert listed["shapes.batch"]["needs"] == ["dynamic_shapes=True"]
    assert listed["model-files.truncated"]["isolated"] is True
    code, out, _ = conformance(capsys, "--list", "--check", "dtypes.fp*")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines() if line.startswith("dtypes")] == [
        "dtypes.fp16", "dtypes.fp32", "dtypes.fp64",
    ]  # fmt: skip


def test_without_a_backend_every_known_kind_is_judged(capsys):
    from aegisrt.backends.registry import entries

    _, out, _ = conformance(capsys, "--check", "lifecycle.load-valid-model", "--json")
    assert {one["backend"] for one in json.loads(out)["results"]} == set(entries().unwrap())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--backend", "mok"], "`mok` is not a backend kind"),
        (["--backend", "mock", "--check", "nothing.*"], "no check matches `nothing.*`"),
        (["--backend", "mock", "--device", "tpu"], "`tpu` is not a device"),
        (["--backend", "mock", "conformance.cyles=3"], "`cyles` is not a field of"),
        (["--backend", "mock", "conformance.options={delay: 3}"], "delay"),
        (["--backend", "mock", "--report", "report.txt"], "does not end in .json or .xml"),
        (["--backend", "mock", "--report", "none/report.xml"], "the folder of none/report.xml does not exist"),
        (["--backend", "mock", "conformance.device=cpu,cuda"], "several values"),
        (["-m", "conformance.device=(("], "cannot be read"),
        (["deploy.yaml"], "this verb takes no manifest"),
        (["--list", "--check", "nothing.*"], "no check matches `nothing.*`"),
    ],
)
def test_a_mistake_is_exit_code_2(capsys, words, message):
    code, out, err = conformance(capsys, *words)
    assert code == 2
    assert message in out + err
    assert "Traceback" not in err


def test_a_missing_engine_fails_only_where_it_is_required(capsys, monkeypatch):
    from aegisrt.backends.base.backend import Availability
    from aegisrt.backends.mock import MockBackend

    absent = classmethod(lambda cls, **_: Availability(False, None, "`engine` is not installed", "pip install engine"))
    monkeypatch.setattr(MockBackend, "availability", absent)
    code, out, _ = conformance(capsys, "--backend", "mock", "--check", "dtypes.fp32")
    assert code == 0
    assert "not installed: `engine` is not installed; run: pip install engine (dtypes.fp32)" in out
    assert "0 passed" not in out
    assert "1 not installed" in out
    code, _, err = conformance(capsys, "--backend", "mock", "--check", "dtypes.fp32", "conformance=ci")
    assert code == 1
    assert err.endswith("not run: mock on cpu: `engine` is not installed; run: pip install engine\n")


def test_a_run_in_which_no_check_applies_fails_where_the_engine_is_required(capsys):
    words = ("--backend", "mock", "--device", "cuda", "--check", "dtypes.*")
    assert conformance(capsys, *words)[0] == 0
    code, _, err = conformance(capsys, *words, "conformance.require_installed=true")
    assert (code, err) == (1, "aegisrt conformance: not run: mock on cuda: declares devices=cpu, not cuda\n")
    some = ("-m", "conformance.device=cpu,cuda", *words[:2], *words[4:], "conformance.require_installed=true")
    assert conformance(capsys, *some)[0] == 1, "each cell of a sweep is required"
