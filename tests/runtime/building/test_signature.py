import pytest

from aegisrt.core.tensor import DataType, Signature, TensorSpec
from aegisrt.manifest.schema import SignatureOptions
from aegisrt.runtime.building.signature import mismatch

ACTUAL = Signature(
    (TensorSpec("image", DataType.FP32, ("batch", 1, 8, 8)),), (TensorSpec("p", DataType.FP32, ("batch", 10)),)
)


def declared(inputs=None, outputs=None):
    import json

    return SignatureOptions.model_validate_json(json.dumps({"inputs": inputs or {}, "outputs": outputs or {}}))


@pytest.mark.parametrize(
    "shape", [None, ["batch", 1, 8, 8], [None, 1, 8, 8], ["n", 1, 8, 8], [None, None, None, None]], ids=str
)
def test_what_agrees_is_no_mismatch(shape):
    tensor = {"dtype": "FP32", "shape": shape} if shape else {"dtype": "FP32"}
    assert mismatch(declared({"image": tensor}), ACTUAL) is None


@pytest.mark.parametrize(
    ("inputs", "outputs", "path", "words"),
    [
        ({"imag": {"dtype": "FP32"}}, None, ("inputs", "imag"), "did you mean `image`?"),
        ({"image": {"dtype": "FP16"}}, None, ("inputs", "image", "dtype"), "declared FP16, the model has FP32"),
        ({"image": {"dtype": "FP32", "shape": [None, 3, 8, 8]}}, None, ("inputs", "image", "shape"), "[?,3,8,8]"),
        ({"image": {"dtype": "FP32", "shape": [None, 1, 8]}}, None, ("inputs", "image", "shape"), "[?,1,8]"),
        ({"image": {"dtype": "FP32", "shape": ["b", "c", 8, 8]}}, None, ("inputs", "image", "shape"), "[b,c,8,8]"),
        (None, {"q": {"dtype": "FP32"}}, ("outputs", "q"), "the model has no output `q`"),
    ],
)
def test_each_difference_is_named_with_its_key(inputs, outputs, path, words):
    where, message = mismatch(declared(inputs, outputs), ACTUAL)
    assert where == path
    assert words in message


def test_an_input_that_is_not_declared_is_a_mismatch():
    actual = Signature((*ACTUAL.inputs, TensorSpec("mask", DataType.BOOL, ())), ACTUAL.outputs)
    where, message = mismatch(declared({"image": {"dtype": "FP32"}}), actual)
    assert where == ("inputs",)
    assert "`mask`" in message


FIXED = Signature((TensorSpec("image", DataType.FP32, (16, 1, "h", 8)),), (TensorSpec("p", DataType.FP32, (16, 160)),))
SIZES = {"batch": 16}


@pytest.mark.parametrize(
    ("shape", "agrees"),
    [
        (["batch", 1, "h", 8], True),
        ([16, 1, "h", 8], True),
        (["batch", 1, "h", "w"], False),
        (["other", 1, "h", 8], False),
        ([8, 1, "h", 8], False),
    ],
    ids=str,
)
def test_a_name_that_the_backend_s_options_fix_is_satisfied_by_its_size(shape, agrees):
    tensor = {"dtype": "FP32", "shape": shape}
    assert (mismatch(declared({"image": tensor}), FIXED, SIZES) is None) is agrees
    assert mismatch(declared({"image": tensor}), FIXED) is not None or "batch" not in shape
    assert mismatch(declared({"image": {"dtype": "FP32", "shape": ["batch", 1, "h", 8]}}), FIXED, {"batch": 4})


def test_an_output_s_size_may_come_from_the_fixed_ones():
    for shape in (["batch", "tenfold"], ["batch", 160], [16, None]):
        assert mismatch(declared(None, {"p": {"dtype": "FP32", "shape": shape}}), FIXED, SIZES) is None
    assert mismatch(declared(None, {"p": {"dtype": "FP32", "shape": ["batch", 10]}}), FIXED, SIZES)
    assert mismatch(declared(None, {"p": {"dtype": "FP32", "shape": ["batch", "tenfold"]}}), FIXED)
