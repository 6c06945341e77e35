"""What an ONNX file shows about its rows, with no engine."""

from __future__ import annotations

import pytest

from aegisrt.backends.files.onnx_rows import Rows, rows_of
from tests.backends.onnx_models import FLOAT, model, node, save, tensor, weight
from tests.runtime.row_models import MIXING, ROW_WISE

UNSEEN = {"by-size"}
"""Models that no operator gives away."""


@pytest.mark.parametrize("name", ROW_WISE)
def test_nothing_is_held_against_a_row_wise_model(tmp_path, name):
    rows = rows_of(save(tmp_path, ROW_WISE[name]()))
    assert rows is not None
    assert (rows.refused, rows.mixing) == (None, ())


@pytest.mark.parametrize("name", sorted(MIXING.keys() - UNSEEN))
def test_the_operator_that_mixes_is_named(tmp_path, name):
    rows = rows_of(save(tmp_path, MIXING[name]()))
    assert rows is not None
    assert rows.mixing or rows.refused


@pytest.mark.parametrize("name", ["hits", "hits-under-the-batch's-name", "suppression", "distinct", "compressed"])
def test_outputs_of_one_row_per_find_are_certain(tmp_path, name):
    assert "one row for each element that" in rows_of(save(tmp_path, MIXING[name]())).refused


@pytest.mark.parametrize("shape", [(), (4, 3)])
@pytest.mark.parametrize("side", ["input", "output"])
def test_a_first_dimension_that_is_not_dynamic_is_certain(tmp_path, side, shape):
    shapes = {"input": ("n", 3), "output": ("n", 3), side: shape}
    made = model(
        [node("Identity", "x", "y")], [tensor("x", FLOAT, shapes["input"])], [tensor("y", FLOAT, shapes["output"])]
    )
    assert f"and {side} `" in rows_of(save(tmp_path, made)).refused


def test_finds_that_are_written_back_to_their_rows_are_not_held_against_a_model(tmp_path):
    """As in a transformer that leaves out the padding and puts it in again."""
    nodes = [
        node("Relu", "x", "r"),
        node("NonZero", "r", "t"),
        node("Transpose", "t", "at", perm=[1, 0]),
        node("GatherND", "x at", "some"),
        node("Shape", "x", "s"),
        node("ConstantOfShape", "s", "empty"),
        node("ScatterND", "empty at some", "y"),
    ]
    made = model(nodes, [tensor("x", FLOAT, ("n", 3))], [tensor("y", FLOAT, ("n", 3))])
    assert rows_of(save(tmp_path, made)) == Rows(None, ("NonZero",), ())


def test_an_output_that_the_file_leaves_open_is_named(tmp_path):
    domains = [("com.example", 1)]
    made = model(
        [node("Own", "x", "y", domain="com.example")],
        [tensor("x", FLOAT, ("n", 3))],
        [tensor("y", FLOAT, ("found", 3))],
        domains=domains,
    )
    assert rows_of(save(tmp_path, made)).unclear == ("y",)


def test_operators_inside_of_a_branch_are_named(tmp_path):
    branches = []
    for name in ("then", "else"):
        inner = [node("DynamicQuantizeLinear", "x", "q s z"), node("DequantizeLinear", "q s z", name)]
        graph = model(inner, [], [tensor(name, FLOAT, ("n", 3))]).graph
        branches.append(graph)
    made = model(
        [
            node("Cast", "flag", "c", to=9),
            node("If", "c", "b", then_branch=branches[0], else_branch=branches[1]),
            node("Add", "x b", "y"),
        ],
        [tensor("x", FLOAT, ("n", 3))],
        [tensor("y", FLOAT, ("n", 3))],
        [weight("flag", 1.0)],
    )
    assert "DynamicQuantizeLinear" in rows_of(save(tmp_path, made)).mixing


def test_weights_are_not_read(tmp_path, monkeypatch):
    import os

    made = model(
        [node("MatMul", "x w", "y")],
        [tensor("x", FLOAT, ("n", 1000))],
        [tensor("y", FLOAT, ("n", 1000))],
        [weight("w", [[0.5] * 1000] * 1000)],
    )
    path, read = save(tmp_path, made), []
    pread = os.pread
    monkeypatch.setattr(os, "pread", lambda *arguments: (read.append(arguments[1]), pread(*arguments))[1])
    assert rows_of(path) == Rows()
    assert sum(read) < path.stat().st_size / 10


@pytest.mark.parametrize(
    "content", [b"", b"\x08\x08", b"not a model", b"\x08\x08:\xa5\x01", b"\x3a\xff\xff\xff\xff\x7f"]
)
def test_what_is_not_an_onnx_model_shows_nothing(tmp_path, content):
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    assert rows_of(path) is None
    assert rows_of(tmp_path / "none.onnx") is None


def test_a_model_cut_short_anywhere_shows_nothing_or_something_but_never_fails(tmp_path):
    whole = save(tmp_path, ROW_WISE["attention"]()).read_bytes()
    path = tmp_path / "cut.onnx"
    for end in range(0, len(whole), 7):
        path.write_bytes(whole[:end])
        assert rows_of(path) is None
