"""Builds on a real GPU with the installed TensorRT; all but the last test may run side by side (`-n 8`)."""

import subprocess
import sys
import time

import numpy as np
import pytest

pytest.importorskip("pycuda.driver", reason="needs pycuda and a driver", exc_type=ImportError)
pytest.importorskip("onnx", reason="makes the models")

import onnx

from aegisrt import ExecutionRequest, TensorRTBackend
from aegisrt.backends.files.onnx import read_onnx
from aegisrt.backends.tensorrt.distribution import installed, installed_version
from aegisrt.core.resources import configs_dir
from aegisrt.core.result import ErrorCode, ResultError
from tests.backends import onnx_graphs as graphs

BUILDER = next((name for name in ("tensorrt", "tensorrt_rtx") if name in installed()), None)
IS_8 = (installed_version() or (0,))[0] == 8
pytestmark = [pytest.mark.gpu, pytest.mark.skipif(BUILDER is None, reason="no TensorRT that builds is installed")]
only_8 = pytest.mark.skipif(not IS_8, reason="a limit of TensorRT 8")


def build(path, **options):
    """Return the result of a build, and the engine's path."""
    target = path.with_suffix(".engine")
    return TensorRTBackend({"external_tactics": False, **options}).build(path, target), target


def loaded(path, **options):
    result, target = build(path, **options)
    result.unwrap()
    backend = TensorRTBackend()
    backend.load(target).unwrap()
    return backend


def run(backend, **inputs):
    return backend.execute(ExecutionRequest(inputs=inputs)).unwrap().outputs


def refusal(path, **options):
    return build(path, **options)[0].unwrap_err()


@pytest.mark.parametrize("domain", ["", "com.example"])
def test_an_operator_that_the_parser_lacks_is_named(domain, tmp_path):
    operator = "Unique" if not domain else "Frobnicate"
    nodes = [graphs.node(operator, ["x"], ["y"], name="find", domain=domain or None)]
    sides = {"x": (graphs.FLOAT, (3,))}, {"y": (graphs.FLOAT, ("k",))}
    error = refusal(graphs.save(tmp_path / "m.onnx", nodes, *sides, domain=domain or None))
    assert error.code is ErrorCode.UNIMPLEMENTED, error
    assert f"operator `{operator}` (node `find`)" in error.message, error


@only_8
def test_a_valid_model_that_the_parser_calls_invalid_is_unimplemented(tmp_path):
    """Branches of an `If` that differ in rank: ONNX Runtime runs them, TensorRT 8 reports INVALID_NODE."""
    make = onnx.helper.make_graph
    branches = [
        make([graphs.node("Identity", ["x"], ["a"])], "a", [], [onnx.helper.make_tensor_value_info("a", 1, None)]),
        make([graphs.node("Unsqueeze", ["x", "axis"], ["b"])], "b", [],
             [onnx.helper.make_tensor_value_info("b", 1, None)]),
    ]  # fmt: skip
    nodes = [graphs.node("If", ["choice"], ["y"], then_branch=branches[0], else_branch=branches[1])]
    sides = {"x": (graphs.FLOAT, (3,)), "choice": (onnx.TensorProto.BOOL, ())}, {"y": (graphs.FLOAT, None)}
    error = refusal(graphs.save(tmp_path / "m.onnx", nodes, *sides, {"axis": np.array([0])}))
    assert error.code is ErrorCode.UNIMPLEMENTED, error


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_a_quantized_model(precision, tmp_path):
    random = np.random.default_rng(0)
    weights = {
        "s": np.float32(0.05), "z": np.int8(0), "ws": np.float32(0.02),
        "w": random.integers(-20, 20, (4, 3, 3, 3)).astype(np.int8),
    }  # fmt: skip
    nodes = [
        graphs.node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        graphs.node("DequantizeLinear", ["q", "s", "z"], ["d"], name="d1"),
        graphs.node("DequantizeLinear", ["w", "ws", "z"], ["v"], name="d2"),
        graphs.node("Conv", ["d", "v"], ["c"], pads=[1, 1, 1, 1]),
        graphs.node("Relu", ["c"], ["y"]),
    ]
    sides = {"x": (graphs.FLOAT, ("n", 3, 8, 8))}, {"y": (graphs.FLOAT, ("n", 4, 8, 8))}
    path = graphs.save(tmp_path / "m.onnx", nodes, *sides, weights)
    value = random.normal(size=(2, 3, 8, 8)).astype(np.float32)
    rounded = np.clip(np.rint(value / weights["s"]), -128, 127) * weights["s"]
    padded = np.pad(rounded, ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
    wanted = np.maximum(np.einsum("nchwij,ocij->nohw", windows, weights["w"] * weights["ws"]), 0)
    answer = run(loaded(path, precision=precision), x=value)["y"]
    np.testing.assert_allclose(answer, wanted, rtol=5e-3, atol=5e-3)


@pytest.mark.parametrize("names", [("?", 3, "?", "?"), ("n", 3, "side", "side")])
def test_height_and_width_of_one_name_may_differ(names, tmp_path):
    path = graphs.relu(tmp_path / "m.onnx", names)
    spans = {"x": {"min": [1, 3, 48, 192], "opt": [1, 3, 48, 192], "max": [2, 3, 48, 320]}}
    backend = loaded(path, profiles=spans)
    for width in (192, 320):
        value = np.random.default_rng(width).normal(size=(2, 3, 48, width)).astype(np.float32)
        np.testing.assert_array_equal(run(backend, x=value)["y"], np.maximum(value, 0))


def test_an_input_that_is_an_output_too(tmp_path):
    sides = {"x": (graphs.FLOAT, ("n", 3))}, {"x": (graphs.FLOAT, ("n", 3)), "y": (graphs.FLOAT, ("n", 3))}
    path = graphs.save(tmp_path / "m.onnx", [graphs.node("Relu", ["x"], ["y"])], *sides)
    backend = loaded(path)
    assert backend.signature == read_onnx(path).signature
    value = np.array([[-1, 2, -3], [4, -5, 6]], np.float32)
    outputs = run(backend, x=value)
    np.testing.assert_array_equal(outputs["x"], value)
    np.testing.assert_array_equal(outputs["y"], np.maximum(value, 0))


@pytest.mark.parametrize("gib", [1, 2])
@only_8
def test_a_builder_with_too_little_memory_names_the_limit(gib, tmp_path):
    error = refusal(graphs.relu(tmp_path / "m.onnx"), build={"memory_bytes": gib * 2**30})
    assert error.code is ErrorCode.RESOURCE_EXHAUSTED, error
    assert "build.memory_bytes" in error.hint, error


@only_8
@pytest.mark.parametrize("options", [{"precision": "bf16"}, {"strongly_typed": True}])
def test_what_the_version_lacks_is_refused_before_the_builder_is_loaded(options, tmp_path):
    path = graphs.relu(tmp_path / "m.onnx")
    TensorRTBackend().recipe().unwrap()  # imports TensorRT
    began = time.monotonic()
    assert refusal(path, **options).code is ErrorCode.FAILED_PRECONDITION
    assert time.monotonic() - began < 2


def test_several_profiles_are_loaded_and_served(tmp_path):
    def span(low, high):
        return {"x": {"min": [low, 3], "opt": [high, 3], "max": [high, 3]}}

    backend = loaded(graphs.relu(tmp_path / "m.onnx"), profiles=span(1, 4), more_profiles={"large": span(5, 64)})
    for rows in (2, 60, 3, 5):
        value = np.random.default_rng(rows).normal(size=(rows, 3)).astype(np.float32)
        np.testing.assert_array_equal(run(backend, x=value)["y"], np.maximum(value, 0))


@pytest.fixture(scope="module")
def digits_engine(tmp_path_factory):
    target = tmp_path_factory.mktemp("digits") / "digits.engine"
    TensorRTBackend({"external_tactics": False}).build(configs_dir() / "model" / "digits.onnx", target).unwrap()
    return target


def test_a_load_while_this_thread_records_a_graph_is_unavailable_and_works_afterwards(digits_engine):
    from ctypes import byref, c_void_p

    from aegisrt import CudaStream

    stream, graph, backend = CudaStream("cuda:0"), c_void_p(), TensorRTBackend()
    driver = stream.context.driver
    with stream.context:
        assert driver.cuStreamBeginCapture_v2(stream.handle, 0) == 0
    result = backend.load(digits_engine)
    with stream.context:
        driver.cuStreamEndCapture(stream.handle, byref(graph))
    assert result.is_err(), "CUDA refuses to allocate meanwhile"
    assert result.unwrap_err().code is ErrorCode.UNAVAILABLE, result
    backend.load(digits_engine).unwrap()
    assert run(backend, image=np.zeros((1, 1, 8, 8), np.float32))["probabilities"].shape == (1, 10)


LOST = """
import sys
import numpy as np
from aegisrt import ExecutionRequest, TensorRTBackend
from tests.gpu.losing import lose

backends = [TensorRTBackend({"cuda_graph": graph}) for graph in (False, True)]
for backend in backends:
    backend.load(sys.argv[1]).unwrap()

def call(backend):
    answer = backend.execute(ExecutionRequest(inputs={"image": np.ones((1, 1, 8, 8), np.float32)}))
    print(f"{answer.error.code.name} {answer.error.message}" if answer.is_err() else "ok")

for turn in range(3):
    for backend in backends:
        call(backend)
lose(0)
for backend in backends * 2:
    call(backend)
print([backend.unload().is_ok() for backend in backends], flush=True)
"""


def test_a_lost_device_is_reported_and_the_process_ends_well_without_warnings(digits_engine):
    command = [sys.executable, "-c", LOST, str(digits_engine)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    lines = done.stdout.splitlines()
    assert done.returncode == 0, done.stderr[-4000:]
    assert lines[:6] == ["ok"] * 6, lines
    assert all(line.startswith("UNAVAILABLE") for line in lines[6:10]), lines
    assert lines[10] == "[True, True]", lines
    assert "PyCUDA" not in done.stderr, done.stderr[-4000:]


def test_a_gpu_that_is_full_is_resource_exhausted(tmp_path):
    """Not beside other tests: it takes all of the GPU's memory."""
    from aegisrt.devices.cuda.context import cuda_context
    from aegisrt.devices.cuda.memory import DeviceBuffer

    path, context, held = graphs.relu(tmp_path / "m.onnx"), cuda_context(0), []
    size = context.memory()[0]
    try:
        while size >= 2**20:  # what the driver reports as free is more than one piece can have
            try:
                held.append(DeviceBuffer(context, size))
            except ResultError:
                size //= 2
        error = refusal(path)
    finally:
        for buffer in held:
            buffer.free()
    assert error.code is ErrorCode.RESOURCE_EXHAUSTED, error
