"""`aegisrt bench`: every scenario on the mock, and the JSON of the contract."""

import os
import re
import sys

import numpy as np
import pytest

from aegisrt.cli.main import main
from tests.cli.verbs.benching import bench, write_manifest
from tests.terminal import shown

SCENARIOS = ("single-stream", "multi-stream", "offline", "server")


@pytest.fixture
def manifest(tmp_path):
    return write_manifest(tmp_path)


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
        (["--rows", "2", "--shape", "x=2x4"], "the first size of --shape is the number of rows"),
        (["--qps", "5"], "--qps is for --scenario server"),
        (["--qps", "-1", "--scenario", "server"], "--qps"),
        (["--seconds", "nan"], "--seconds"),
        (["--qps", "ten", "--scenario", "server"], "`ten` is not a number above 0"),
        (["--rows", "0"], "`0` is not a whole number above 0"),
        (["--rows", "1.5"], "`1.5` is not a whole number above 0"),
        (["--report", "x.txt"], "name a .json or a .xml file"),
        (["--model", "n"], "`n` is not a model of the manifest"),
        (["--plot", "missing/x.svg"], "does not exist"),
        (["--plot", "x.pdf"], "name a .svg or a .png file"),
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


def test_progress_is_in_seconds(manifest):
    program = [sys.executable, "-m", "aegisrt", "bench", manifest, "--seconds", "1.5", "--scenario", "offline"]
    text = shown(program, {**os.environ, "TERM": "xterm"})
    assert re.search(r"[012] of 2 s", text), text
    assert "offline" in text
