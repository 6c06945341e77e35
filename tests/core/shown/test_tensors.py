"""What a prompt and a notebook show of tensors: names, dtypes and shapes; markup and control characters escaped."""

from __future__ import annotations

import numpy as np
import pytest

from aegisrt import DataType, Signature, TensorSpec
from aegisrt.core.shown.html import html_table
from aegisrt.core.shown.tensors import tensor_row, tensor_text, tensors_text


class OnDevice:
    """An array on a device: its values are not to be copied for a prompt."""

    shape, dtype, size = (2, 3), np.dtype(np.float32), 6

    def __array__(self, *_, **__):
        raise AssertionError("a copy from the device")


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (np.zeros((2, 3), np.float32), "y FP32[2,3]"),
        (np.zeros((), np.int64), "y INT64[]"),
        (np.array(["a"], object), "y BYTES[1]"),
        (OnDevice(), "y FP32[2,3]"),
        ([1, 2], "y (list)"),
        (None, "y (NoneType)"),
        (np.zeros(1, "M8[s]"), "y datetime64[s][1]"),
    ],
)
def test_a_tensor_is_a_name_a_dtype_and_a_shape(value, shown):
    assert tensor_text("y", value) == shown


def test_all_tensors_of_a_request():
    assert tensors_text({"a": np.zeros(2, np.int8), "b": np.ones((1, 2))}) == "a INT8[2], b FP64[1,2]"
    assert tensors_text({}) == "none"
    assert tensors_text([1]) == "(list)"


def test_a_row_has_the_first_values_of_host_arrays_alone():
    assert tensor_row("y", np.arange(8, dtype=np.float32)) == ("y", "FP32", "[8]", "0, 1, 2, 3, 4, 5, ...")
    assert tensor_row("y", np.array([b"ab", "c" * 30], object)) == ("y", "BYTES", "[2]", f"'ab', '{'c' * 20}...'")
    assert tensor_row("y", OnDevice()) == ("y", "FP32", "[2,3]", "")


def test_html_is_escaped():
    table = html_table("<b>", ["<i>"], [["<script>alert(1)</script>", "a\x1b[2Jb", '"']])
    assert "<script>" not in table
    assert "\x1b" not in table
    assert "&lt;script&gt;" in table
    assert "<caption>&lt;b&gt;</caption>" in table


def test_specs_and_signatures_have_short_reprs():
    image = TensorSpec("image", DataType.FP32, ("batch", 1, 8, 8))
    answer = TensorSpec("probabilities", DataType.FP32, (2, 3))
    assert repr(answer) == "<TensorSpec: probabilities FP32[2,3]>"
    assert repr(Signature((image,), (answer,))) == "<Signature: image FP32[batch,1,8,8] -> probabilities FP32[2,3]>"
    assert repr(Signature((), (TensorSpec("a\x1b[2J", DataType.INT8, None),))) == (
        r"<Signature: none -> a\x1b[2J INT8[...]>"
    )
