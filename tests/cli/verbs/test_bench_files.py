"""The report and the plot of `aegisrt bench`: tried before the load, written after the table."""

import importlib.metadata
import importlib.util
import json
import re
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from aegisrt.cli.main import main
from tests.cli.verbs.benching import bench, write_manifest

SVG = "{http://www.w3.org/2000/svg}"
needs_matplotlib = pytest.mark.skipif(
    importlib.util.find_spec("matplotlib") is None, reason="matplotlib is not installed: the extra `plot`"
)


def plot_case(*values):
    return pytest.param(*values, marks=needs_matplotlib)


FULL = [("--report", "r.json"), ("--report", "r.xml"), plot_case("--plot", "p.svg")]


@pytest.fixture
def manifest(tmp_path):
    return write_manifest(tmp_path)


@needs_matplotlib
def test_the_report_and_the_plot_are_written(capsys, manifest, tmp_path):
    report, plot = tmp_path / "r.json", tmp_path / "p.svg"
    words = [manifest, "--seconds", "0.2", "--against", "bare", "--report", str(report), "--plot", str(plot)]
    code, found = bench(capsys, *words)
    assert code == 0
    assert json.loads(report.read_text()) == found
    assert [point["qps"] for point in found["sweep"]] == sorted(point["qps"] for point in found["sweep"])
    assert all(point["bare"]["count"] > 0 for point in found["sweep"])
    texts = [element.text.strip() for element in ElementTree.parse(plot).iter(f"{SVG}text")]
    assert {"aegisrt p50", "aegisrt p99", "bare p50", "bare p99"} <= set(texts)
    assert "load (requests per second)" in texts
    assert any(text in texts for text in ("latency (µs)", "latency (ms)", "latency (s)"))
    assert "m on mock: latency against load" in texts
    below = " ".join(texts)
    for fact in ("x FP32[1,4], zeros", "mock on cpu", found["environment"]["processor"], found["environment"]["date"]):
        assert fact in below, fact
    ticks = [float(text) for text in texts if re.fullmatch(r"[\d.]+", text)]
    assert len(ticks) >= 4
    assert all(f"{tick:e}"[0] in "0125" or tick % 50 == 0 for tick in ticks), "round numbers"


@needs_matplotlib
def test_a_plot_can_be_a_png(capsys, manifest, tmp_path):
    plot = tmp_path / "p.png"
    code, _ = bench(capsys, manifest, "--seconds", "0.1", "--plot", str(plot))
    assert (code, plot.read_bytes()[:4]) == (0, b"\x89PNG")


def test_without_matplotlib_a_plot_is_refused_before_anything_loads(capsys, manifest, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setattr("aegisrt.deployment.run", lambda _: pytest.fail("it loads"))
    code, found = bench(capsys, manifest, "--plot", str(tmp_path / "p.svg"))
    assert (code, found["error"]["code"]) == (2, "UNAVAILABLE")
    assert "[plot]'" in found["error"]["hint"]


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


@needs_matplotlib
def test_a_plot_of_a_model_that_fails_is_refused(capsys, manifest, tmp_path):
    plot = tmp_path / "p.svg"
    words = [manifest, "backends.mock.fail_execute=DATA_LOSS", "--seconds", "0.2", "--plot", str(plot)]
    code, found = bench(capsys, *words)
    assert (code, found["error"]["code"]) == (1, "FAILED_PRECONDITION")
    assert not plot.exists()
    assert found["errors"]["DATA_LOSS"] > 0, "what was measured is not lost"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full, which is always full, is Linux's")
@pytest.mark.parametrize(("option", "name"), FULL)
def test_a_report_on_a_full_disk_is_an_error(capsys, manifest, tmp_path, option, name):
    (tmp_path / name).symlink_to("/dev/full")
    words = ["bench", str(manifest), "--seconds", "0.05", option, str(tmp_path / name)]
    assert main([*words, "--json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert document["error"]["code"] == "RESOURCE_EXHAUSTED"
    assert f"{tmp_path / name} cannot be written" in document["error"]["message"]
    assert document["count"] > 0, "what was measured is not lost"
    assert main(words) == 1
    shown = capsys.readouterr()
    assert "single-stream, model m on mock" in shown.out
    assert f"{tmp_path / name} cannot be written" in shown.err


@pytest.mark.parametrize("option", ["--report=out.json", "--report=out.xml", plot_case("--plot=out.svg")])
def test_a_file_that_cannot_be_written_is_found_before_anything_loads(option, manifest, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("aegisrt.deployment.run", lambda _: pytest.fail("it loads"))
    name = option.partition("=")[2]
    (tmp_path / name).mkdir()
    assert main(["bench", manifest, "--seconds", "0.05", option, "--json"]) == 2
    error = json.loads(capsys.readouterr().out)["error"]
    assert (error["code"], error["message"]) == ("INVALID_ARGUMENT", f"{name} cannot be written: Is a directory")


def test_a_report_that_is_tried_changes_no_file_until_it_is_written(capsys, manifest, tmp_path):
    old, fresh = tmp_path / "old.json", tmp_path / "new.json"
    old.write_text("kept")
    for report in (old, fresh):
        assert main(["bench", manifest, "--seconds", "0.1", "--report", str(report), "+models.m.sha256=" + "0" * 64])
    capsys.readouterr()
    assert old.read_text() == "kept"
    assert not fresh.exists()
