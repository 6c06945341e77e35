"""`TVMBackend` on real libraries: built from ONNX, loaded, called, and refused where they are not whole."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from aegisrt import ExecutionRequest, TVMBackend
from aegisrt.core.result import ErrorCode
from aegisrt.core.sidecar import read_sidecar, sidecar_path
from aegisrt.core.tensor import DataType, Signature, TensorSpec
from tests.backends import onnx_models as made
from tests.backends.onnx_models import FLOAT, INT64, node, tensor, weight
from tests.backends.tvm.elsewhere import strip

pytestmark = pytest.mark.engine("tvm")
MODELS = Path(__file__).resolve().parents[3] / "configs" / "model"


def build(source: Path, name: str = "model.so", **options) -> Path:
    target = source.with_name(name)
    TVMBackend(options).build(source, target).unwrap()
    return target


def serve(path: Path, inputs, outputs=None, **options):
    backend = TVMBackend(options)
    backend.load(path).unwrap()
    return backend.execute(ExecutionRequest(inputs=inputs, outputs=outputs)).unwrap()


@pytest.fixture(scope="module")
def digits(tmp_path_factory) -> Path:
    source = tmp_path_factory.mktemp("digits") / "digits.onnx"
    shutil.copy(MODELS / "digits.onnx", source)
    return build(source)


@pytest.fixture
def copied(digits: Path, tmp_path: Path) -> Path:
    for path in (digits, sidecar_path(digits)):
        shutil.copy(path, tmp_path / path.name)
    return tmp_path / digits.name


# -- answers ---------------------------------------------------------------------------------------------------------


def test_digits_are_predicted_as_on_onnx_runtime(digits):
    ort = pytest.importorskip("onnxruntime")
    images = np.load(MODELS / "digits.images.npy")
    session = ort.InferenceSession(MODELS / "digits.onnx", providers=["CPUExecutionProvider"])
    (expected,) = session.run(None, {"image": images})
    got = serve(digits, {"image": images}).outputs["probabilities"]
    np.testing.assert_array_equal(got.argmax(axis=1), expected.argmax(axis=1))
    np.testing.assert_allclose(got, expected, atol=1e-5)


def test_names_shapes_and_dtypes_are_those_of_the_model(digits):
    backend = TVMBackend()
    backend.load(digits).unwrap()
    assert backend.signature == Signature(
        (TensorSpec("image", DataType.FP32, ("batch", 1, 8, 8)),),
        (TensorSpec("probabilities", DataType.FP32, ("batch", 10)),),
    )


def test_an_untuned_library_says_so_in_the_metadata(digits):
    metadata = serve(digits, {"image": np.zeros((1, 1, 8, 8), np.float32)}).metadata
    assert metadata["tuned"] is False
    assert metadata["engine"]


def test_names_that_no_compiler_takes_are_kept(tmp_path):
    source = made.save(
        tmp_path,
        made.model(
            [node("Add", "serving:0 #include", "out/0;}", 'x"; /*')],
            [tensor("serving:0", FLOAT, ("a b", None)), tensor("#include", FLOAT, ("a b", None))],
            [tensor("out/0;}", FLOAT, ("a b", None))],
        ),
    )
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    outputs = serve(build(source), {"serving:0": x, "#include": x}).outputs
    np.testing.assert_array_equal(outputs["out/0;}"], x + x)


def test_several_outputs_come_in_the_model_s_order_and_in_the_order_asked(tmp_path):
    source = made.save(
        tmp_path,
        made.model(
            [node("Neg", "x", "z"), node("Abs", "x", "a")],
            [tensor("x")],
            [tensor("z"), tensor("a")],
        ),
    )
    x = np.asarray([-1, 2], np.float32)
    library = build(source)
    assert list(serve(library, {"x": x}).outputs) == ["z", "a"]
    outputs = serve(library, {"x": x}, ["a", "z"]).outputs
    assert list(outputs) == ["a", "z"]
    np.testing.assert_array_equal(outputs["a"], [1, 2])
    np.testing.assert_array_equal(outputs["z"], [1, -2])


def test_outputs_are_the_caller_s_own(tmp_path):
    """Views of inputs, of other outputs and of constants are copied: TVM hands out its own memory for them."""
    shapes = {"same": (2, 2), "flat": (4,), "n": (2, 2), "m": (4,), "constant": (1,)}
    source = made.save(
        tmp_path,
        made.model(
            [
                node("Identity", "x", "same"),
                node("Reshape", "x s", "flat"),
                node("Neg", "x", "n"),
                node("Reshape", "n s", "m"),
                node("Add", "c c", "constant"),
            ],
            [tensor("x", FLOAT, (2, 2))],
            [tensor(name, FLOAT, shape) for name, shape in shapes.items()],
            [weight("s", np.asarray([4])), weight("c", np.asarray([2], np.float32))],
        ),
    )
    backend = TVMBackend()
    backend.load(build(source)).unwrap()
    room = np.empty(64 + 16, np.uint8)
    start = -room.ctypes.data % 64
    x = room[start : start + 16].view(np.float32).reshape(2, 2)
    x[:] = [[1, 2], [3, 4]]
    for _ in range(2):
        outputs = backend.execute(ExecutionRequest(inputs={"x": x})).unwrap().outputs
        for name, value in outputs.items():
            others = [x, *(other for key, other in outputs.items() if key != name)]
            assert not any(np.shares_memory(value, other) for other in others), f"`{name}` is shared"
        np.testing.assert_array_equal(outputs["constant"], [4])
        np.testing.assert_array_equal(outputs["m"], [-1, -2, -3, -4])
        for value in outputs.values():
            value[...] = 77
        assert x[0, 0] == 1


def test_a_view_of_a_staged_input_is_not_overwritten_by_the_next_call(tmp_path):
    source = made.save(
        tmp_path,
        made.model([node("Reshape", "x s", "y")], [tensor("x", FLOAT, (2, 2))], [tensor("y", FLOAT, (4,))],
                   [weight("s", np.asarray([4]))]),
    )  # fmt: skip
    backend = TVMBackend()
    backend.load(build(source)).unwrap()
    x = np.ones((2, 2), np.float32)
    x.flags.writeable = False
    first = backend.execute(ExecutionRequest(inputs={"x": x})).unwrap().outputs["y"]
    backend.execute(ExecutionRequest(inputs={"x": x * 5})).unwrap()
    np.testing.assert_array_equal(first, [1, 1, 1, 1])


def aligned_at_64(size: int) -> np.ndarray:
    room = np.zeros(size * 4 + 64, np.uint8)
    start = -room.ctypes.data % 64
    return room[start : start + size * 4].view(np.float32)


def test_strides_of_axes_that_nothing_walks_along_do_not_matter(tmp_path):
    """numpy calls an array contiguous whatever the strides of axes of one element, or of any where there is none."""
    source = made.save(
        tmp_path,
        made.model(
            [node("MatMul", "x w", "m"), node("Relu", "m", "y")],
            [tensor("x", FLOAT, ("n", 4))],
            [tensor("y", FLOAT, ("n", 2))],
            [weight("w", np.ones((4, 2), np.float32))],
        ),
    )
    backend = TVMBackend()
    backend.load(build(source)).unwrap()
    base = aligned_at_64(64).reshape(4, 16)
    base[...] = 1
    odd = {
        "one row": base[:1, :4],
        "no rows": base[:0, :4],
        "no rows of a step": base[2:0:3, :4],
    }
    for name, x in odd.items():
        assert x.flags.c_contiguous, name
        y = backend.execute(ExecutionRequest(inputs={"x": x})).unwrap().outputs["y"]
        np.testing.assert_array_equal(y, np.full((len(x), 2), 4), err_msg=name)


def test_a_shape_as_output_is_a_tensor(tmp_path):
    source = made.save(
        tmp_path,
        made.model([node("Shape", "x", "y")], [tensor("x", FLOAT, ("n", 3))], [tensor("y", INT64, (2,))]),
    )
    y = serve(build(source), {"x": np.zeros((5, 3), np.float32)}).outputs["y"]
    assert y.dtype == np.int64
    np.testing.assert_array_equal(y, [5, 3])


def test_external_weights_are_built_in(tmp_path):
    source = made.save_with_external_weights(tmp_path, [1, 2, 3])
    library = build(source)
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    for path in (library, sidecar_path(library)):
        shutil.move(path, moved / path.name)
    y = serve(moved / library.name, {"x": np.zeros(3, np.float32)}).outputs["y"]
    np.testing.assert_array_equal(y, [1, 2, 3])


# -- building --------------------------------------------------------------------------------------------------------


def test_an_operator_that_tvm_cannot_take_is_named_with_what_to_do(tmp_path):
    source = made.save(
        tmp_path,
        made.model([node("Det", "x", "y")], [tensor("x", FLOAT, (3, 3))], [tensor("y", FLOAT, ())]),
    )
    error = TVMBackend().build(source, tmp_path / "m.so").unwrap_err()
    assert error.code is ErrorCode.UNIMPLEMENTED
    assert "`Det`" in error.message
    assert "backend: onnx" in error.hint
    assert (tmp_path / "m.so.log").exists()
    assert not (tmp_path / "m.so").exists()


def test_strings_are_refused_before_anything_is_compiled(tmp_path):
    source = made.save(tmp_path, made.identity(made.STRING))
    error = TVMBackend().build(source, tmp_path / "m.so").unwrap_err()
    assert error.code is ErrorCode.UNIMPLEMENTED
    assert "BYTES" in error.message


def test_without_a_linker_nothing_is_compiled(tmp_path, monkeypatch):
    source = tmp_path / "digits.onnx"
    shutil.copy(MODELS / "digits.onnx", source)
    for name in ("CXX", "CC"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    told: list[str] = []
    error = TVMBackend().build(source, tmp_path / "model.so", progress=told.append).unwrap_err()
    assert error.code is ErrorCode.UNAVAILABLE
    assert "g++" in error.hint
    assert told == []


@pytest.mark.parametrize(("target", "words"), [("x86_64-linux-gnu", "cannot find -lstdc++"), ("", "triple")])
def test_a_linker_that_fails_is_named_with_its_own_words(tmp_path, monkeypatch, target, words):
    source = made.save(tmp_path, made.identity())
    compiler = tmp_path / "broken-c++"
    dumps = f'[ "$1" = -dumpmachine ] && echo {target} && exit 0\n' if target else ""
    compiler.write_text(f"#!/bin/sh\n{dumps}echo 'cannot find -lstdc++' >&2\nexit 1\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    error = TVMBackend().build(source, tmp_path / "m.so").unwrap_err()
    assert error.code is ErrorCode.FAILED_PRECONDITION
    assert str(compiler) in error.message
    assert "CXX" in error.hint
    assert words in error.cause
    assert not (tmp_path / "m.so").exists()


def test_a_build_that_takes_too_long_is_stopped(tmp_path):
    source = made.save(tmp_path, made.identity())
    backend = TVMBackend({"build": {"timeout_s": 0.2}})
    error = backend.build(source, tmp_path / "m.so").unwrap_err()
    assert error.code is ErrorCode.DEADLINE_EXCEEDED
    assert list(tmp_path.glob(".build-*")) == []


def test_out_of_memory_is_the_same_error_at_each_step_of_a_build(tmp_path):
    """Parsing, copying, importing, compiling: the allocation that is refused is another one at each size."""
    weights = np.random.default_rng(0).random((4096, 4096), np.float32)
    source = made.save(
        tmp_path,
        made.model([node("MatMul", "x w", "y")], [tensor("x", FLOAT, (1, 4096))], [tensor("y", FLOAT, (1, 4096))],
                   [weight("w", weights)]),
    )  # fmt: skip
    errors = []
    for mib in (256, 300, 360, 420, 512, 650):
        backend = TVMBackend({"build": {"memory_bytes": mib * 2**20}})
        result = backend.build(source, tmp_path / "m.so")
        errors += [result.unwrap_err()] if result.is_err() else []
    assert len(errors) >= 4
    for error in errors:
        assert error.code is ErrorCode.RESOURCE_EXHAUSTED, error
        assert "`build.memory_bytes`" in error.message
        assert "`build.memory_bytes`" in error.hint


def test_what_is_no_onnx_model_is_not_built(tmp_path):
    (tmp_path / "m.onnx").write_bytes(b"\x89PNG\r\n\x1a\n")
    error = TVMBackend().build(tmp_path / "m.onnx", tmp_path / "m.so").unwrap_err()
    assert error.code is ErrorCode.INVALID_ARGUMENT


def test_free_dimensions_are_fixed_in_code_and_signature(tmp_path):
    source = made.save(tmp_path, made.identity(FLOAT, ("n", "m")))
    library = build(source, free_dimensions={"n": 4})
    backend = TVMBackend()
    backend.load(library).unwrap()
    assert backend.signature.inputs[0].shape == (4, "m")
    wrong = TVMBackend({"free_dimensions": {"k": 4}}).build(source, tmp_path / "other.so").unwrap_err()
    assert wrong.code is ErrorCode.INVALID_ARGUMENT
    assert "`k`" in wrong.message


# -- loading ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.001, 0.3, 0.99])
@pytest.mark.parametrize("keep", [True, False], ids=["with sidecar", "alone"])
def test_a_library_that_is_cut_short_never_reaches_the_linker(copied, share, keep):
    content = copied.read_bytes()
    copied.write_bytes(content[: int(len(content) * share)])
    if not keep:
        sidecar_path(copied).unlink()
    assert TVMBackend().load(copied).unwrap_err().code is ErrorCode.DATA_LOSS


def test_a_damaged_byte_is_found_by_the_digest(copied):
    content = bytearray(copied.read_bytes())
    content[len(content) // 2] ^= 0xFF
    copied.write_bytes(content)
    error = TVMBackend().load(copied).unwrap_err()
    assert error.code is ErrorCode.DATA_LOSS
    assert "sha256" in error.message


def test_a_damaged_sidecar_is_data_loss(copied):
    path = sidecar_path(copied)
    path.write_text(path.read_text().replace("image", "imagf"))
    assert TVMBackend().load(copied).unwrap_err().code is ErrorCode.DATA_LOSS


def test_an_onnx_model_is_told_to_be_built_first(tmp_path):
    source = made.save(tmp_path, made.identity())
    error = TVMBackend().load(source).unwrap_err()
    assert error.code is ErrorCode.INVALID_ARGUMENT
    assert "build" in (error.hint or "")


def test_a_library_of_another_engine_version_is_a_failed_precondition(copied):
    rewrite(copied, "engine", "0.1.0")
    error = TVMBackend().load(copied).unwrap_err()
    assert error.code is ErrorCode.FAILED_PRECONDITION
    assert "0.1.0" in error.message


def test_a_library_for_another_processor_is_a_failed_precondition(copied):
    rewrite(copied, "target", {"kind": "llvm", "mcpu": "znver5"})
    error = TVMBackend().load(copied).unwrap_err()
    if error is not None:
        assert error.code is ErrorCode.FAILED_PRECONDITION
        assert "znver5" in error.message


def rewrite(library: Path, name: str, value) -> None:
    from dataclasses import replace

    from aegisrt.core.sidecar import write_sidecar

    sidecar = read_sidecar(library)
    write_sidecar(library, replace(sidecar, recipe={**sidecar.recipe, name: value}), trailer=True)


def test_a_library_without_sidecar_tells_its_inputs_and_has_numbered_outputs(copied):
    strip(copied)
    backend = TVMBackend()
    backend.load(copied).unwrap()
    (taken,), (given,) = backend.signature.inputs, backend.signature.outputs
    assert (taken.dtype, taken.shape[1:]) == (DataType.FP32, (1, 8, 8))
    assert (given.name, given.dtype, given.shape) == ("output_0", DataType.FP32, (None, None))
    images = np.load(MODELS / "digits.images.npy")[:4]
    outputs = backend.execute(ExecutionRequest(inputs={taken.name: images})).unwrap().outputs
    assert outputs["output_0"].shape == (4, 10)


def test_a_library_without_sidecar_has_the_signature_that_the_options_declare(copied):
    strip(copied)
    declared = json.loads(
        '{"inputs": {"image": {"dtype": "FP32", "shape": ["b", 1, 8, 8]}}, "outputs": {"p": {"dtype": "FP32"}}}'
    )
    y = serve(copied, {"image": np.zeros((2, 1, 8, 8), np.float32)}, signature=declared).outputs["p"]
    assert y.shape == (2, 10)


def test_several_inputs_of_a_library_without_sidecar_are_told(tmp_path):
    ends = [tensor("a", FLOAT, ("n", 3)), tensor("b", INT64, (2,)), tensor("c", made.BOOL, ())]
    nodes = [node("Neg", "a", "x"), node("Neg", "b", "y"), node("Not", "c", "z")]
    outputs = [tensor("x", FLOAT, ("n", 3)), tensor("y", INT64, (2,)), tensor("z", made.BOOL, ())]
    library = build(made.save(tmp_path, made.model(nodes, ends, outputs)))
    strip(library)
    backend = TVMBackend()
    backend.load(library).unwrap()
    found = [(spec.dtype, spec.shape and spec.shape[1:]) for spec in backend.signature.inputs]
    assert found == [(DataType.FP32, (3,)), (DataType.INT64, ()), (DataType.BOOL, ())]
    assert [spec.dtype for spec in backend.signature.outputs] == [DataType.FP32, DataType.INT64, DataType.BOOL]


def test_an_entry_that_is_not_there_is_an_invalid_argument(digits):
    error = TVMBackend({"entry": "nope"}).load(digits).unwrap_err()
    assert error.code is ErrorCode.INVALID_ARGUMENT
    assert "`nope`" in error.message


def test_a_library_that_is_no_tvm_library_is_an_invalid_argument(tmp_path):
    path = tmp_path / "other.so"
    shutil.copy(np._core._multiarray_umath.__file__, path)
    code = TVMBackend().load(path).unwrap_err().code
    assert code in (ErrorCode.INVALID_ARGUMENT, ErrorCode.FAILED_PRECONDITION)


def test_another_library_at_the_same_path_is_another_library(tmp_path):
    answers = []
    for factor in (2, 3):
        source = made.save(
            tmp_path,
            made.model([node("Mul", "x c", "y")], [tensor("x")], [tensor("y")],
                       [weight("c", np.asarray([factor], np.float32))]),
        )  # fmt: skip
        library = build(source)
        backend = TVMBackend()
        backend.load(library).unwrap()
        answers.append((backend, factor))
    for backend, factor in answers:
        y = backend.execute(ExecutionRequest(inputs={"x": np.ones(2, np.float32)})).unwrap().outputs["y"]
        np.testing.assert_array_equal(y, [factor, factor])


def test_outputs_outlive_the_library(digits):
    backend = TVMBackend()
    backend.load(digits).unwrap()
    images = np.load(MODELS / "digits.images.npy")[:8]
    kept = backend.execute(ExecutionRequest(inputs={"image": images})).unwrap().outputs["probabilities"]
    copy = kept.copy()
    backend.unload().unwrap()
    del backend
    np.testing.assert_array_equal(kept, copy)


def test_a_plain_library_of_operators_is_called(tmp_path):
    tvm = pytest.importorskip("tvm")
    from tvm import te

    n = te.var("n")
    a, b = (te.placeholder((n,), name=name, dtype="float32") for name in "ab")
    c = te.compute((n,), lambda i: a[i] + b[i], name="c")
    function = te.create_prim_func([a, b, c]).with_attr("global_symbol", "default_function")
    library = tmp_path / "op.so"
    tvm.compile(tvm.IRModule({"default_function": function}), tvm.target.Target({"kind": "llvm"})).export_library(
        str(library)
    )
    spec = {"dtype": "FP32", "shape": ["n"]}
    declared = {"inputs": {"a": spec, "b": spec}, "outputs": {"c": spec}}
    x = np.arange(5, dtype=np.float32)
    for options in ({}, {"signature": declared}):
        y = serve(library, {"a": x, "b": x}, **options).outputs["c"]
        np.testing.assert_array_equal(y, x + x)


@pytest.mark.skipif(
    not hasattr(os, "sched_getaffinity"), reason="this system does not tell on which cores a thread runs"
)
@pytest.mark.parametrize("threads", [1, 2])
def test_a_call_does_not_pin_the_caller_to_a_core(digits, threads):
    before = os.sched_getaffinity(0)
    serve(digits, {"image": np.zeros((1, 1, 8, 8), np.float32)}, threads=threads)
    assert os.sched_getaffinity(0) == before


def test_a_default_value_is_compiled_in_and_another_one_is_refused_by_name(tmp_path):
    source = made.save(
        tmp_path,
        made.model(
            [node("Mul", "x gain", "y")],
            [tensor("x", FLOAT, ("n", 3)), tensor("gain", FLOAT, ())],
            [tensor("y", FLOAT, ("n", 3))],
            [weight("gain", np.asarray(2, np.float32))],
        ),
    )
    backend, x = TVMBackend(), np.ones((2, 3), np.float32)
    backend.load(build(source)).unwrap()
    assert [spec.name for spec in backend.signature.inputs] == ["x"]
    assert backend.signature.defaults_fixed == ("gain",)
    np.testing.assert_array_equal(backend.execute(ExecutionRequest(inputs={"x": x})).unwrap().outputs["y"], x * 2)
    request = ExecutionRequest(inputs={"x": x, "gain": np.asarray(3, np.float32)})
    error = backend.execute(request).unwrap_err()
    assert error.code is ErrorCode.UNIMPLEMENTED
    assert "`gain`" in error.message
