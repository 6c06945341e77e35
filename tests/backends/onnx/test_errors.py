from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from aegisrt.backends.onnx.backend import ONNXBackend
from aegisrt.backends.onnx.errors import execute_error
from aegisrt.core.request import ExecutionRequest
from aegisrt.core.resources import configs_dir
from aegisrt.core.result import Error, ErrorCode
from tests.backends.onnx_models import (
    BF16,
    FLOAT,
    INT32,
    INT64,
    identity,
    model,
    node,
    onnx,
    save,
    save_with_external_weights,
    tensor,
)

pytestmark = pytest.mark.engine("onnx")
UNSTABLE = re.compile(r"0x[0-9a-f]{4,}|\.(cc|h|cpp|hpp):\d+|onnxruntime_src|::|\[ONNXRuntimeError\]|\n")


@pytest.fixture(autouse=True)
def _quiet(capfd):
    """A handled error is a result; neither stderr nor stdout say it a second time."""
    yield
    out, err = capfd.readouterr()
    assert (out, err) == ("", "")


def load_error(path: Path) -> Error:
    error = ONNXBackend({"intra_op_threads": 1}).load(path).unwrap_err()
    assert not UNSTABLE.search(error.message), error.message
    return error


def run_error(folder: Path, made, **inputs) -> Error:
    backend = ONNXBackend({"intra_op_threads": 1})
    backend.load(save(folder, made)).unwrap()
    error = backend.execute(ExecutionRequest(inputs=inputs)).unwrap_err()
    assert not UNSTABLE.search(error.message), error.message
    return error


class TestFiles:
    def test_missing(self, tmp_path):
        assert load_error(tmp_path / "none.onnx").code is ErrorCode.NOT_FOUND

    def test_a_directory(self, tmp_path):
        assert load_error(tmp_path).code is ErrorCode.INVALID_ARGUMENT

    def test_empty(self, tmp_path):
        (tmp_path / "model.onnx").touch()
        assert load_error(tmp_path / "model.onnx").code is ErrorCode.DATA_LOSS

    @pytest.mark.parametrize(
        ("content", "words"),
        [
            (b"\x7fELF\x02\x01\x01" + bytes(100), "a native library (ELF)"),
            (b"PK\x03\x04" + bytes(100), "a ZIP archive"),
            (b"GGUF\x03" + bytes(100), "a GGUF model"),
            (b'{"format": "aegisrt-mock/v1"}', "a text file (JSON, XML or YAML)"),
            (b"just some words\n", "a text file"),
            (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a Git LFS pointer"),
            (b"\x14\x00\x00\x00ORTM" + bytes(100), "an ORT-format model under another name"),
            (b"\xfe\xdc\xba\x98" * 30, "is not an ONNX model"),
        ],
    )
    def test_another_format(self, tmp_path, content, words):
        (tmp_path / "model.onnx").write_bytes(content)
        error = load_error(tmp_path / "model.onnx")
        assert error.code is ErrorCode.INVALID_ARGUMENT
        assert words in error.message

    @pytest.mark.parametrize("part", [0.0001, 0.1, 0.5, 0.9, 0.999])
    def test_truncated(self, tmp_path, part):
        content = (configs_dir() / "model" / "digits.onnx").read_bytes()
        (tmp_path / "model.onnx").write_bytes(content[: int(len(content) * part)])
        assert load_error(tmp_path / "model.onnx").code is ErrorCode.DATA_LOSS

    def test_damaged_where_only_the_parser_sees_it(self, tmp_path):
        content = identity().SerializeToString()
        at = content.index(b"Identity")
        (tmp_path / "model.onnx").write_bytes(content[: at - 1] + b"\x7f" + content[at:])
        error = load_error(tmp_path / "model.onnx")
        assert (error.code, error.message) == (ErrorCode.DATA_LOSS, f"{tmp_path / 'model.onnx'} is damaged")

    def test_without_outputs(self, tmp_path):
        assert (
            load_error(save(tmp_path, model([node("Neg", "x", "y")], [tensor("x")], []))).code
            is ErrorCode.INVALID_ARGUMENT
        )

    def test_without_a_graph(self, tmp_path):
        made = identity()
        made.ClearField("graph")
        assert load_error(save(tmp_path, made)).code is ErrorCode.DATA_LOSS

    @pytest.mark.parametrize(
        ("content", "code"),
        [
            (b"\x14\x00\x00\x00ORTM" + bytes(100), ErrorCode.DATA_LOSS),
            (b"words, words", ErrorCode.INVALID_ARGUMENT),
            (identity().SerializeToString(), ErrorCode.INVALID_ARGUMENT),
        ],
    )
    def test_ort_format(self, tmp_path, content, code):
        (tmp_path / "model.ort").write_bytes(content)
        assert load_error(tmp_path / "model.ort").code is code

    def test_a_failed_load_can_be_followed_by_a_good_one(self, tmp_path):
        (tmp_path / "bad.onnx").write_bytes(b"no")
        backend = ONNXBackend()
        assert backend.load(tmp_path / "bad.onnx").is_err()
        assert backend.load(save(tmp_path, identity())).is_ok()


class TestVersions:
    def test_an_ir_version_that_is_too_new(self, tmp_path):
        error = load_error(save(tmp_path, model([node("Neg", "x", "y")], [tensor("x")], [tensor("y")], ir=30)))
        assert error.code is ErrorCode.FAILED_PRECONDITION
        assert re.search(r"has ONNX IR version 30, ONNX Runtime here reads up to \d+$", error.message)
        assert "pip install --upgrade onnxruntime" in error.hint

    @pytest.mark.parametrize(("domain", "told"), [("", "ai.onnx"), ("ai.onnx.ml", "ai.onnx.ml")])
    def test_an_opset_that_is_too_new(self, tmp_path, domain, told):
        made = identity()
        del made.opset_import[:]
        made.opset_import.append(onnx.helper.make_opsetid("", 17))
        entry = made.opset_import[0] if not domain else made.opset_import.add()
        entry.domain, entry.version = domain, 99
        error = load_error(save(tmp_path, made))
        assert error.code is ErrorCode.FAILED_PRECONDITION
        assert re.search(rf"needs opset 99 of `{told}`, ONNX Runtime here has up to \d+$", error.message)


class TestOperators:
    def test_one_that_does_not_exist(self, tmp_path):
        error = load_error(save(tmp_path, model([node("Frobnicate", "x", "y", "f1")], [tensor("x")], [tensor("y")])))
        assert error.code is ErrorCode.UNIMPLEMENTED
        assert "node `f1` (Frobnicate): ONNX has no such operator in opset 17" in error.message

    def test_one_of_another_domain(self, tmp_path):
        made = model(
            [node("Frobnicate", "x", "y", domain="com.acme")], [tensor("x")], [tensor("y")], domains=[("com.acme", 1)]
        )
        error = load_error(save(tmp_path, made))
        assert error.code is ErrorCode.UNIMPLEMENTED
        assert "no operator `Frobnicate` of domain `com.acme`" in error.message

    def test_one_without_a_kernel_for_the_types(self, tmp_path):
        ends = [tensor(name, BF16, [2, 2]) for name in "xy"]
        error = load_error(save(tmp_path, model([node("MatMul", "x x", "y", "m1")], ends[:1], ends[1:])))
        assert error.code is ErrorCode.UNIMPLEMENTED
        assert "node `m1` (MatMul): no kernel for its element types" in error.message

    def test_an_element_type_that_does_not_exist_there(self, tmp_path):
        error = load_error(save(tmp_path, identity(14)))
        assert error.code is ErrorCode.UNIMPLEMENTED
        assert "tensor(complex64)" in error.message

    @pytest.mark.parametrize(
        ("nodes", "words"),
        [
            ([node("Add", "x i", "y", "a1")], "bound to different types"),
            ([node("Add", "x missing", "y")], "'missing' is not a graph input"),
            ([node("Add", "x z", "y"), node("Add", "x y", "z")], "not acyclic"),
        ],
    )
    def test_a_graph_that_cannot_be(self, tmp_path, nodes, words):
        error = load_error(save(tmp_path, model(nodes, [tensor("x"), tensor("i", INT64)], [tensor("y")])))
        assert error.code is ErrorCode.INVALID_ARGUMENT
        assert words in error.message
        assert error.cause


class TestExternalWeights:
    W = np.arange(100, dtype=np.float32)

    def test_they_are_read(self, tmp_path):
        backend = ONNXBackend()
        backend.load(save_with_external_weights(tmp_path, self.W)).unwrap()
        outputs = backend.execute(ExecutionRequest(inputs={"x": self.W})).unwrap().outputs
        np.testing.assert_array_equal(outputs["y"], self.W * 2)

    def test_missing(self, tmp_path):
        path = save_with_external_weights(tmp_path, self.W)
        (tmp_path / "weights.bin").unlink()
        error = load_error(path)
        assert error.code is ErrorCode.NOT_FOUND
        assert error.message == f"{tmp_path / 'weights.bin'} does not exist; {path} keeps weights in it"

    def test_cut_short(self, tmp_path):
        path = save_with_external_weights(tmp_path, self.W)
        (tmp_path / "weights.bin").write_bytes(bytes(40))
        error = load_error(path)
        assert error.code is ErrorCode.DATA_LOSS
        assert error.message.startswith("weights.bin, with weights of")

    @pytest.mark.parametrize("location", ["../weights.bin", "/etc/hostname", "a/../../weights.bin"])
    def test_outside_of_the_models_folder(self, tmp_path, location):
        (tmp_path / "weights.bin").write_bytes(self.W.tobytes())
        folder = tmp_path / "model"
        folder.mkdir()
        made = onnx.load(save_with_external_weights(folder, self.W), load_external_data=False)
        for entry in made.graph.initializer[0].external_data:
            if entry.key == "location":
                entry.value = location
        error = load_error(save(folder, made))
        assert error.code is ErrorCode.PERMISSION_DENIED
        assert location in error.message

    def test_through_a_link_that_leads_outside(self, tmp_path):
        folder = tmp_path / "model"
        folder.mkdir()
        path = save_with_external_weights(folder, self.W)
        (folder / "weights.bin").rename(tmp_path / "weights.bin")
        (folder / "weights.bin").symlink_to(tmp_path / "weights.bin")
        assert load_error(path).code is ErrorCode.PERMISSION_DENIED

    def test_model_and_weights_linked_from_one_place(self, tmp_path):
        """As download caches lay them out."""
        store, view = tmp_path / "store", tmp_path / "view"
        store.mkdir()
        view.mkdir()
        save_with_external_weights(store, self.W)
        for name in ("model.onnx", "weights.bin"):
            (view / name).symlink_to(store / name)
        assert ONNXBackend().load(view / "model.onnx").is_ok()

    def test_another_fault_of_such_a_model_is_told_as_it_is(self, tmp_path):
        made = onnx.load(save_with_external_weights(tmp_path, self.W), load_external_data=False)
        made.graph.node[0].input[0] = "nowhere"
        error = load_error(save(tmp_path, made))
        assert error.code is ErrorCode.INVALID_ARGUMENT
        assert "nowhere" in error.message


@pytest.mark.parametrize("raised", [MemoryError(), NotImplementedError("x")])
def test_what_the_engine_did_not_raise_is_left_to_the_base_class(tmp_path, monkeypatch, raised):
    backend = ONNXBackend()
    backend.load(save(tmp_path, identity())).unwrap()

    def run(*_):
        raise raised

    monkeypatch.setattr(backend._loaded.engine, "run", run)
    error = backend.execute(ExecutionRequest(inputs={"x": np.zeros(1, np.float32)})).unwrap_err()
    assert error.code in (ErrorCode.RESOURCE_EXHAUSTED, ErrorCode.UNIMPLEMENTED)
    assert error.message.startswith("onnx failed while executing the model")


class TestRunning:
    def test_an_index_out_of_range(self, tmp_path):
        made = model([node("Gather", "x i", "y", "g1")], [tensor("x"), tensor("i", INT64)], [tensor("y")])
        error = run_error(tmp_path, made, x=np.zeros(3, np.float32), i=np.array([7]))
        assert error.code is ErrorCode.INVALID_ARGUMENT
        assert error.message.startswith("node `g1` (Gather) failed: indices element out of data bounds, idx=7")

    def test_a_reshape_that_does_not_fit(self, tmp_path):
        made = model([node("Reshape", "x s", "y", "r1")], [tensor("x"), tensor("s", INT64)], [tensor("y", FLOAT, None)])
        error = run_error(tmp_path, made, x=np.zeros(3, np.float32), s=np.array([7]))
        assert error.code is ErrorCode.INVALID_ARGUMENT
        assert error.message.startswith("node `r1` (Reshape) failed: The input tensor cannot be reshaped")

    def test_a_broadcast_that_does_not_fit(self, tmp_path):
        made = model(
            [node("Add", "x z", "y", "a1")], [tensor("x"), tensor("z", FLOAT, ["m"])], [tensor("y", FLOAT, None)]
        )
        error = run_error(tmp_path, made, x=np.zeros(3, np.float32), z=np.zeros(2, np.float32))
        assert error.code is ErrorCode.INVALID_ARGUMENT
        assert error.message.startswith("node `a1` (Add) failed: ")

    def test_a_division_by_zero(self, tmp_path):
        made = model([node("Div", "x z", "y", "d1")], [tensor("x", INT32), tensor("z", INT32)], [tensor("y", INT32)])
        error = run_error(tmp_path, made, x=np.ones(2, np.int32), z=np.zeros(2, np.int32))
        assert (error.code, error.message) == (
            ErrorCode.INVALID_ARGUMENT,
            "node `d1` (Div) failed: Integer division by zero",
        )

    def test_more_memory_than_there_is(self, tmp_path):
        made = model([node("Expand", "x s", "y", "e1")], [tensor("x"), tensor("s", INT64)], [tensor("y", FLOAT, None)])
        error = run_error(tmp_path, made, x=np.zeros(1, np.float32), s=np.array([1 << 45]))
        assert error.code is ErrorCode.RESOURCE_EXHAUSTED
        assert "Failed to allocate memory" in error.message

    def test_a_model_serves_on_after_an_error(self, tmp_path):
        made = model([node("Gather", "x i", "y")], [tensor("x"), tensor("i", INT64)], [tensor("y")])
        backend = ONNXBackend()
        backend.load(save(tmp_path, made)).unwrap()
        x = np.arange(3, dtype=np.float32)
        for index, good in ((9, False), (2, True), (-9, False), (0, True)):
            result = backend.execute(ExecutionRequest(inputs={"x": x, "i": np.array([index])}))
            assert result.is_ok() is good


WHERE = "/onnxruntime_src/onnxruntime/core/"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"[ONNXRuntimeError] : 1 : FAIL : {WHERE}a.cc:12 void onnxruntime::F::G(const std::map<int, X>&, bool) const "
         "size == other was false. They differ\n", "They differ"),
        (f"[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : {WHERE}b.h:3 T* onnxruntime::F<T>::operator()(int (*)(X)) "
         "[with T = float] Broken\n", "Broken"),
        ("[ONNXRuntimeError] : 1 : FAIL : c.cc:703 operator() Broken (again)", "Broken (again)"),
        ("[ONNXRuntimeError] : 2 : INVALID_ARGUMENT : Load model from /a b/m.onnx failed:Broken", "Broken"),
        ("Error in execution: Non-zero status code returned while running Conv node. Name:'c' Status Message: "
         "bfc_arena.cc:376 void* onnxruntime::BFCArena::Take(size_t, bool, onnxruntime::Stream*) Broken",
         "node `c` (Conv) failed: Broken"),
        ("", "no reason was reported"),
        ("first\n  second", "first second"),
    ],
)  # fmt: skip
def test_build_paths_and_cpp_names_are_left_out(text, message):
    error = execute_error(RuntimeError(text))
    assert error.message == message
    assert error.cause == f"RuntimeError: {text.strip()}"


@pytest.mark.parametrize(
    "said",
    [
        f"{WHERE}framework/bfc_arena.cc:376 void* onnxruntime::BFCArena::AllocateRawInternal(size_t, bool, "
        "onnxruntime::Stream*) Available memory of 955904 is smaller than requested bytes of 16777216",
        f"{WHERE}framework/bfc_arena.cc:359 void* onnxruntime::BFCArena::AllocateRawInternal(size_t, bool, "
        "onnxruntime::Stream*) Failed to allocate memory for requested buffer of size 16777216",
        "CUDNN failure 4001: CUDNN_STATUS_ALLOC_FAILED ; GPU=0",
    ],
)
def test_memory_that_a_gpu_lacks_is_resource_exhausted(said):
    text = f"Error in execution: Non-zero status code returned while running Conv node. Name:'c' Status Message: {said}"
    error = execute_error(RuntimeError(text))
    assert error.code is ErrorCode.RESOURCE_EXHAUSTED
    assert error.message.startswith("node `c` (Conv) failed: ")
    assert not UNSTABLE.search(error.message), error.message
