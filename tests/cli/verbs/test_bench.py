"""`aegisrt bench`: every scenario on the mock, the JSON of the contract, the report, and the plot."""

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest

from aegisrt.cli.main import main
from tests.runtime.models import affine

SCENARIOS = ("single-stream", "multi-stream", "offline", "server")


@pytest.fixture
def manifest(tmp_path):
    path = tmp_path / "m.yaml"
    model = affine(tmp_path)
    path.write_text(f"models:\n  m: {{path: {model.name}, backend: mock, batching: {{max_batch_size: 8}}}}\n")
    return str(path)


def bench(capsys, *words):
    code = main(["bench", *words, "--json"])
    return code, json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_scenario_measures_the_model_and_its_bare_engine(capsys, manifest, scenario):
    rate = ["--qps", "500"] if scenario == "server" else []
    words = [manifest, "--scenario", scenario, "--seconds", "0.4", "--against", "bare", *rate]
    code, found = bench(capsys, *words)
    assert code == 0
    assert (found["scenario"], found["model"], found["backend"]) == (scenario, "m", "mock")
    for kind in (found, found["bare"]):
        assert set(kind["latency_us"]) == {"p50", "p90", "p99", "mean"}
        assert 0 < kind["latency_us"]["p50"] <= kind["latency_us"]["p90"] <= kind["latency_us"]["p99"]
        assert kind["throughput_per_s"] > 0
        assert kind["errors"] == {}
    ratio = found["latency_us"]["p50"] / found["bare"]["latency_us"]["p50"]
    assert found["ratio"]["p50"] == pytest.approx(ratio, rel=0.01)
    assert found["environment"]["cores"] >= 1


def test_server_keeps_the_rate_that_it_is_given(capsys, manifest):
    _, found = bench(capsys, manifest, "--scenario", "server", "--qps", "300", "--seconds", "1")
    assert found["qps"] == 300
    assert found["throughput_per_s"] == pytest.approx(300, rel=0.5)
    assert found["count"] == pytest.approx(300, rel=0.5)


def test_a_stall_is_seen_by_every_request_that_it_held_up(capsys, manifest):
    """Ten milliseconds a call at 200 a second: an open loop falls behind without end, a closed one would say 10 ms."""
    words = [manifest, "backends.mock.delay_ms=10", "models.m.batching=null", "--seconds", "1"]
    _, open_loop = bench(capsys, *words, "--scenario", "server", "--qps", "200")
    _, closed = bench(capsys, *words)
    assert closed["latency_us"]["p50"] < 20_000
    assert open_loop["latency_us"]["p50"] > 30_000


def test_failing_requests_are_counted_and_fail_the_verb(capsys, manifest):
    code, found = bench(capsys, manifest, "backends.mock.fail_execute=DATA_LOSS", "--seconds", "0.2")
    assert code == 1
    assert set(found["errors"]) == {"DATA_LOSS"}
    assert found["count"] == 0


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("bare", [[], ["--against", "bare"]], ids=["alone", "against"])
def test_where_every_request_fails_latencies_are_null_and_the_message_is_shown(capsys, manifest, scenario, bare):
    words = [manifest, "backends.mock.fail_execute=DATA_LOSS", "--seconds", "0.2", "--scenario", scenario, *bare]
    code, found = bench(capsys, *words)
    assert code == 1
    assert found["latency_us"] == dict.fromkeys(("p50", "p90", "p99", "mean"))
    assert (found["throughput_per_s"], found["count"]) == (0, 0)
    assert found["errors"]["DATA_LOSS"] > 0
    assert found["messages"] == {"DATA_LOSS": "the mock is set to fail"}
    if bare:
        assert set(found["ratio"].values()) == {None}


@pytest.fixture
def out_of_range(tmp_path):
    """Return a manifest whose model looks its input up among two numbers; its sample asks for the tenth."""
    from tests.backends.onnx_models import INT64, model, node, save, tensor, weight

    table = weight("table", np.ones(2, np.float32))
    lookup = model([node("Gather", "table x", "y")], [tensor("x", INT64)], [tensor("y")], [table])
    save(tmp_path, lookup, "lookup.onnx")
    np.savez(tmp_path / "tenth.npz", x=np.full(4, 9, np.int64))
    manifest = tmp_path / "lookup.yaml"
    manifest.write_text("models:\n  m: {path: lookup.onnx, backend: onnx, sample: {inputs: tenth.npz}}\n")
    return str(manifest)


@pytest.mark.engine("onnx")
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_bare_engine_that_raises_is_a_failure_and_no_traceback(capsys, out_of_range, scenario):
    words = [out_of_range, "--seconds", "0.2", "--against", "bare", "--scenario", scenario]
    code, found = bench(capsys, *words)
    assert code == 1
    assert set(found["errors"]) == {"INVALID_ARGUMENT"}
    assert set(found["bare"]["latency_us"].values()) == {None}
    assert found["bare"]["errors"]["INTERNAL"] > 0
    assert found["bare"]["messages"]["INTERNAL"].startswith("the bare engine raised InvalidArgument: ")


def test_some_requests_that_fail_leave_the_latencies_of_the_others(capsys, manifest):
    """A queue of two rejects most of eight requests at once."""
    words = [manifest, "backends.mock.delay_ms=2", "models.m.queue.max_queue_size=2", "models.m.batching=null"]
    code, found = bench(capsys, *words, "--seconds", "0.3", "--scenario", "server", "--qps", "2000")
    assert code == 1
    assert found["errors"]["RESOURCE_EXHAUSTED"] > 0
    assert found["latency_us"]["p50"] > 0


def test_the_report_and_the_plot_are_written(capsys, manifest, tmp_path):
    report, plot = tmp_path / "r.json", tmp_path / "p.svg"
    words = [manifest, "--seconds", "0.2", "--against", "bare", "--report", str(report), "--plot", str(plot)]
    code, found = bench(capsys, *words)
    assert code == 0
    assert json.loads(report.read_text()) == found
    assert [point["qps"] for point in found["sweep"]] == sorted(point["qps"] for point in found["sweep"])
    drawn = ElementTree.parse(plot).getroot()
    lines = [element for element in drawn.iter() if element.tag.endswith("polyline")]
    assert len(lines) == 4
    assert all(len(line.get("points").split()) == len(found["sweep"]) for line in lines)


def test_a_report_in_junit_xml_has_the_numbers_and_the_failures(capsys, manifest, tmp_path):
    report = tmp_path / "r.xml"
    _, found = bench(capsys, manifest, "--seconds", "0.2", "--against", "bare", "--report", str(report))
    suite = ElementTree.parse(report).getroot().find("testsuite")
    values = {item.get("name"): item.get("value") for item in suite.iter("property")}
    assert values["latency_us.p50"] == str(found["latency_us"]["p50"])
    assert values["ratio.p50"] == str(found["ratio"]["p50"])
    assert suite.find("testcase").get("name") == "single-stream"
    assert (suite.get("failures"), suite.find("testcase/failure")) == ("0", None)
    code, found = bench(
        capsys, manifest, "backends.mock.fail_execute=DATA_LOSS", "--seconds", "0.2", "--report", str(report)
    )
    assert code == 1
    failure = ElementTree.parse(report).getroot().find("testsuite/testcase/failure")
    assert failure.text == f"{found['errors']['DATA_LOSS']} DATA_LOSS: the mock is set to fail"


def test_a_rate_that_nobody_can_send_is_given_up(capsys, manifest, monkeypatch):
    monkeypatch.setattr("aegisrt.bench.open_loops._BEHIND_NS", 50_000_000)
    for bare in ([], ["--against", "bare"]):
        code, found = bench(capsys, manifest, "--scenario", "server", "--qps", "1e8", "--seconds", "0.5", *bare)
        assert (code, found["error"]["code"]) == (1, "RESOURCE_EXHAUSTED")
        assert "and 1e+08 were requested" in found["error"]["message"]
        assert ("the bare engine" in found["error"]["message"]) == bool(bare)


def test_a_rate_at_which_nothing_comes_is_said(capsys, manifest):
    code, found = bench(capsys, manifest, "--scenario", "server", "--qps", "0.001", "--seconds", "0.2")
    assert (code, found["error"]["code"]) == (1, "INVALID_ARGUMENT")
    assert "no request was due within 0.2 s" in found["error"]["message"]


def test_a_plot_of_a_model_that_fails_is_refused(capsys, manifest, tmp_path):
    plot = tmp_path / "p.svg"
    words = [manifest, "backends.mock.fail_execute=DATA_LOSS", "--seconds", "0.2", "--plot", str(plot)]
    code, found = bench(capsys, *words)
    assert (code, found["error"]["code"]) == (1, "FAILED_PRECONDITION")
    assert not plot.exists()


def test_a_model_that_fails_is_shown_with_what_it_says_and_no_latencies(capsys, manifest):
    assert main(["bench", manifest, "backends.mock.fail_execute=DATA_LOSS", "--seconds", "0.2"]) == 1
    *_, row, said = capsys.readouterr().out.splitlines()
    assert row.split()[:5] == ["aegisrt", "-", "-", "-", "-"]
    assert said.endswith("requests failed with DATA_LOSS: the mock is set to fail")


def test_one_of_several_models_is_named(capsys, manifest, tmp_path):
    two = tmp_path / "two.yaml"
    two.write_text("models:\n" + "".join(f"  {name}: {{path: affine.mock.json, backend: mock}}\n" for name in "ab"))
    code, found = bench(capsys, str(two), "--model", "b", "--seconds", "0.2")
    assert (code, found["model"]) == (0, "b")
    with pytest.raises(SystemExit):
        main(["bench", str(two)])
    assert "name the model: --model a|b" in capsys.readouterr().err


def test_text_is_a_table_with_the_ratio(capsys, manifest):
    assert main(["bench", manifest, "--seconds", "0.2", "--against", "bare"]) == 0
    out = capsys.readouterr().out
    assert "single-stream, model m on mock" in out
    assert [line.split()[0] for line in out.splitlines()[-3:]] == ["aegisrt", "bare", "ratio"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--qps", "5"], "--qps is for --scenario server"),
        (["--qps", "-1", "--scenario", "server"], "--qps"),
        (["--seconds", "nan"], "--seconds"),
        (["--qps", "ten", "--scenario", "server"], "`ten` is not a number above 0"),
        (["--rows", "0"], "`0` is not a whole number above 0"),
        (["--rows", "1.5"], "`1.5` is not a whole number above 0"),
        (["--report", "x.txt"], "name a .json or a .xml file"),
        (["--model", "n"], "`n` is not a model of the manifest"),
        (["--plot", "missing/x.svg"], "does not exist"),
        (["--scenario", "streams"], "--scenario"),
    ],
)
def test_wrong_usage_is_said_before_anything_loads(capsys, manifest, words, says):
    with pytest.raises(SystemExit) as raised:
        main(["bench", manifest, *words])
    assert raised.value.code == 2
    assert says in capsys.readouterr().err


def test_rows_that_the_model_cannot_have_are_refused(capsys, manifest):
    code, found = bench(capsys, manifest, "--rows", "9", "--seconds", "0.2")
    assert code == 1
    assert set(found["errors"]) == {"INVALID_ARGUMENT"}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full, which is always full, is Linux's")
@pytest.mark.parametrize(("option", "name"), [("--report", "r.json"), ("--report", "r.xml"), ("--plot", "p.svg")])
def test_a_report_on_a_full_disk_is_an_error(capsys, manifest, tmp_path, option, name):
    (tmp_path / name).symlink_to("/dev/full")
    words = ["bench", str(manifest), "--seconds", "0.05", option, str(tmp_path / name), "--json"]
    assert main(words) == 1
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["code"] == "RESOURCE_EXHAUSTED"
    assert f"{tmp_path / name} cannot be written" in error["message"]


@pytest.mark.parametrize("option", ["--report=out.json", "--report=out.xml", "--plot=out.svg"])
def test_a_file_that_cannot_be_written_is_an_error_and_not_a_traceback(option, manifest, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    name = option.partition("=")[2]
    (tmp_path / name).mkdir()
    assert main(["bench", manifest, "--seconds", "0.05", option, "--json"]) == 1
    error = json.loads(capsys.readouterr().out)["error"]
    assert (error["code"], error["message"]) == ("INVALID_ARGUMENT", f"{name} cannot be written: Is a directory")
