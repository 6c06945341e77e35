"""Errors that ONNX Runtime raises while a model runs: each row of the table, by a model or by the driver's text."""

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="the models of this test are made with the package onnx")

from aegisrt import ErrorCode, ExecutionRequest, ONNXBackend  # noqa: E402
from aegisrt.backends.onnx.errors import execute_error, load_error  # noqa: E402
from aegisrt.core.resources import configs_dir  # noqa: E402
from aegisrt.core.tensor import DataType  # noqa: E402
from aegisrt.devices.cuda.driver import CAPTURE_HINT  # noqa: E402

ML = {"domain": "ai.onnx.ml"}
CATEGORY, NUMBER, INDEX = "the encoder was exported", "pass strings that hold numbers", "an index, such as a token id"
ZERO, SIZES, REFUSED = "an integer divisor", "the sizes do not fit", "the operator refuses its inputs"


def ints(*values):
    return np.array(values, np.int64)


def floats(*values):
    return np.array(values, np.float32)


def strings(*values):
    return np.array(values, object)


def ones(*shape):
    return np.ones(shape, np.float32)


def scalar(value):
    return np.array(value, np.int64)


DATA = [
    (CATEGORY, "OneHotEncoder", [strings("q")], {**ML, "cats_strings": ["x", "z"], "zeros": 0}),
    (CATEGORY, "OneHotEncoder", [ints(7)], {**ML, "cats_int64s": [1, 2], "zeros": 0}),
    (NUMBER, "Cast", [strings("dog")], {"to": 1}),
    (NUMBER, "Cast", [strings("dog")], {"to": 7}),
    (NUMBER, "Cast", [strings("9" * 20)], {"to": 6}),
    (INDEX, "ArrayFeatureExtractor", [ones(1, 2), ints(5)], ML),
    (INDEX, "Gather", [ones(2), ints(5)], {}),
    (INDEX, "Gather", [ones(2), ints(-9)], {}),
    (INDEX, "GatherElements", [ones(2), ints(5)], {}),
    (INDEX, "GatherND", [ones(2), ints(5)[None]], {}),
    (INDEX, "ScatterND", [ones(2), ints(5)[None], ones(1)], {}),
    (INDEX, "ScatterElements", [ones(2), ints(5), ones(1)], {}),
    (INDEX, "RoiAlign", [ones(1, 1, 4, 4), ones(1, 4), ints(5)], {}),
    (INDEX, "MaxUnpool", [ones(1, 1, 1, 1), np.full((1, 1, 1, 1), 99)], {"kernel_shape": [2, 2], "strides": [2, 2]}),
    (ZERO, "Div", [ints(1, 2), ints(1, 0)], {}),
    (ZERO, "Mod", [ints(1, 2), ints(1, 0)], {}),
    (SIZES, "Reshape", [ones(2), ints(5)], {}),
    (SIZES, "Concat", [ones(1, 2), ones(1, 3)], {"axis": 0}),
    (SIZES, "MatMul", [ones(1, 2), ones(1, 3)], {}),
    (SIZES, "Gemm", [ones(1, 2), ones(1, 3)], {}),
    (SIZES, "Add", [ones(2), ones(3)], {}),
    (SIZES, "Expand", [ones(2), ints(5)], {}),
    (SIZES, "TopK", [ones(2), ints(9)], {}),
    (SIZES, "Pad", [ones(2), ints(-5, 0)], {}),
    (SIZES, "Pad", [ones(2), ints(9, 9)], {"mode": "reflect"}),
    (SIZES, "Squeeze", [ones(2), ints(0)], {}),
    (SIZES, "Unsqueeze", [ones(2), ints(9)], {}),
    (SIZES, "Split", [ones(2), ints(3, 4)], {}),
    (SIZES, "CumSum", [ones(2), scalar(7)], {}),
    (SIZES, "ReduceSum", [ones(2), ints(7)], {}),
    (SIZES, "ConstantOfShape", [ints(-4)], {}),
    (SIZES, "ConstantOfShape", [ints(1 << 40, 1 << 40)], {}),
    (SIZES, "NonMaxSuppression", [ones(1, 2, 3), ones(1, 1, 2)], {}),
    (SIZES, "Conv", [ones(1, 2, 3, 3), ones(1, 3, 2, 2)], {}),
    (SIZES, "MaxPool", [ones(1, 1, 2, 2)], {"kernel_shape": [5, 5]}),
    (SIZES, "QuantizeLinear", [ones(2), ones(3)], {"axis": 0}),
    (SIZES, "Det", [ones(2, 3)], {}),
    (REFUSED, "Tile", [ones(2), ints(-1)], {}),
    (REFUSED, "Slice", [ones(2), ints(0), ints(1), ints(0), ints(0)], {}),
    (REFUSED, "OneHot", [ints(1, 2), ints(-3), floats(0, 1)], {}),
    (REFUSED, "Range", [scalar(1), scalar(2), scalar(0)], {}),
    (REFUSED, "ReverseSequence", [ones(4, 2), ints(9, 9)], {}),
    (REFUSED, "DepthToSpace", [ones(1, 3, 2, 2)], {"blocksize": 2}),
    (REFUSED, "DFT", [ones(1, 4, 1), scalar(-4)], {}),
    (REFUSED, "Scaler", [ones(1, 2)], {**ML, "scale": [1.0, 2.0, 3.0], "offset": [1.0, 2.0, 3.0]}),
]


def run(tmp_path, operator, arrays, attributes):
    """Return the error of a model with one node, whose inputs are the request's."""
    helper = onnx.helper
    outputs = ["y", "z"] if operator in ("TopK", "Split") else ["y"]
    inputs = {f"x{index}": array for index, array in enumerate(arrays)}
    nodes = [helper.make_node(operator, list(inputs), outputs, name="n", **attributes)]
    infos = [
        helper.make_tensor_value_info(name, _element(array), [None] * array.ndim) for name, array in inputs.items()
    ]
    graph = helper.make_graph(nodes, "g", infos, [onnx.ValueInfoProto(name=name) for name in outputs])
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("ai.onnx.ml", 3)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), tmp_path / "m.onnx")
    backend = ONNXBackend({"intra_op_threads": 1})
    backend.load(tmp_path / "m.onnx").unwrap()
    return backend.execute(ExecutionRequest(inputs=inputs)).unwrap_err()


def _element(array):
    dtype = DataType.of(array.dtype)
    assert dtype is not None
    return {DataType.BYTES: 8, DataType.INT64: 7, DataType.FP32: 1}[dtype]


@pytest.mark.engine("onnx")
@pytest.mark.parametrize(("hint", "operator", "arrays", "attributes"), DATA)
def test_the_data_are_the_callers(hint, operator, arrays, attributes, tmp_path):
    error = run(tmp_path, operator, arrays, attributes)
    assert error.code is ErrorCode.INVALID_ARGUMENT, error
    assert error.message.startswith(f"node `n` ({operator}) failed: ")
    assert "ONNXRuntimeError" not in error.message
    assert error.hint is not None
    assert error.hint.startswith(hint)


@pytest.mark.engine("onnx")
def test_memory_that_the_machine_does_not_have_is_the_engines(tmp_path):
    error = run(tmp_path, "ConstantOfShape", [ints(1 << 44)], {})
    assert (error.code, error.hint) == (
        ErrorCode.RESOURCE_EXHAUSTED,
        "use a smaller batch, fewer instances, or unload another model",
    )


@pytest.mark.engine("onnx")
def test_a_category_is_named_as_what_it_is(tmp_path):
    text = run(tmp_path, "Cast", [strings("dog")], {"to": 1}).message
    assert text == "node `n` (Cast) failed: a string among the inputs is not a number, or not one that fits the type"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("CUDNN failure 4001: CUDNN_STATUS_ALLOC_FAILED ; GPU=0", ErrorCode.RESOURCE_EXHAUSTED),
        ("CUDA failure 2: out of memory ; GPU=0", ErrorCode.RESOURCE_EXHAUSTED),
        ("CUDNN failure 8: CUDNN_STATUS_EXECUTION_FAILED, dimension", ErrorCode.INTERNAL),
        ("CUBLAS failure 13: CUBLAS_STATUS_EXECUTION_FAILED ; GPU=0", ErrorCode.INTERNAL),
        ("CUDA failure 98: invalid device function ; GPU=0", ErrorCode.INTERNAL),
        ("Something broke", ErrorCode.INTERNAL),
        ("", ErrorCode.INTERNAL),
    ],
)
def test_the_engines_own(text, code):
    node = f"Non-zero status code returned while running Conv node. Name:'c' Status Message: {text}"
    error = execute_error(RuntimeError(node))
    assert error.code is code
    assert error.message.startswith("node `c` (Conv) failed: ")


def test_the_innermost_node_of_a_branch_is_named():
    inner = "Non-zero status code returned while running Gather node. Name:'g' Status Message: idx=5 out of bounds"
    outer = f"Non-zero status code returned while running If node. Name:'i' Status Message: {inner}"
    assert execute_error(RuntimeError(outer)).message == "node `g` (Gather) failed: idx=5 out of bounds"


CAPTURING = [
    "CUDA failure 900: operation not permitted when stream is capturing ; GPU=0 ; hostname=h ; file=cuda_allocator.cc",
    "CUDA error cudaErrorStreamCaptureUnsupported:operation not permitted when stream is capturing",
]


@pytest.mark.parametrize("text", CAPTURING)
def test_a_recording_of_the_application_while_a_model_runs_or_loads(text, tmp_path):
    where = "Non-zero status code returned while running Conv node. Name:'c' Status Message:"
    node = f"Error in execution: {where} {text}"
    for error in (execute_error(RuntimeError(node)), load_error(RuntimeError(text), tmp_path / "m.onnx")):
        assert (error.code, error.hint) == (ErrorCode.UNAVAILABLE, CAPTURE_HINT)
        assert "the application records a CUDA graph" in error.message
        assert error.cause is not None
        assert text in error.cause


def test_a_gpu_that_fails_while_a_model_loads_is_not_the_models_fault():
    text = "CUDA failure 35: CUDA driver version is insufficient for CUDA runtime version ; GPU=0"
    assert load_error(RuntimeError(text), configs_dir() / "model" / "digits.onnx").code is ErrorCode.UNAVAILABLE
