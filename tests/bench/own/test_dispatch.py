"""The dispatch benchmark measures what it says; the bound itself is held by `make bench`."""

from __future__ import annotations

import json

import pytest

from aegisrt.bench.measure import TimedCalls
from aegisrt.bench.one_node import one_node_model
from aegisrt.bench.own import dispatch
from aegisrt.bench.own.dispatch import ALONE, BACKEND, BARE, BESIDE, CONTEXT, POLYGRAPHY, DispatchTimes


@pytest.mark.engine("onnx")
def test_json(capsys):
    assert dispatch.main(["--rounds", "20", "--json"]) in (0, 1)
    told = json.loads(capsys.readouterr().out)
    assert told["rounds"] == 20
    assert set(told["groups"][ALONE]) == {BARE, BACKEND, CONTEXT}
    assert (BESIDE in told["groups"]) is (POLYGRAPHY not in told["missing"])
    for calls in told["groups"].values():
        assert (calls[BARE]["ratio"], calls[BARE]["added_us"]) == (1, 0)
        for call in calls.values():
            assert 0 < call["median_us"] <= call["p99_us"]
    assert [finding["unit"] for finding in told["findings"]] == ["us"] * len(told["groups"])


@pytest.mark.engine("onnx")
def test_a_file_is_held_to_a_ratio(tmp_path, capsys):
    path = tmp_path / "own.onnx"
    path.write_bytes(one_node_model((2, 3)))
    assert dispatch.main(["--rounds", "20", "--model", str(path)]) in (0, 1)
    out = capsys.readouterr().out
    assert out.startswith("own.onnx, one thread, 20 interleaved rounds")
    assert "<= 1.01" in out


@pytest.mark.engine("onnx")
def test_a_file_that_is_not_there_is_said(tmp_path, capsys):
    assert dispatch.main(["--model", str(tmp_path / "nope.onnx")]) == 1
    assert "nope.onnx" in capsys.readouterr().err


@pytest.mark.engine("onnx")
def test_the_table_has_a_row_for_each_call_of_each_group(capsys):
    dispatch.main(["--rounds", "20"])
    lines = capsys.readouterr().out.splitlines()
    groups = sum(line.startswith((ALONE, BESIDE)) for line in lines)
    for name in (BARE, BACKEND, CONTEXT):
        assert sum(line.startswith(name) for line in lines) == groups
    assert sum(line.startswith(POLYGRAPHY) for line in lines) == 1
    assert sum("<= 2.5" in line or "<= 4.5" in line for line in lines) == groups


@pytest.mark.engine("onnx")
def test_without_polygraphy_the_row_says_how_to_get_it(monkeypatch, capsys):
    monkeypatch.setattr(dispatch, "_POLYGRAPHY", dispatch.Requirement("no_such_module", (), "bench"))
    dispatch.main(["--rounds", "5"])
    assert "not installed; run: pip install 'aegisrt-runtime[bench]'" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("group", "context_ns", "code"), [(ALONE, 6_500, 0), (ALONE, 6_501, 1), (BESIDE, 8_500, 0), (BESIDE, 8_501, 1)]
)
def test_more_than_the_bound_of_the_group_fails(monkeypatch, capsys, group, context_ns, code):
    def sample(name: str, time_ns: int) -> TimedCalls:
        return TimedCalls(name, (time_ns,) * 3)

    samples = {BARE: sample(BARE, 4_000), BACKEND: sample(BACKEND, 9_000), CONTEXT: sample(CONTEXT, context_ns)}
    measured = DispatchTimes({group: samples}, dispatch._ONE_NODE, 3, "onnxruntime 0", {})
    monkeypatch.setattr(dispatch, "measure", lambda rounds, model: measured)
    assert dispatch.main([]) == code
    assert ("holds" if code == 0 else "FAILS") in capsys.readouterr().out
