"""Dimension names are dropped in the bytes of a model; everything else stays what it was."""

import pytest

from aegisrt.backends.files.onnx import read_onnx
from aegisrt.backends.files.onnx_dimensions import unname_dimensions

onnx = pytest.importorskip("onnx")
graphs = pytest.importorskip("tests.backends.onnx_graphs")


def only_letters(names):
    return [name if isinstance(name, str) and name.isalpha() else None for name in names]


def dimensions(content):
    inputs = onnx.load_from_string(bytes(content)).graph.input
    return [[dim.dim_param or dim.dim_value or None for dim in item.type.tensor_type.shape.dim] for item in inputs]


def test_names_go_and_the_rest_stays():
    sides = (
        {"x": (graphs.FLOAT, ("?", 3, "wide")), "z": (graphs.FLOAT, ("?",))},
        {"y": (graphs.FLOAT, ("?", 3, "wide"))},
    )
    before = graphs.model([graphs.node("Add", ["x", "z"], ["y"])], *sides).SerializeToString()
    content = bytearray(before)
    assert unname_dimensions(content, only_letters)
    assert dimensions(content) == [[None, 3, "wide"], [None]]
    assert len(content) == len(before)
    after = onnx.load_from_string(bytes(content))
    onnx.checker.check_model(after)
    assert after.graph.output == onnx.load_from_string(before).graph.output


def test_a_model_whose_names_are_kept_is_not_touched():
    before = graphs.model(
        [graphs.node("Relu", ["x"], ["y"])], *[{name: (graphs.FLOAT, ("n", None, 3))} for name in "xy"]
    )
    content = bytearray(before.SerializeToString())
    assert not unname_dimensions(content, only_letters)
    assert content == before.SerializeToString()


def test_a_dimension_that_has_a_denotation_too_keeps_its_size_unnamed():
    made = graphs.model([graphs.node("Relu", ["x"], ["y"])], *[{name: (graphs.FLOAT, ("?", 3))} for name in "xy"])
    made.graph.input[0].type.tensor_type.shape.dim[0].denotation = "DATA_BATCH"
    content = bytearray(made.SerializeToString())
    assert unname_dimensions(content, only_letters)
    assert dimensions(content) == [[None, 3]]


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_a_damaged_file_is_left_to_who_parses_it(cut, tmp_path):
    path = graphs.relu(tmp_path / "m.onnx", ("?", 3))
    whole = path.read_bytes()
    for content in (bytearray(whole[:-cut]), bytearray(whole[:cut] + b"\xff" + whole[cut + 1 :])):
        unname_dimensions(content, only_letters)
    assert read_onnx(path).signature.inputs[0].shape == ("?", 3)
