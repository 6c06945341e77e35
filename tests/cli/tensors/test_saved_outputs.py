"""Outputs to files, whatever they are called and hold."""

import json

import numpy as np
import pytest

from aegisrt.cli.tensors.saved_outputs import check_output, plain, write_outputs
from aegisrt.core.result import ErrorCode, ResultError


@pytest.mark.parametrize("name", ["y", "file", "allow_pickle", "a:0", "b/x", "sum é", "", "with space"])
def test_an_output_may_have_any_name(tmp_path, name):
    value = np.arange(6, dtype=np.int64).reshape(2, 3)
    write_outputs(tmp_path / "out.npz", {name: value})
    write_outputs(tmp_path / "out.json", {name: value})
    with np.load(tmp_path / "out.npz") as read:
        assert read.files == [name]
        np.testing.assert_array_equal(read[name], value)
    assert json.loads((tmp_path / "out.json").read_text()) == {name: value.tolist()}


@pytest.mark.parametrize("value", [["é", "", "longer"], [b"a", "b"], []])
def test_texts_are_written_as_text(tmp_path, value):
    texts = [item.decode() if isinstance(item, bytes) else item for item in value]
    outputs = {"y": np.asarray(value, object)}
    for name in ("out.npy", "out.npz", "out.json"):
        write_outputs(tmp_path / name, outputs)
    assert np.load(tmp_path / "out.npy").tolist() == texts
    assert np.load(tmp_path / "out.npz")["y"].tolist() == texts
    assert json.loads((tmp_path / "out.json").read_text()) == {"y": texts}


def test_bfloat16_is_written_as_float32(tmp_path):
    bfloat16 = pytest.importorskip("ml_dtypes").bfloat16
    write_outputs(tmp_path / "out.npy", {"y": np.asarray([1.5, -2], bfloat16)})
    y = np.load(tmp_path / "out.npy")
    assert (y.dtype, y.tolist()) == (np.float32, [1.5, -2])


def test_json_stays_json_with_nan_and_infinities(tmp_path):
    write_outputs(tmp_path / "out.json", {"y": np.float32([np.nan, np.inf, -np.inf, 1])})
    strict = json.loads((tmp_path / "out.json").read_text(), parse_constant=pytest.fail)
    assert strict == {"y": ["NaN", "Infinity", "-Infinity", 1]}


def test_what_cannot_be_written_leaves_nothing_behind(tmp_path):
    (tmp_path / "folder.npz").mkdir()
    for name in ("folder.npz", "n" * 300 + ".npz"):
        with pytest.raises(ResultError, match="cannot be written") as caught:
            write_outputs(tmp_path / name, {"y": np.zeros(1)})
        assert caught.value.error.code is ErrorCode.INVALID_ARGUMENT
    assert [entry.name for entry in tmp_path.iterdir()] == ["folder.npz"]


@pytest.mark.parametrize(
    ("name", "count", "code"),
    [
        ("out.txt", 1, ErrorCode.INVALID_ARGUMENT),
        ("out", 1, ErrorCode.INVALID_ARGUMENT),
        ("out.npy", 2, ErrorCode.INVALID_ARGUMENT),
        ("nope/out.npz", 1, ErrorCode.NOT_FOUND),
    ],
)
def test_a_wrong_file_is_refused_before_anything_runs(tmp_path, name, count, code):
    with pytest.raises(ResultError) as caught:
        check_output(tmp_path / name, count)
    assert caught.value.error.code is code


def test_plain_values_are_what_json_has():
    assert plain(np.int64(7)) == 7
    assert plain(np.asarray([[b"a", "b"]], object)) == [["a", "b"]]
    assert plain(np.asarray([b"\xff"])) == ["\N{REPLACEMENT CHARACTER}"]


@pytest.mark.parametrize("name", ["out.npy", "out.npz"])
def test_one_long_text_and_many_empty_ones_are_not_written_at_a_fixed_width(tmp_path, name):
    texts = np.array(["a" * 500_000, *[""] * 40_000], object)
    with pytest.raises(ResultError, match="each takes the room of the longest") as caught:
        write_outputs(tmp_path / name, {"y": texts})
    assert (caught.value.error.code, caught.value.error.hint) == (ErrorCode.RESOURCE_EXHAUSTED, "name a .json")
    assert list(tmp_path.iterdir()) == []
    write_outputs(tmp_path / "out.json", {"y": texts})
