from __future__ import annotations

import gc
import subprocess
import sys
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from aegisrt.backends.onnx.backend import ONNXBackend, direct_run
from aegisrt.core.request import ExecutionRequest
from aegisrt.core.resources import configs_dir
from aegisrt.core.result import ErrorCode
from aegisrt.core.tensor import DataType, TensorSpec
from tests.backends.onnx_models import BOOL, FLOAT, INT64, helper, identity, model, node, save, tensor, weight

pytestmark = pytest.mark.engine("onnx")
ONE_THREAD = {"intra_op_threads": 1}
X = np.arange(4, dtype=np.float32)


def load(path: Path, options: dict | None = None, **more) -> ONNXBackend:
    backend = ONNXBackend(ONE_THREAD | (options or {}), **more)
    backend.load(path).unwrap()
    return backend


def run(backend: ONNXBackend, wanted=None, **inputs) -> dict:
    return backend.execute(ExecutionRequest(inputs=inputs, outputs=wanted)).unwrap().outputs


@pytest.fixture
def forked(tmp_path: Path) -> ONNXBackend:
    """Return a loaded model with three inputs and three outputs, none of them in the order of their names."""
    nodes = [node("Add", "z x", "sum"), node("Neg", "x", "opposite"), node("Mul", "z m", "alike")]
    inputs = [tensor("z"), tensor("x"), tensor("m", FLOAT, [])]
    outputs = [tensor("sum"), tensor("opposite"), tensor("alike")]
    return load(save(tmp_path, model(nodes, inputs, outputs)))


class TestSignature:
    def test_inputs_and_outputs_in_the_models_order(self, forked):
        assert [spec.name for spec in forked.signature.inputs] == ["z", "x", "m"]
        assert [spec.name for spec in forked.signature.outputs] == ["sum", "opposite", "alike"]

    @pytest.mark.parametrize("shape", [[], [1], ["n", 3], [None, 2], ["a*b+1"], [0], None])
    def test_shapes(self, tmp_path, shape):
        signature = load(save(tmp_path, identity(FLOAT, shape))).signature
        want = None if shape is None else tuple(shape)
        assert signature.inputs == (TensorSpec("x", DataType.FP32, want),)
        assert signature.outputs == (TensorSpec("y", DataType.FP32, want),)

    def test_weights_that_a_caller_can_override_are_optional_inputs(self, tmp_path):
        made = model(
            [node("Add", "x b", "y")],
            [tensor("x"), tensor("b", FLOAT, [1])],
            [tensor("y")],
            [weight("b", np.ones(1, np.float32))],
        )
        backend = load(save(tmp_path, made))
        assert [spec.name for spec in backend.signature.inputs] == ["x", "b"]
        assert [spec.name for spec in backend.signature.required] == ["x"]
        np.testing.assert_array_equal(run(backend, x=X)["y"], X + 1)

    def test_an_output_of_another_rank_than_declared(self, tmp_path):
        made = model([node("Identity", "x", "y")], [tensor("x", FLOAT, ["a", "b"])], [tensor("y", FLOAT, [1])])
        backend = load(save(tmp_path, made))
        assert backend.signature.outputs[0].shape is None
        assert run(backend, x=np.zeros((2, 3), np.float32))["y"].shape == (2, 3)

    def test_a_model_without_inputs(self, tmp_path):
        made = model([node("Identity", "w", "y")], [], [tensor("y", FLOAT, [4])], [weight("w", X)])
        backend = load(save(tmp_path, made))
        assert backend.signature.inputs == ()
        np.testing.assert_array_equal(run(backend)["y"], X)

    def test_an_input_that_is_an_output_too(self, tmp_path):
        made = model([node("Neg", "x", "y")], [tensor("x")], [tensor("x"), tensor("y")])
        outputs = run(load(save(tmp_path, made)), x=X)
        np.testing.assert_array_equal(outputs["x"], X)
        assert not np.shares_memory(outputs["x"], X)

    def test_an_optional_tensor_is_an_input(self, tmp_path):
        optional = helper.make_value_info(
            "x", helper.make_optional_type_proto(helper.make_tensor_type_proto(FLOAT, [4]))
        )
        made = model([node("OptionalHasElement", "x", "y")], [optional], [tensor("y", BOOL, [])], opset=18)
        assert run(load(save(tmp_path, made)), x=X)["y"]


class TestOutputsThatAreNoTensors:
    @pytest.fixture
    def sequence(self, tmp_path: Path) -> Path:
        pair = helper.make_tensor_sequence_value_info("pair", FLOAT, None)
        nodes = [node("SequenceConstruct", "x x", "pair"), node("Neg", "x", "y")]
        return save(tmp_path, model(nodes, [tensor("x")], [pair, tensor("y")]))

    def test_they_are_left_out_and_named(self, sequence):
        backend = load(sequence)
        assert [spec.name for spec in backend.signature.outputs] == ["y"]
        assert backend.signature.omitted == (("pair", "seq(tensor(float))"),)
        assert list(run(backend, x=X)) == ["y"]

    def test_asking_for_one_is_an_error_that_names_its_type(self, sequence):
        error = load(sequence).execute(ExecutionRequest(inputs={"x": X}, outputs=["y", "pair"])).unwrap_err()
        assert error.code is ErrorCode.UNIMPLEMENTED
        assert error.message == "output `pair` is seq(tensor(float)), and only tensors are served"

    def test_a_zipmap(self):
        datasets = pytest.importorskip("onnxruntime.datasets", reason="onnxruntime is not installed")
        backend = load(Path(datasets.get_example("logreg_iris.onnx")))
        assert backend.signature.omitted == (("probabilities", "seq(map(int64,tensor(float)))"),)
        assert run(backend, float_input=np.zeros((3, 2), np.float32))["label"].shape == (3,)

    def test_a_model_with_no_other_outputs_does_not_load(self, tmp_path):
        pair = helper.make_tensor_sequence_value_info("pair", FLOAT, None)
        path = save(tmp_path, model([node("SequenceConstruct", "x x", "pair")], [tensor("x")], [pair]))
        error = ONNXBackend().load(path).unwrap_err()
        assert error.code is ErrorCode.UNIMPLEMENTED
        assert "`pair` is seq(tensor(float))" in error.message

    def test_a_tensor_of_an_unserved_element_type_is_called_that(self, tmp_path):
        eighths = tensor("eighths", helper.TensorProto.FLOAT8E4M3FN)
        nodes = [node("Cast", "x", "eighths", to=helper.TensorProto.FLOAT8E4M3FN), node("Neg", "x", "y")]
        backend = load(save(tmp_path, model(nodes, [tensor("x")], [eighths, tensor("y")], opset=19)))
        assert list(run(backend, x=X)) == ["y"]
        error = backend.execute(ExecutionRequest(inputs={"x": X}, outputs=["eighths"])).unwrap_err()
        assert error.code is ErrorCode.UNIMPLEMENTED
        assert error.message == "output `eighths` is a tensor of FLOAT8E4M3FN, and this element type is not served"
        assert "add a Cast" in error.hint
        error = ONNXBackend().load(save(tmp_path, model(nodes[:1], [tensor("x")], [eighths], opset=19))).unwrap_err()
        assert (
            "can be served: `eighths` is a tensor of FLOAT8E4M3FN, and this element type is not served" in error.message
        )

    def test_an_input_of_that_sort_does_not_load(self, tmp_path):
        pair = helper.make_tensor_sequence_value_info("pair", FLOAT, None)
        path = save(tmp_path, model([node("SequenceLength", "pair", "y")], [pair], [tensor("y", INT64, [])]))
        error = ONNXBackend().load(path).unwrap_err()
        assert error.code is ErrorCode.UNIMPLEMENTED
        assert "input `pair`" in error.message


class TestOutputs:
    def test_a_subset_in_the_order_of_the_request(self, forked):
        z, m = X + 10, np.float32(3)
        all_of = run(forked, z=z, x=X, m=m)
        assert list(all_of) == ["sum", "opposite", "alike"]
        some = run(forked, ["alike", "sum"], z=z, x=X, m=m)
        assert list(some) == ["alike", "sum"]
        np.testing.assert_array_equal(some["alike"], z * 3)
        np.testing.assert_array_equal(some["sum"], z + X)

    def test_outputs_share_no_memory_with_anything(self, tmp_path):
        """An initializer, a copy of the input and a reshaped input as outputs: what an engine would like to alias."""
        nodes = [node("Identity", "w", "a"), node("Identity", "x", "b"), node("Reshape", "x shape", "c"),
                 node("Identity", "b", "d")]  # fmt: skip
        outputs = [tensor("w", FLOAT, [4]), tensor("a", FLOAT, [4]), tensor("b"), tensor("c", FLOAT, None), tensor("d")]
        made = model(nodes, [tensor("x")], outputs, [weight("w", X), weight("shape", [2, 2])])
        backend, x = load(save(tmp_path, made)), X.copy()
        first = run(backend, x=x)
        kept = {name: value.copy() for name, value in first.items()}
        arrays = [x, *first.values(), *run(backend, x=x).values()]
        for at, left in enumerate(arrays):
            assert not any(np.shares_memory(left, right) for right in arrays[at + 1 :]), f"array {at} is shared"
        for value in first.values():
            value[...] = 99
        np.testing.assert_array_equal(x, X)
        for name, value in run(backend, x=x).items():
            np.testing.assert_array_equal(value, kept[name])

    def test_outputs_outlive_the_model(self, tmp_path):
        backend = load(save(tmp_path, identity(FLOAT, ["n"])))
        made = [run(backend, x=np.full(50_000, number, np.float32))["y"] for number in range(20)]
        backend.unload().unwrap()
        del backend
        gc.collect()
        churn = [np.full(50_000, -1, np.float32) for _ in range(50)]
        assert churn
        for number, value in enumerate(made):
            assert (value == number).all(), f"output {number} changed after unload"

    def test_inputs_are_never_written(self, tmp_path):
        nodes = [node("Relu", "x", "r"), node("Neg", "r", "y")]
        backend, x = load(save(tmp_path, model(nodes, [tensor("x")], [tensor("y")]))), -X
        x.flags.writeable = False
        run(backend, x=x)
        np.testing.assert_array_equal(x, -X)

    def test_control_flow(self, tmp_path):
        branches = [
            helper.make_graph([node(operator, "x", out)], out, [], [tensor(out)])
            for operator, out in (("Neg", "negative"), ("Identity", "same"))
        ]
        made = model([node("If", "flag", "y", then_branch=branches[0], else_branch=branches[1])],
                     [tensor("flag", BOOL, []), tensor("x")], [tensor("y")])  # fmt: skip
        backend = load(save(tmp_path, made))
        np.testing.assert_array_equal(run(backend, flag=np.bool_(True), x=X)["y"], -X)
        np.testing.assert_array_equal(run(backend, flag=np.bool_(False), x=X)["y"], X)


def test_the_result_names_the_engine_and_the_provider(forked):
    result = forked.execute(ExecutionRequest(inputs={"z": X, "x": X, "m": np.float32(1)})).unwrap()
    assert result.metadata["providers"] == ("CPUExecutionProvider",)
    assert result.metadata["engine"] == f"onnxruntime {ONNXBackend.availability().version}"
    assert result.timings.compute > 0


def test_an_ort_format_model(tmp_path):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "model.ort")
    options.log_severity_level = 4
    onnxruntime.InferenceSession(identity().SerializeToString(), options, providers=["CPUExecutionProvider"])
    backend = load(tmp_path / "model.ort")
    assert backend.signature.inputs == (TensorSpec("x", DataType.FP32, ("n",)),)
    np.testing.assert_array_equal(run(backend, x=X)["y"], X)


def test_a_path_with_spaces_and_other_letters(tmp_path):
    folder = tmp_path / "mit Leerzeichen 模型"
    folder.mkdir()
    np.testing.assert_array_equal(run(load(save(folder, identity())), x=X)["y"], X)


def test_unload_releases_the_session_at_once(tmp_path):
    backend = load(save(tmp_path, identity()), instances=4)
    result = backend.execute(ExecutionRequest(inputs={"x": X})).unwrap()
    session = weakref.ref(backend.session)
    backend.unload().unwrap()
    assert backend.session is None
    assert session() is None, "something still holds the session"
    np.testing.assert_array_equal(result.outputs["y"], X)


def test_the_unload_hook_releases_the_session_whoever_holds_the_engine(tmp_path):
    backend = ONNXBackend(ONE_THREAD)
    engine = backend._load(save(tmp_path, identity()))
    session = weakref.ref(engine.session)
    backend._unload(engine)
    assert session() is None


@pytest.mark.parametrize("instances", [1, 4])
def test_sixteen_threads_times_two_thousand_requests(tmp_path, instances):
    nodes = [node("Mul", "x x", "square"), node("Neg", "x", "opposite")]
    backend = load(
        save(tmp_path, model(nodes, [tensor("x")], [tensor("square"), tensor("opposite")])), instances=instances
    )

    def calls(number: int) -> int:
        x = np.arange(8, dtype=np.float32) + number
        request = ExecutionRequest(inputs={"x": x})
        good = 0
        for _ in range(2000):
            outputs = backend.execute(request).unwrap().outputs
            good += bool((outputs["square"] == x * x).all() and (outputs["opposite"] == -x).all())
        return good

    with ThreadPoolExecutor(16) as pool:
        assert sum(pool.map(calls, range(16))) == 16 * 2000


_LOAD_AND_UNLOAD = """
import os, sys
import numpy as np
from aegisrt import ExecutionRequest, ONNXBackend

def resident_mb():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6

backend = ONNXBackend({"intra_op_threads": 2})
for turn in range(550):
    backend.load(sys.argv[1]).unwrap()
    (image,) = backend.signature.inputs
    request = ExecutionRequest(inputs={image.name: np.zeros((16, *image.shape[1:]), np.float32)})
    result = backend.execute(request).unwrap()
    backend.unload().unwrap()
    if turn == 49:
        before = resident_mb()
print(resident_mb() - before, len(os.listdir("/proc/self/task")))
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="resident memory is read from /proc")
def test_loading_and_unloading_five_hundred_times_keeps_no_memory_and_no_threads():
    digits = configs_dir() / "model" / "digits.onnx"
    done = subprocess.run(
        [sys.executable, "-c", _LOAD_AND_UNLOAD, str(digits)], capture_output=True, text=True, check=True
    )
    grown_mb, threads = done.stdout.split()
    assert float(grown_mb) < 5, f"resident memory grew by {grown_mb} MB"
    assert int(threads) < 8, f"{threads} threads are left"


def test_a_call_skips_the_checks_that_onnx_runtime_repeats_in_python(tmp_path):
    """Of the installed release; a session whose compiled one has another name is called as documented."""
    backend, seen = load(save(tmp_path, identity(FLOAT, ["n", 3]))), []

    def note(frame, event, argument):
        if event == "call":
            seen.append(frame.f_code.co_filename)

    request = ExecutionRequest(inputs={"x": np.ones((2, 3), np.float32)})
    sys.setprofile(note)
    try:
        answer = backend.execute(request)
    finally:
        sys.setprofile(None)
    assert answer.unwrap().outputs["y"].tolist() == [[1, 1, 1], [1, 1, 1]]
    assert any("aegisrt/backends/onnx" in path for path in seen)
    assert not any("onnxruntime" in path for path in seen)


def test_a_session_without_a_compiled_one_is_called_as_documented():
    class Session:
        def run(self, outputs, inputs, options=None):
            return [outputs, inputs, options]

    assert direct_run(Session())(("y",), {"x": 1}) == [("y",), {"x": 1}, None]


def test_an_error_of_the_engine_is_the_same_as_by_the_documented_call(tmp_path):
    ends = [tensor("x", FLOAT, ["n"])], [tensor("y", FLOAT, ["a", "b"])]
    made = model([node("Reshape", "x shape", "y")], *ends, [weight("shape", np.array([2, 3]))])
    backend = load(save(tmp_path, made))
    x = np.zeros(5, np.float32)
    with pytest.raises(Exception, match="Reshape") as documented:
        backend.session.run(["y"], {"x": x})
    error = backend.execute(ExecutionRequest(inputs={"x": x})).unwrap_err()
    assert type(documented.value).__name__ in error.cause
