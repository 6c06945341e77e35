"""Functions of fixed shape: each declared shape has its own, others take the dynamic one, or are refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from aegisrt import ExecutionRequest, TVMBackend
from aegisrt.backends.tvm.run.library import cpu_slot
from aegisrt.core.result import ErrorCode
from aegisrt.core.sidecar import read_sidecar
from tests.backends import onnx_models as made
from tests.backends.onnx_models import FLOAT, node, tensor

pytestmark = pytest.mark.engine("tvm")
MODELS = Path(__file__).resolve().parents[3] / "configs" / "model"
SHAPES = {"image": [[1, 1, 8, 8], [16, 1, 8, 8]]}


def built(source: Path, **options) -> TVMBackend:
    backend = TVMBackend(options)
    library = source.with_suffix(".so")
    backend.build(source, library).unwrap()
    backend.load(library).unwrap()
    return backend


def call(backend, **inputs):
    return backend.execute(ExecutionRequest(inputs=inputs))


@pytest.fixture(scope="module")
def digits(tmp_path_factory) -> TVMBackend:
    source = tmp_path_factory.mktemp("digits") / "digits.onnx"
    shutil.copy(MODELS / "digits.onnx", source)
    return built(source, shapes=SHAPES)


@pytest.mark.parametrize("batch", [1, 16, 5])
def test_declared_and_other_shapes_are_answered_alike(digits, batch):
    images = np.load(MODELS / "digits.images.npy")
    expected = call(digits, image=images[:40]).unwrap().outputs["probabilities"][:batch]
    got = call(digits, image=images[:batch]).unwrap().outputs["probabilities"]
    np.testing.assert_allclose(got, expected, atol=1e-6)


def test_the_library_has_a_function_for_each_shape_and_a_dynamic_one(digits):
    functions = read_sidecar(next(iter(digits._loaded.engine.path.parent.glob("*.so")))).metadata["functions"]
    assert [(item["name"], item["shapes"]) for item in functions] == [
        ("shape_0", [[1, 1, 8, 8]]),
        ("shape_1", [[16, 1, 8, 8]]),
        ("main", None),
    ]


def test_a_declared_shape_calls_its_own_function(digits):
    slot = cpu_slot(digits._loaded.engine)
    called = []
    functions = slot._functions
    functions._variants = {shapes: lambda *_, s=shapes: called.append(s) for shapes in functions._variants}
    functions._default = lambda *_: called.append("main")
    slot._handover = lambda *_: []
    for batch in (1, 2, 16):
        slot.call({"image": np.zeros((batch, 1, 8, 8), np.float32)}, ("probabilities",))
    assert called == [((1, 1, 8, 8),), "main", ((16, 1, 8, 8),)]


def test_shapes_of_several_inputs_go_together(tmp_path):
    source = made.save(
        tmp_path,
        made.model([node("Add", "a b", "y")], [tensor("a", FLOAT, ("n",)), tensor("b", FLOAT, ("n",))], [tensor("y")]),
    )
    backend = built(source, shapes={"a": [[2], [3]], "b": [[2], [3]]})
    assert sorted(backend._loaded.engine.variants) == [((2,), (2,)), ((3,), (3,))]
    for size in (2, 3, 4):
        x = np.arange(size, dtype=np.float32)
        np.testing.assert_array_equal(call(backend, a=x, b=x).unwrap().outputs["y"], x + x)


@pytest.mark.parametrize(
    ("shapes", "word"),
    [
        ({"image": [[1, 2, 8, 8]]}, "[?,1,8,8]"),
        ({"image": [[1, 1, 8]]}, "[1,1,8]"),
        ({"imag": [[1, 1, 8, 8]]}, "`imag`"),
    ],
)
def test_shapes_that_the_model_does_not_have_are_refused(tmp_path, shapes, word):
    error = TVMBackend({"shapes": shapes}).build(MODELS / "digits.onnx", tmp_path / "m.so").unwrap_err()
    assert error.code is ErrorCode.INVALID_ARGUMENT
    assert word in f"{error.message} {error.hint}".replace("batch", "?")


def test_lists_of_different_length_are_refused():
    with pytest.raises(Exception, match="the same number of entries"):
        TVMBackend({"shapes": {"a": [[1]], "b": [[1], [2]]}})


def test_a_model_that_has_no_dynamic_form_serves_its_fixed_shapes(tmp_path):
    """TVM's importer takes TopK with a constant number alone, which here is one only once the shape is fixed."""
    source = made.save(
        tmp_path,
        made.model(
            [
                node("Shape", "x", "s"),
                node("TopK", "x s", "y i"),
            ],
            [tensor("x", FLOAT, ("n",))],
            [tensor("y")],
        ),
    )
    backend = built(source, shapes={"x": [[4]]})
    np.testing.assert_array_equal(
        call(backend, x=np.asarray([3, 1, 4, 2], np.float32)).unwrap().outputs["y"], [4, 3, 2, 1]
    )
    error = call(backend, x=np.zeros(5, np.float32)).unwrap_err()
    assert error.code is ErrorCode.INVALID_ARGUMENT
    assert "[4]" in error.hint


def hint_of(tmp_path, model):
    error = TVMBackend().build(made.save(tmp_path, model), tmp_path / "m.so").unwrap_err()
    assert error.code is ErrorCode.UNIMPLEMENTED
    return error.hint


@pytest.mark.parametrize(
    ("dims", "options"), [(("a", "b"), "`free_dimensions` or `shapes`"), ((None, None), "`shapes`")]
)
def test_fixed_sizes_are_offered_if_the_model_then_compiles(tmp_path, dims, options):
    model = made.model(
        [node("Expand", "x shape", "y")],
        [tensor("x", FLOAT, dims)],
        [tensor("y", FLOAT, None)],
        [made.weight("shape", np.asarray([2, 1, 1]))],
    )
    assert f"fix its sizes with {options}, or run this model on" in hint_of(tmp_path, model)
    library = tmp_path / "fixed.so"
    TVMBackend({"shapes": {"x": [[3, 1]]}}).build(tmp_path / "model.onnx", library).unwrap()


@pytest.mark.parametrize("operator", ["Det", "DepthToSpace"])
def test_fixed_sizes_are_not_offered_if_they_do_not_help(tmp_path, operator):
    """One that TVM has no converter for, and one whose attribute is wrong at every size."""
    attributes = {"blocksize": 0} if operator == "DepthToSpace" else {}
    ends = [tensor("x", FLOAT, ("n", 4, "h", "w")), tensor("y", FLOAT, None)]
    model = made.model([node(operator, "x", "y", **attributes)], ends[:1], ends[1:])
    assert "free_dimensions" not in hint_of(tmp_path, model)
