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
