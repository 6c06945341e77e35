"""The conversion of a model's FP32 arithmetic, checked by the model checker and by what the converted model answers."""

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="the conversion needs the package onnx")
pytest.importorskip("onnxruntime", reason="onnxruntime is what runs the converted model")

from aegisrt.backends.files.onnx_precision import convert, convert_file  # noqa: E402
from aegisrt.core.resources import configs_dir  # noqa: E402
from aegisrt.core.result import ErrorCode, ResultError  # noqa: E402
from tests.backends.onnx_graphs import FLOAT, model, net, node  # noqa: E402


def answer(proto, inputs):
    import onnxruntime

    return onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, inputs)


def element_types(proto):
    return {tensor.name: tensor.data_type for tensor in proto.graph.initializer}


@pytest.mark.parametrize("choice", [True, False])
def test_a_graph_with_branches_and_scales_computes_nearly_the_same(choice):
    before, after = net(), net()
    convert(after, "fp16")
    onnx.checker.check_model(after, full_check=True)
    inputs = {
        "x": np.random.default_rng(1).normal(size=(1, 3, 9, 8)).astype(np.float32),
        "choice": np.array(choice),
        "n": np.array([3], np.int32),
    }
    (want,), (got,) = answer(before, inputs), answer(after, inputs)
    assert got.dtype == np.float32
    assert 0 < np.abs(got - want).max() < 2e-2, "the same to FP16's precision, and not to the last bit"


@pytest.mark.parametrize(("precision", "element"), [("fp16", 10), ("bf16", 16)])
def test_weights_change_and_inputs_and_outputs_do_not(precision, element):
    after = net()
    convert(after, precision)
    onnx.checker.check_model(after, full_check=precision == "fp16")  # ONNX has a Conv of BF16 from opset 22 on
    assert element_types(after)["w"] == element
    assert [info.name for info in (*after.graph.input, *after.graph.output)] == ["x", "choice", "n", "y"]
    assert [info.type.tensor_type.elem_type for info in (after.graph.input[0], after.graph.output[0])] == [FLOAT, FLOAT]


def test_the_scales_of_a_resize_stay_exact():
    after = net()
    convert(after, "fp16")
    resize = next(item for item in after.graph.node if item.op_type == "Resize")
    scales = next(item for item in after.graph.initializer if item.name == resize.input[2])
    np.testing.assert_array_equal(onnx.numpy_helper.to_array(scales), np.array([1, 1, 4 / 3, 1.5], np.float32))


def test_digits_keep_their_classes(tmp_path):
    source = configs_dir() / "model" / "digits.onnx"
    target = convert_file(source, tmp_path / "fp16.onnx", "fp16")
    images = np.load(configs_dir() / "model" / "digits.images.npy")
    (want,), (got,) = answer(onnx.load(source), {"image": images}), answer(onnx.load(target), {"image": images})
    assert (want.argmax(1) == got.argmax(1)).mean() > 0.99
    assert 0 < np.abs(want - got).max() < 5e-2


def add_weight(value):
    weights = {"w": np.array([value], np.float32)}
    return model([node("Add", ["x", "w"], ["y"])], {"x": (FLOAT, (1,))}, {"y": (FLOAT, (1,))}, weights)


def test_a_weight_that_fp16_cannot_hold_is_refused_by_name():
    with pytest.raises(ResultError) as caught:
        convert(add_weight(1e6), "fp16")
    assert caught.value.error.code is ErrorCode.INVALID_ARGUMENT
    assert "`w` holds 1e+06" in caught.value.error.message
    convert(add_weight(1e6), "bf16")


def test_a_mask_of_the_largest_fp32_becomes_the_largest_fp16():
    after = add_weight(np.finfo(np.float32).min)
    convert(after, "fp16")
    assert onnx.numpy_helper.to_array(after.graph.initializer[0])[0] == -65504


def test_an_output_that_is_an_input_too_is_refused():
    both = model([node("Relu", ["x"], ["y"])], {"x": (FLOAT, (1,))}, {"x": (FLOAT, (1,)), "y": (FLOAT, (1,))})
    with pytest.raises(ResultError, match="`x` is an output too"):
        convert(both, "fp16")
