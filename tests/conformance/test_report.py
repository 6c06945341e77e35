import json
from xml.etree import ElementTree

import jsonschema
import pytest

from aegisrt.conformance import CheckResult, Report, Status, run
from aegisrt.conformance.report import Counts, Environment
from aegisrt.conformance.schemas import conformance_schemas
from aegisrt.core.resources import schemas_dir
from aegisrt.core.result import ResultError

ENVIRONMENT = Environment(
    aegisrt="0.1.0", python="3.11.0", numpy="2.0.0", platform="Linux", cpu="a cpu", cores=2,
    engines={"mock": None, "onnx": "1.20.0"}, devices={"cpu": "a cpu"},
)  # fmt: skip


def result(check, status, reason=None, backend="mock"):
    return CheckResult(
        backend=backend, device="cpu", check=check, status=Status(status), reason=reason, duration_ns=1_500_000
    )


@pytest.fixture
def mixed() -> Report:
    results = [
        result("lifecycle.load-valid-model", "passed"),
        result("inputs.missing", "failed", "wanted <A> & got \x1b[31mB\0"),
        result("dtypes.bf16", "skipped", "declares no BF16"),
        result("dtypes.fp32", "not_installed", "run: pip install x", "onnx"),
        result("numerics.nan", "xfailed", "known", "onnx"),
    ]
    return Report.of(ENVIRONMENT, results)


def test_counts_and_exit_code(mixed):
    assert mixed.counts == Counts(passed=1, failed=1, skipped=1, not_installed=1, xfailed=1)
    assert mixed.exit_code == 1
    assert Report.of(ENVIRONMENT, [r for r in mixed.results if r.status != "failed"]).exit_code == 0


def test_json_has_the_form_of_the_contract(mixed):
    value = mixed.to_json()
    assert set(value) == {"environment", "results", "counts"}
    assert value["results"][1] == {
        "backend": "mock", "device": "cpu", "check": "inputs.missing", "status": "failed",
        "reason": "wanted <A> & got \x1b[31mB\0", "duration_ns": 1_500_000,
    }  # fmt: skip
    assert Report.model_validate_json(json.dumps(value)) == mixed


def test_json_of_a_real_run_keeps_its_schema():
    schema = json.loads((schemas_dir() / "conformance-report.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    value = run("mock", checks=["dtypes.*"]).to_json()
    jsonschema.validate(value, schema)
    for damage in ({"counts": None}, {"results": [{}]}, {"more": 1}):
        assert list(jsonschema.Draft202012Validator(schema).iter_errors({**value, **damage}))


@pytest.mark.parametrize("name", sorted(conformance_schemas()))
def test_the_committed_schemas_are_what_the_code_makes(name):
    assert json.loads((schemas_dir() / name).read_text()) == conformance_schemas()[name], "run: aegisrt schema"


def test_junit_has_a_case_for_each_result(mixed, tmp_path):
    mixed.write(tmp_path / "report.xml")
    root = ElementTree.parse(tmp_path / "report.xml").getroot()
    assert root.attrib["tests"] == "5"
    assert (root.attrib["failures"], root.attrib["skipped"], root.attrib["errors"]) == ("1", "3", "0")
    suites = root.findall("testsuite")
    assert [suite.attrib["name"] for suite in suites] == ["mock on cpu", "onnx on cpu"]
    failed = suites[0].findall("testcase")[1]
    assert failed.attrib["classname"] == "conformance.mock.cpu.inputs"
    assert failed.attrib["name"] == "missing"
    assert float(failed.attrib["time"]) == 0.0015
    assert failed.find("failure").attrib["message"] == "wanted <A> & got \ufffd[31mB\ufffd"
    skips = [
        case.find("skipped").attrib["message"] for case in root.iter("testcase") if case.find("skipped") is not None
    ]
    assert skips == ["declares no BF16", "not installed: run: pip install x", "expected failure: known"]
    properties = {item.attrib["name"]: item.attrib["value"] for item in suites[1].iter("property")}
    assert properties["engine"] == "1.20.0"
    assert properties["cpu"] == "a cpu"


def test_a_report_is_written_by_its_ending(mixed, tmp_path):
    mixed.write(tmp_path / "report.json")
    assert json.loads((tmp_path / "report.json").read_text()) == mixed.to_json()
    with pytest.raises(ResultError, match=r"neither \.json nor \.xml"):
        mixed.write(tmp_path / "report.txt")


def test_reports_merge(mixed):
    other = Report.of(ENVIRONMENT.model_copy(update={"engines": {"tvm": "0.27"}}), [result("dtypes.fp64", "passed")])
    both = Report.merged([mixed, other])
    assert len(both.results) == 6
    assert both.counts.passed == 2
    assert both.environment.engines == {"mock": None, "onnx": "1.20.0", "tvm": "0.27"}
