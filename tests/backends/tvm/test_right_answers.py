"""What TVM computes wrongly without an error is refused by name, or computed correctly after all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from aegisrt import ExecutionRequest, ONNXBackend, TVMBackend
from aegisrt.core.result import ErrorCode, ResultError
from tests.backends import onnx_models as made
from tests.backends.onnx_models import BOOL, FLOAT, INT32, INT64, helper, tensor, weight

pytestmark = [pytest.mark.engine("tvm"), pytest.mark.engine("onnx"), pytest.mark.filterwarnings("ignore::UserWarning")]
FLOAT8, SOME_INT4 = 17, 22
IMAGE, ROWS, MATRIX = tensor("x", FLOAT, (1, 4, 4, 5)), tensor("x", FLOAT, ("n",)), tensor("x", FLOAT, ("n", 4))
BOXES, SCORES = tensor("x", FLOAT, (1, 6, 4)), tensor("scores", FLOAT, (1, 1, 6))


def one(operator, inputs, constants=None, *, names=None, outputs=("y",), opset=18, **attributes):
    """Return a model of one operator; `names` are its inputs, by default the model's and then the constants."""
    constants = constants or {}
    names = names or [*(value.name for value in inputs), *constants]
    nodes = [helper.make_node(operator, names, outputs, **attributes)]
    weights = [weight(name, np.asarray(value)) for name, value in constants.items()]
    return made.model(nodes, inputs, [tensor(name, FLOAT, None) for name in outputs], weights, opset=opset, ir=10)


def resize(scales, **attributes):
    constants = {"s": np.asarray(scales, np.float32)}
    return one("Resize", [IMAGE], constants, names=["x", "", "s"], mode="linear", opset=19, **attributes)


def cast(to):
    return one("Cast", [ROWS], to=to, opset=21)


ONES = np.ones(4, np.float32)
STATISTICS = dict.fromkeys(("scale", "b", "mean", "variance"), ONES)
RATIO, YES = np.float32(0.5), np.asarray(True)
REFUSED = {
    "BatchNormalization": ("`training_mode: 1`", one(
        "BatchNormalization", [IMAGE], STATISTICS, outputs=("y", "m", "v"), training_mode=1)),
    "BitShift": ("a shift that is not", one(
        "BitShift", [tensor("x", INT32), tensor("by", INT32)], direction="LEFT")),
    "BitShift by more than the bits": ("a shift that is not", one(
        "BitShift", [tensor("x", INT32)], {"by": np.asarray([40], np.int32)}, direction="LEFT")),
    "Cast": ("a cast to FLOAT8", cast(FLOAT8)),
    "Cast to 4 bits": ("less than 8 bits", cast(SOME_INT4)),
    "ConvTranspose": ("`output_shape: [9, 11]`", one(
        "ConvTranspose", [IMAGE], {"w": np.ones((4, 1, 3, 3), np.float32)}, strides=[2, 2], output_shape=[9, 11])),
    "Dropout": ("`training_mode`", one("Dropout", [ROWS], {"r": RATIO, "t": YES})),
    "Dropout, as an input says": ("`training_mode`", one("Dropout", [ROWS, tensor("t", BOOL, ())], {"r": RATIO},
                                                        names=["x", "r", "t"])),
    "Expand": ("a `shape` that is not", one("Expand", [MATRIX, tensor("shape", INT64, (2,))])),
    "IsInf": ("`detect_negative: 0`", one("IsInf", [ROWS], detect_negative=0)),
    "IsInf of the other sign": ("`detect_positive: 0`", one("IsInf", [ROWS], detect_positive=0)),
    "LayerNormalization": ("`Mean`", one("LayerNormalization", [MATRIX], {"s": ONES}, outputs=("y", "mean"))),
    "Mod": ("`fmod: 0`", one("Mod", [ROWS], {"by": np.asarray([1.5], np.float32)})),
    "NonMaxSuppression": ("limits that are not", one("NonMaxSuppression", [BOXES, SCORES, tensor("m", INT64, (1,))])),
    "Resize": ("`scales`", resize([1, 1, 0.6, 1])),
    "Resize, antialiased": ("`antialias: 1`", resize([1, 1, 0.5, 1], antialias=1)),
    "Resize of some axes": ("`axes`", one("Resize", [IMAGE], {"s": np.asarray([2, 2], np.float32)},
                                          names=["x", "", "s"], axes=[2, 3])),
    "RoiAlign": ("`mode: max`", one(
        "RoiAlign", [IMAGE, tensor("r", FLOAT, (1, 4)), tensor("i", INT64, (1,))], mode="max")),
    "SpaceToDepth": ("`mode: CRD`", one("SpaceToDepth", [IMAGE], blocksize=2, mode="CRD")),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_use_that_tvm_computes_wrongly_is_refused_by_name(name):
    pytest.importorskip("tvm")
    from aegisrt.backends.tvm.build.importing import imported

    words, model = REFUSED[name]
    with pytest.raises(ResultError) as caught:
        imported(model, "main")
    error = caught.value.error
    assert error.code is ErrorCode.UNIMPLEMENTED
    assert f"`{name.partition(',')[0].split()[0]}`" in error.message
    assert words in error.message
    assert "backend: onnx" in error.hint


TAKEN = {
    "IsInf": one("IsInf", [ROWS]),
    "Resize": resize([1, 1, 2, 0.4]),
    "LayerNormalization with outputs that nothing reads": made.model(
        [helper.make_node("LayerNormalization", ["x", "s"], ["y", "mean", "deviation"])],
        [MATRIX], [tensor("y", FLOAT, None)], [weight("s", ONES)]),
    "Dropout that is off": one("Dropout", [ROWS], {"r": RATIO, "t": np.asarray(False)}),
    "BitShift": one("BitShift", [tensor("x", INT32)], {"by": np.asarray([31], np.int32)}, direction="LEFT"),
    "Expand": one("Expand", [MATRIX], {"shape": np.asarray([2, 1, 4])}),
    "Mod": one("Mod", [ROWS], {"by": np.asarray([1.5], np.float32)}, fmod=1),
}  # fmt: skip


@pytest.mark.parametrize("name", TAKEN)
def test_the_other_uses_are_taken(name):
    pytest.importorskip("tvm")
    from aegisrt.backends.tvm.build.importing import imported

    if name == "Expand":  # of a dimension whose size is known
        TAKEN[name].graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    imported(TAKEN[name], "main")


def test_a_refusal_reaches_the_caller_of_a_build(tmp_path):
    error = TVMBackend().build(made.save(tmp_path, REFUSED["RoiAlign"][1]), tmp_path / "m.so").unwrap_err()
    assert error.code is ErrorCode.UNIMPLEMENTED
    assert error.message == "TVM cannot take operator `RoiAlign` of the model: it computes `mode: max` wrongly"


def both(model, folder: Path, inputs):
    """Return the outputs on ONNX Runtime and on TVM."""
    source, library = made.save(folder, model), folder / "model.so"
    TVMBackend().build(source, library).unwrap()
    for backend, path in ((ONNXBackend(), source), (TVMBackend(), library)):
        backend.load(path).unwrap()
        yield backend.execute(ExecutionRequest(inputs=inputs)).unwrap().outputs


REDUCTIONS = ("ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL2", "ReduceLogSumExp")


@pytest.mark.parametrize("shape", [("n", "m"), (2, 0)], ids=str)
def test_reductions_over_nothing_and_over_infinities(tmp_path, shape):
    nodes = [helper.make_node(name, ["x", "axes"], [name], keepdims=0) for name in REDUCTIONS]
    nodes.append(helper.make_node("MatMul", ["x", "w"], ["MatMul"]))
    ends = [tensor("x", FLOAT, shape), tensor("w", FLOAT, (shape[1], 3))]
    outputs = [tensor(name, FLOAT, None) for name in (*REDUCTIONS, "MatMul")]
    model = made.model(nodes, ends, outputs, [weight("axes", np.asarray([1]))], opset=18)
    cases = [np.zeros((2, 0), np.float32)]
    if shape == ("n", "m"):
        cases += [np.full((2, 3), -np.inf, np.float32), np.full((2, 3), np.inf, np.float32)]
    for x in cases:
        wanted, got = both(model, tmp_path, {"x": x, "w": np.ones((x.shape[1], 3), np.float32)})
        for name in wanted:
            if name == "ReduceLogSumExp" and x.size:
                continue  # of infinities it is NaN here and there
            np.testing.assert_array_equal(got[name], wanted[name], err_msg=f"{name} of {x.tolist()}")


def test_repetitions_of_two_axes_and_overlaps_at_the_threshold(tmp_path):
    boxes = np.asarray([[[0, 0, 1, 1], [0, 0, 1, 0.5], [0, 0, 1, 0.9], [5, 5, 6, 6], [5, 5, 6, 6], [9, 9, 9, 9]]])
    scores = np.asarray([[[0.9, 0.8, 0.7, 0.6, 0.5, 0.4]]])
    limits = {"most": np.asarray([9]), "overlap": np.asarray([0.5], np.float32)}
    model = made.model(
        [
            helper.make_node("Tile", ["t", "times"], ["tiled"]),
            helper.make_node("NonMaxSuppression", ["x", "scores", "most", "overlap"], ["kept"]),
        ],
        [tensor("t", FLOAT, (2, 3, 4, 5)), BOXES, SCORES],
        [tensor("tiled", FLOAT, None), tensor("kept", INT64, ("k", 3))],
        [weight("times", np.asarray([1, 6, 4, 1])), *(weight(name, value) for name, value in limits.items())],
    )
    t = np.random.default_rng(0).random((2, 3, 4, 5), np.float32)
    inputs = {"t": t, "x": boxes.astype(np.float32), "scores": scores.astype(np.float32)}
    wanted, got = both(model, tmp_path, inputs)
    np.testing.assert_array_equal(got["tiled"], np.tile(t, (1, 6, 4, 1)))
    assert 1 in wanted["kept"][:, 2], "the overlap with the first box is the threshold itself"
    np.testing.assert_array_equal(got["kept"], wanted["kept"])
