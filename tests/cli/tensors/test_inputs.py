"""Inputs from files of every kind, dtype and sort of damage."""

import json
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

from aegisrt.cli.tensors import inputs
from aegisrt.core.result import ErrorCode, ResultError
from aegisrt.core.tensor import DataType, Signature, TensorSpec
from aegisrt.runtime.building.input_budget import InputBudget


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def read_inputs(words, signature, limit_bytes=2**30):
    return inputs.read_inputs(words, signature, InputBudget(limit_bytes))


def takes(dtype=DataType.FP32, shape=None, *names):
    return Signature(tuple(TensorSpec(name, dtype, shape) for name in names or ("x",)), ())


def refused(words, signature):
    with pytest.raises(ResultError) as caught:
        read_inputs(words, signature)
    return caught.value.error


def write_json(name, value):
    Path(name).write_text(json.dumps(value))


@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        (DataType.BOOL, [[True, False]]),
        (DataType.INT8, [-128, 127]),
        (DataType.UINT8, [0, 255]),
        (DataType.INT64, [-(2**63), 2**63 - 1]),
        (DataType.UINT64, [1, 2**64 - 1]),
        (DataType.FP16, [1, 0.5]),
        (DataType.FP32, [[1.5, -2], [3, 4]]),
        (DataType.FP64, 7),
        (DataType.BYTES, ["é", "", "a\0"]),
        (DataType.FP32, [[], []]),
    ],
)
def test_json_of_each_dtype(dtype, value):
    write_json("x.json", value)
    x = read_inputs(["x=x.json"], takes(dtype))["x"]
    assert x.dtype == dtype.numpy
    assert x.tolist() == value


def test_json_has_words_for_nan_and_infinities():
    write_json("x.json", [1, "NaN", "Infinity", "-Infinity"])
    np.testing.assert_array_equal(read_inputs(["x.json"], takes())["x"], np.float32([1, np.nan, np.inf, -np.inf]))


@pytest.mark.parametrize(
    ("dtype", "text", "said"),
    [
        (DataType.FP32, "[1, 1e300]", "holds a number outside the range of FP32"),
        (DataType.INT8, "[128]", "holds a number outside the range of INT8"),
        (DataType.UINT8, "[-1]", "holds a number outside the range of UINT8"),
        (DataType.INT64, "[1.5]", "holds floating-point numbers"),
        (DataType.FP32, "[true]", "holds booleans"),
        (DataType.FP32, '["1"]', "holds strings"),
        (DataType.FP32, "[null]", "holds values that are not numbers"),
        (DataType.BYTES, "[1]", "holds numbers"),
        (DataType.BOOL, "[1]", "holds numbers"),
        (DataType.FP32, "[[1], [1, 2]]", "is not an array of one shape"),
        (DataType.FP32, "[1", "is not valid JSON"),
        (DataType.FP32, "[" * 100_000, "is not valid JSON"),
        (DataType.FP32, "[" * 200 + "]" * 200, "is not an array of one shape"),
        (DataType.FP32, "\udcff", "is not valid JSON"),
        (DataType.BYTES, '[["a"], "b"]', "is not an array of one shape"),
        (DataType.BYTES, "[[[1], [2]], [3, 4]]", "is not an array of one shape"),
        (DataType.BYTES, '["a", 1]', "holds numbers"),
        (DataType.INT64, "[true, 1]", "holds booleans"),
        (DataType.FP32, '[1, {"a": 1}]', "holds values that are not numbers"),
    ],
)
def test_json_that_does_not_fit(here, dtype, text, said):
    (here / "x.json").write_text(text, encoding="utf-8", errors="surrogateescape")
    error = refused(["x.json"], takes(dtype))
    assert error.code is ErrorCode.INVALID_ARGUMENT
    assert said in error.message


@pytest.mark.parametrize("kind", ["npz", "json"])
def test_one_file_gives_several_inputs_by_name(kind):
    names = ("a:0", "b/x", "sum é")
    arrays = {name: np.full((1, 2), index, np.float32) for index, name in enumerate(names)}
    if kind == "npz":
        np.savez("in.npz", **arrays)
    else:
        write_json("in.json", {name: array.tolist() for name, array in arrays.items()})
    read = read_inputs([f"in.{kind}"], takes(DataType.FP32, None, *names))
    assert {name: value.tolist() for name, value in read.items()} == {
        name: value.tolist() for name, value in arrays.items()
    }
    one = read_inputs([f"b/x=in.{kind}"], takes(DataType.FP32, None, *names))
    assert one["b/x"].tolist() == [[1, 1]]


def test_a_name_may_hold_an_equals_sign():
    np.save("f.npy", np.float32(1))
    assert list(read_inputs(["a=b=f.npy"], takes(DataType.FP32, (), "a", "a=b"))) == ["a=b"]


def test_the_only_array_of_an_archive_needs_no_name():
    np.savez("x.npz", np.float32([1, 2]))
    assert read_inputs(["x=x.npz"], takes())["x"].tolist() == [1, 2]


def test_an_archive_with_a_name_that_is_no_input_says_which_was_meant():
    np.savez("x.npz", image=np.float32(1), imag=np.float32(1))
    assert refused(["x.npz"], takes(DataType.FP32, None, "image")).hint == "did you mean `image`?"
    error = refused(["img=x.npz"], takes(DataType.FP32, None, "img"))
    assert error.message == "x.npz holds no array `img`"


def test_an_input_that_is_given_twice():
    np.save("x.npy", np.float32(1))
    assert "gives `x` twice" in refused(["x.npy", "x=x.npy"], takes()).message


def test_bits_of_bfloat16_are_taken_as_numpy_writes_them():
    bfloat16 = pytest.importorskip("ml_dtypes").bfloat16
    np.save("x.npy", np.asarray([1.5, -2], bfloat16))
    x = read_inputs(["x.npy"], takes(DataType.BF16))["x"]
    assert x.dtype == bfloat16
    assert x.astype(float).tolist() == [1.5, -2]


def truncated(path):
    with path.open("wb") as stream:
        np.save(stream, np.ones(100, np.float32))
    path.write_bytes(path.read_bytes()[:100])


def broken_archive(path):
    with path.open("wb") as stream:
        np.savez_compressed(stream, x=np.arange(1000.0))
    content = bytearray(path.read_bytes())
    content[100:140] = b"\xff" * 40
    path.write_bytes(content)


def encrypted_archive(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", b"")
    content = bytearray(path.read_bytes())
    content[6] |= 1
    content[content.rindex(b"PK\1\2") + 8] |= 1
    path.write_bytes(content)


def pickled(path):
    with path.open("wb") as stream:
        np.save(stream, np.array([{}], object), allow_pickle=True)


def huge(path):
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (10000000000000000,), }".ljust(117) + b"\n"
    path.write_bytes(b"\x93NUMPY\x01\x00\x76\x00" + header)


@pytest.mark.parametrize("name", ["x.npy", "x.npz"])
@pytest.mark.parametrize("damage", [truncated, broken_archive, encrypted_archive, huge], ids=lambda one: one.__name__)
def test_a_damaged_array_file_is_an_answer(here, name, damage):
    damage(here / name)
    error = refused([f"x={name}"], takes())
    assert error.code is ErrorCode.INVALID_ARGUMENT
    assert error.message == f"{name} is not a readable .npy or .npz file"
    assert error.cause


def test_python_objects_are_told_apart_from_damage(here):
    pickled(here / "x.npy")
    error = refused(["x=x.npy"], takes(DataType.BYTES))
    assert error.code is ErrorCode.INVALID_ARGUMENT
    assert "Python objects" in error.message
    assert "astype(str)" in error.hint


@pytest.mark.parametrize(
    ("word", "code"),
    [
        ("x=nope.npy", ErrorCode.NOT_FOUND),
        ("nope.npz", ErrorCode.NOT_FOUND),
        ("x=", ErrorCode.INVALID_ARGUMENT),
        (".", ErrorCode.INVALID_ARGUMENT),
        ("x=/dev/zero", ErrorCode.INVALID_ARGUMENT),
        ("x.txt", ErrorCode.INVALID_ARGUMENT),
        ("folder.npz", ErrorCode.NOT_FOUND),
    ],
)
def test_what_is_no_file_of_inputs(here, word, code):
    (here / "folder.npz").mkdir()
    assert refused([word], takes()).code is code


def test_a_pipe_is_not_waited_for(here):
    os.mkfifo(here / "x.npz")
    assert refused(["x.npz"], takes()).code is ErrorCode.NOT_FOUND


SWEPT = "lr=0.1,m=2/a=b"
"""A folder as a sweep names it."""


@pytest.mark.parametrize("names", [("x",), ("lr",), ("a/b", "c=d"), ("lr=0.1,m=2/a",)], ids=str)
@pytest.mark.parametrize("file", [f"{SWEPT}/x.npy", "x=1.npy", "é, {y}=[z].npy"])
def test_a_path_of_any_characters_with_and_without_a_name(names, file):
    Path(file).parent.mkdir(parents=True, exist_ok=True)
    np.save(file, np.float32([1]))
    for name in names:
        assert list(read_inputs([f"{name}={file}"], takes(DataType.FP32, None, *names))) == [name]
    if len(names) == 1:
        assert list(read_inputs([file], takes(DataType.FP32, None, *names))) == list(names)
    else:
        assert "the model takes several inputs" in refused([file], takes(DataType.FP32, None, *names)).message


def test_an_existing_file_comes_before_a_name():
    np.save("x.npy", np.float32([1]))
    np.save("x=x.npy", np.float32([2]))
    assert read_inputs(["x=x.npy"], takes())["x"].tolist() == [2]
    assert read_inputs(["x=./x.npy"], takes())["x"].tolist() == [1]


def test_a_missing_file_or_name_is_still_called_that():
    Path(SWEPT).mkdir(parents=True)
    np.save(f"{SWEPT}/x.npy", np.float32([1]))
    for word in (f"{SWEPT}/y.npy", f"x={SWEPT}/y.npy"):
        assert refused([word], takes()).message == f"--input {word}: the file does not exist"
    for word in (f"y={SWEPT}/x.npy", f"y/z={SWEPT}/x.npy"):
        assert "is not an input of the model" in refused([word], takes()).message


@pytest.mark.parametrize("names", [("x",), ("x", "y")])
@pytest.mark.parametrize("word", ["empty.npz", "x=empty.npz", "empty.json", "x=empty.json"])
def test_a_file_without_an_array_is_called_that(names, word):
    np.savez("empty.npz")
    write_json("empty.json", {})
    error = refused([word], takes(DataType.FP32, None, *names))
    assert (error.code, "holds no array" in error.message) == (ErrorCode.INVALID_ARGUMENT, True)
    assert "write arrays by name" in error.hint or "save arrays by name" in error.hint


def test_a_path_that_is_too_long_is_an_error_and_not_a_traceback():
    error = refused(["a" * 300 + ".npy"], takes())
    assert (error.code, "name too long" in error.message) == (ErrorCode.INVALID_ARGUMENT, True)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["<f4", ">f4"])
@pytest.mark.parametrize("name", ["x.npy", "x.npz"])
def test_arrays_of_each_order_are_read_as_they_were(order, dtype, name):
    value = np.asarray(np.arange(6).reshape(2, 3), dtype, order=order)
    (np.save if name == "x.npy" else np.savez_compressed)(name, value)
    np.testing.assert_array_equal(read_inputs([f"x={name}"], takes())["x"], value)


@pytest.mark.parametrize(("dtype", "value"), [(DataType.BYTES, ["a", "", "éé"]), (DataType.FP32, np.zeros((0, 4)))])
def test_texts_and_empty_arrays_are_read_as_they_were(dtype, value):
    np.save("x.npy", np.asarray(value, None if dtype is DataType.BYTES else np.float32))
    read = read_inputs(["x.npy"], takes(dtype))["x"]
    assert (read.tolist(), read.shape) == (np.asarray(value).tolist(), np.shape(value))


def test_the_limit_is_one_for_all_inputs_of_a_call():
    np.save("a.npy", np.zeros(100, np.float32))
    write_json("b.json", [0.5] * 10)
    both = takes(DataType.FP32, None, "a", "b")
    assert len(read_inputs(["a=a.npy", "b=b.json"], both, limit_bytes=2000)) == 2
    with pytest.raises(ResultError, match=r"`limits\.input_bytes` allows 1000 bytes") as caught:
        read_inputs(["a=a.npy", "b=b.json"], both, limit_bytes=1000)
    assert caught.value.error.code is ErrorCode.RESOURCE_EXHAUSTED
