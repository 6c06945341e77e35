"""The run path, on a fake that has exactly the surface of each real binding wheel: 8.6, 10, 11, RTX, lean, dispatch."""

import gc
import sys
import threading
from ctypes import byref, c_void_p

import numpy as np
import pytest

from aegisrt import CudaStream, ExecutionRequest, TensorRTBackend
from aegisrt.backends.tensorrt import distribution as tensorrt_library
from aegisrt.backends.tensorrt.distribution import display_name
from aegisrt.core.result import ErrorCode, ResultError
from aegisrt.core.sidecar import Sidecar, write_sidecar
from aegisrt.core.tensor import DataType, Signature, TensorSpec
from aegisrt.devices.cuda.arrays import DeviceArray
from aegisrt.devices.cuda.context import cuda_context
from aegisrt.devices.cuda.memory import DeviceBuffer
from tests.fakes.cuda import context_handle, fake_cuda
from tests.fakes.tensorrt import RUNTIMES, FakeTensorRT, plan
from tests.fakes.tensorrt_compute import NUMPY

__all__ = ["fake_cuda"]
SELECT = {True: "IExecutionContext.active_optimization_profile=", False: "set_optimization_profile_async"}
"""How a profile is selected: on TensorRT 8, and later."""
PROFILE = {"x": ([1, 3], [4, 3], [8, 3])}
DYNAMIC = {"inputs": {"x": ("FLOAT", [-1, 3])}, "outputs": {"y": ("FLOAT", [-1, 3])}, "profiles": [PROFILE]}


@pytest.fixture(params=RUNTIMES, ids=lambda path: path.stem)
def trt(request, monkeypatch, fake_cuda):
    fake = FakeTensorRT(request.param, fake_cuda)
    monkeypatch.setitem(sys.modules, fake.family, fake.module)
    monkeypatch.setattr(tensorrt_library, "installed", lambda: {fake.family: None})
    monkeypatch.setattr(tensorrt_library, "_module_name", lambda name: name if name == fake.family else None)
    monkeypatch.setattr(tensorrt_library, "_loaded", {})
    return fake


def write(folder, trt, **described):
    family = b"vtrt" if trt.family == "tensorrt_rtx" else b"ftrt"
    path = folder / "m.engine"
    path.write_bytes(plan(trt.version, family=family, **{**DYNAMIC, **described}))
    return path


def rows(count, start=0.0):
    return (np.arange(count * 3, dtype=np.float32) + np.float32(start)).reshape(count, 3)


def run(backend, value, **request):
    return backend.execute(ExecutionRequest(inputs={"x": value}, **request)).unwrap().outputs


def test_one_call_makes_the_documented_calls_in_order(trt, fake_cuda, tmp_path):
    backend = TensorRTBackend()
    backend.load(write(tmp_path, trt)).unwrap()
    assert str(backend.signature.inputs[0]) == "x FP32[?,3]"
    value = rows(2)
    np.testing.assert_array_equal(run(backend, value)["y"], value * 2)
    order = [name for name, _ in trt.calls]
    infers = ["infer_shapes"] if trt.raises_safely else ["get_tensor_shape"]
    wanted = [
        "deserialize_cuda_engine", "create_execution_context", "set_tensor_address", "set_input_shape", *infers,
        "set_tensor_address", "execute_async_v3",
    ]  # fmt: skip
    positions = iter(order)
    assert all(name in positions for name in wanted), order
    handles = {arguments[0] for name, arguments in trt.calls if name == "execute_async_v3"}
    assert handles <= set(fake_cuda.streams)


def test_a_load_does_not_read_what_is_installed(trt, tmp_path, monkeypatch):
    looked = []
    monkeypatch.setattr(tensorrt_library, "installed", lambda: looked.append(1) or {trt.family: None})
    path = write(tmp_path, trt)
    for _ in range(3):
        TensorRTBackend().load(path).unwrap()
    assert looked == [], "it reads the metadata of every package"


def test_context_engine_and_runtime_are_destroyed_in_this_order(trt, tmp_path):
    backend = TensorRTBackend(instances=2)
    backend.load(write(tmp_path, trt)).unwrap()
    run(backend, rows(1))
    backend.unload().unwrap()
    gc.collect()
    assert trt.destroyed == ["IExecutionContext", "IExecutionContext", "ICudaEngine", "Runtime"]


def test_nothing_is_left_on_the_gpu_after_many_cycles(trt, fake_cuda, tmp_path):
    path = write(tmp_path, trt)
    for cycle in range(20):
        backend = TensorRTBackend({"cuda_graph": bool(cycle % 2)})
        backend.load(path).unwrap()
        for _ in range(3):
            run(backend, rows(2))
        backend.unload().unwrap()
        backend.unload().unwrap()
    assert fake_cuda.allocations == {}
    assert fake_cuda.streams == {}
    assert fake_cuda.executables == {}
    assert fake_cuda.stack == [context_handle(0)]
    assert len(fake_cuda.pinned) <= 2


def test_shapes_that_change_are_told_again_and_equal_ones_are_not(trt, tmp_path):
    backend = TensorRTBackend()
    backend.load(write(tmp_path, trt)).unwrap()
    for count in (2, 2, 5, 5, 2, 2):
        value = rows(count, start=count)
        np.testing.assert_array_equal(run(backend, value)["y"], value * 2)
    told = [arguments[1] for name, arguments in trt.calls if name == "set_input_shape"]
    assert told == [(2, 3), (5, 3), (2, 3)]


def test_host_code_is_not_allowed_unless_the_options_say_so(trt, tmp_path):
    path = write(tmp_path, trt)
    TensorRTBackend().load(path).unwrap()
    TensorRTBackend({"engine_host_code_allowed": True}).load(path).unwrap()
    assert [value for _, value in trt.named("Runtime.engine_host_code_allowed=")] == [False, True]


def test_a_shape_that_no_profile_has_is_an_invalid_argument_with_the_range(trt, tmp_path):
    backend = TensorRTBackend()
    backend.load(write(tmp_path, trt)).unwrap()
    error = backend.execute(ExecutionRequest(inputs={"x": rows(9)})).unwrap_err()
    assert error.code is ErrorCode.INVALID_ARGUMENT
    assert "[9,3]" in error.message
    assert "[1,3] to [8,3]" in error.message
    np.testing.assert_array_equal(run(backend, rows(8))["y"], rows(8) * 2)


@pytest.mark.parametrize("graph", [False, True])
def test_the_fitting_profile_is_selected_on_the_stream(graph, trt, tmp_path):
    backend = TensorRTBackend({"cuda_graph": graph})
    large = {"x": ([9, 3], [16, 3], [32, 3])}
    backend.load(write(tmp_path, trt, profiles=[PROFILE, large])).unwrap()
    for count in (2, 12, 12, 12, 2, 2, 2, 12):
        value = rows(count, start=count)
        np.testing.assert_array_equal(run(backend, value)["y"], value * 2)
    selected = [index for _, index, *_ in trt.named(SELECT[trt.is_old])]
    assert selected[:3] == [1, 0, 1] if not graph else 1 in selected


def test_outputs_whose_shape_comes_late_are_allocated_by_the_allocator(trt, tmp_path):
    whole = "INT32" if trt.version[0] == 8 else "INT64"
    path = write(tmp_path, trt, outputs={"y": (whole, [2, -1])}, operation="nonzero")
    backend = TensorRTBackend({"cuda_graph": True})
    backend.load(path).unwrap()
    for count in (2, 4, 1):
        value = np.zeros((count, 3), np.float32)
        value[:, 1] = 1
        found = run(backend, value)["y"]
        np.testing.assert_array_equal(found, np.argwhere(value).T)
    assert run(backend, np.zeros((2, 3), np.float32))["y"].shape == (2, 0)
    assert len(trt.named("set_output_allocator")) == 1
    result = backend.execute(ExecutionRequest(inputs={"x": rows(1)})).unwrap()
    assert "only after each call" in result.metadata["cuda_graph"]


def test_an_output_that_has_an_allocator_is_always_read_where_that_put_it(trt, tmp_path, monkeypatch):
    backend = TensorRTBackend()
    backend.load(write(tmp_path, trt)).unwrap()
    kind, real = trt.module.IExecutionContext, trt.module.IExecutionContext.get_tensor_shape
    monkeypatch.setattr(kind, "get_tensor_shape", lambda self, name: (-1, 3))
    np.testing.assert_array_equal(run(backend, rows(2))["y"], rows(2) * 2)
    monkeypatch.setattr(kind, "get_tensor_shape", real)
    for count in (3, 3, 2, 5):
        np.testing.assert_array_equal(run(backend, rows(count, 9))["y"], rows(count, 9) * 2)


@pytest.mark.parametrize("dtype", [DataType.FP16, DataType.INT8, DataType.UINT8, DataType.INT32, DataType.BOOL])
def test_dtypes(dtype, trt, tmp_path):
    name = {"FP16": "HALF"}.get(dtype.value, dtype.value)
    path = write(tmp_path, trt, inputs={"x": (name, [-1, 3])}, outputs={"y": (name, [-1, 3])}, operation="copy")
    backend = TensorRTBackend()
    backend.load(path).unwrap()
    value = rows(2).astype(dtype.numpy)
    answer = run(backend, value)["y"]
    assert answer.dtype == dtype.numpy
    np.testing.assert_array_equal(answer, value)


@pytest.mark.parametrize(("name", "dtype"), [("INT64", DataType.INT64), ("BF16", DataType.BF16)])
def test_dtypes_from_10_on(name, dtype, trt, tmp_path):
    if trt.version[0] == 8:
        assert not hasattr(trt.module.DataType, name)
        return
    if dtype is DataType.BF16:
        pytest.importorskip("ml_dtypes")
    path = write(tmp_path, trt, inputs={"x": (name, [-1, 3])}, outputs={"y": (name, [-1, 3])}, operation="copy")
    backend = TensorRTBackend()
    backend.load(path).unwrap()
    value = rows(2).astype(dtype.numpy)
    answer = run(backend, value)["y"]
    assert answer.dtype == dtype.numpy
    assert answer.tobytes() == value.tobytes()


def built(path, signature, **recipe):
    """Write the sidecar that a build would have written."""
    target = {"compute_capabilities": ["9.0"], "hardware_compatibility": "none", **recipe.pop("target", {})}
    made = {"backend": "tensorrt", "engine": "x", "options": {}, "target": target, **recipe}
    source = {"name": "m.onnx", "sha256": "0" * 64, "external": {}}
    write_sidecar(path, Sidecar(source=source, recipe=made, signature=signature))


@pytest.mark.parametrize("trt", [path for path in RUNTIMES if path.stem.startswith("tensorrt-8")], indirect=True)
def test_int64_of_a_model_is_int32_inside_tensorrt_8_and_the_caller_does_not_notice(trt, tmp_path):
    path = write(tmp_path, trt, inputs={"x": ("INT32", [-1, 3])}, outputs={"y": ("INT32", [-1, 3])})
    spec = TensorSpec("x", DataType.INT64, ("batch", 3))
    built(path, Signature((spec,), (TensorSpec("y", DataType.INT64, ("batch", 3)),)))
    backend = TensorRTBackend()
    backend.load(path).unwrap()
    assert str(backend.signature.inputs[0]) == "x INT64[batch,3]"
    answer = run(backend, rows(2).astype(np.int64))["y"]
    assert answer.dtype == np.int64
    np.testing.assert_array_equal(answer, rows(2) * 2)
    result = backend.execute(ExecutionRequest(inputs={"x": np.full((1, 3), 7)})).unwrap()
    assert result.metadata["narrowed"] == {"x": "INT32", "y": "INT32"}
    error = backend.execute(ExecutionRequest(inputs={"x": np.full((1, 3), 2**40)})).unwrap_err()
    assert error.code is ErrorCode.INVALID_ARGUMENT
    assert "int32" in error.message


def test_an_engine_for_another_gpu_is_refused_before_tensorrt_sees_it(trt, tmp_path):
    path = write(tmp_path, trt)
    signature = Signature((TensorSpec("x", DataType.FP32, (None, 3)),), (TensorSpec("y", DataType.FP32, (None, 3)),))
    built(path, signature, target={"compute_capabilities": ["8.6"]})
    error = TensorRTBackend().load(path).unwrap_err()
    assert error.code is ErrorCode.FAILED_PRECONDITION
    assert "8.6" in error.message
    assert "9.0" in error.message
    assert "aegisrt build" in error.hint
    assert trt.named("deserialize_cuda_engine") == []


@pytest.mark.parametrize("damaged", [slice(0, 1), slice(24, 25), slice(100, 101), slice(2, None)])
def test_a_built_engine_that_was_damaged_is_data_loss_before_tensorrt_sees_it(damaged, trt, tmp_path):
    path = write(tmp_path, trt)
    signature = Signature((TensorSpec("x", DataType.FP32, (None, 3)),), (TensorSpec("y", DataType.FP32, (None, 3)),))
    built(path, signature)
    content = bytearray(path.read_bytes())
    content[damaged] = b"" if damaged.stop is None else bytes([content[damaged][0] ^ 0x55])
    path.write_bytes(content)
    assert TensorRTBackend().load(path).unwrap_err().code is ErrorCode.DATA_LOSS
    assert trt.named("deserialize_cuda_engine") == []


def test_bindings_of_8_6_1_over_libraries_of_8_6_0_are_not_asked_for_formats_by_profile(trt, tmp_path):
    """Those libraries lack the call, and the process would end; an engine of 8.6.0 loads on them alone."""
    if trt.version[:2] != (8, 6):
        return
    trt.libraries, large = (8, 6, 0), {"x": ([9, 3], [16, 3], [32, 3])}
    content = bytearray(write(tmp_path, trt, profiles=[PROFILE, large]).read_bytes())
    content[26] = 0
    (tmp_path / "m.engine").write_bytes(content)
    backend = TensorRTBackend()
    backend.load(tmp_path / "m.engine").unwrap()
    np.testing.assert_array_equal(run(backend, rows(12))["y"], rows(12) * 2)


def test_the_formats_of_every_profile_are_checked_where_the_version_reports_them(trt, tmp_path):
    large = {"x": ([9, 3], [16, 3], [32, 3])}
    TensorRTBackend().load(write(tmp_path, trt, profiles=[PROFILE, large])).unwrap()
    asked = {tuple(rest) for _, _, *rest in trt.named("get_tensor_format", "get_tensor_vectorized_dim")}
    assert asked == {(), (1,)}


@pytest.mark.parametrize("name", ["x", "y"])
def test_an_engine_with_a_format_of_its_own_is_refused(name, trt, tmp_path):
    error = TensorRTBackend().load(write(tmp_path, trt, formats={name: "CHW32"})).unwrap_err()
    assert error.code is ErrorCode.FAILED_PRECONDITION
    assert f"`{name}` as `" in error.message
    assert "CHW32" in error.message
    gc.collect()
    assert trt.destroyed == ["ICudaEngine", "Runtime"]


def test_a_graph_is_recorded_on_the_second_call_of_a_shape_and_then_replayed(trt, fake_cuda, tmp_path):
    backend = TensorRTBackend({"cuda_graph": True})
    backend.load(write(tmp_path, trt)).unwrap()
    for start in range(5):
        value = rows(2, start=start)
        np.testing.assert_array_equal(run(backend, value)["y"], value * 2)
    assert len(trt.named("execute_async_v3")) == 3, "a plain one, one to warm the new context up, the recording"
    assert fake_cuda.calls.count("cuGraphLaunch") == 3
    assert fake_cuda.calls.count("cuStreamBeginCapture_v2") == 1
    result = backend.execute(ExecutionRequest(inputs={"x": rows(2)})).unwrap()
    assert result.metadata["cuda_graph"] == "on"


def test_a_replayed_call_is_one_launch_and_one_wait(trt, fake_cuda, tmp_path):
    path = write(tmp_path, trt)
    shared = CudaStream("cuda:0")
    for stream, wait in ((None, ["cuStreamSynchronize"]), (shared, ["cuEventRecord", "cuEventSynchronize"])):
        backend = TensorRTBackend({"cuda_graph": True}, stream=stream)
        backend.load(path).unwrap()
        for start in range(3):
            run(backend, rows(2, start))
        fake_cuda.calls.clear()
        trt.calls.clear()
        np.testing.assert_array_equal(run(backend, rows(2, 7))["y"], rows(2, 7) * 2)
        assert fake_cuda.calls == ["cuCtxGetCurrent", "cuGraphLaunch", *wait]
        assert trt.calls == []
        backend.unload().unwrap()


def test_graphs_of_several_shapes_are_kept_and_recorded_anew_when_addresses_change(trt, fake_cuda, tmp_path):
    backend = TensorRTBackend({"cuda_graph": True})
    backend.load(write(tmp_path, trt)).unwrap()
    buffer_bytes = 8 * 3 * 4
    for count in (1, 1, 1, 8, 8, 8, 1, 1, 8):
        value = rows(count, start=count)
        np.testing.assert_array_equal(run(backend, value)["y"], value * 2)
    assert buffer_bytes < 512, "both shapes fit the smallest buffer, so that nothing was recorded anew"
    assert fake_cuda.calls.count("cuStreamBeginCapture_v2") == 2


def test_growth_of_a_buffer_makes_the_recordings_of_the_old_addresses_go(trt, fake_cuda, tmp_path):
    wide = {"inputs": {"x": ("FLOAT", [-1, 300])}, "outputs": {"y": ("FLOAT", [-1, 300])}}
    profiles = [{"x": ([1, 300], [4, 300], [8, 300])}]
    backend = TensorRTBackend({"cuda_graph": True})
    backend.load(write(tmp_path, trt, **wide, profiles=profiles)).unwrap()
    for count in (1, 1, 1, 8, 8, 8, 1, 1, 1, 8):
        value = np.random.default_rng(count).random((count, 300), np.float32)
        np.testing.assert_array_equal(run(backend, value)["y"], value * 2)
    assert fake_cuda.calls.count("cuStreamBeginCapture_v2") == 3
    assert len(fake_cuda.executables) == 2


def test_no_more_recordings_are_kept_than_allowed(trt, fake_cuda, tmp_path):
    backend = TensorRTBackend({"cuda_graph": True, "cuda_graph_limit": 2})
    backend.load(write(tmp_path, trt)).unwrap()
    for count in (1, 2, 3, 4):
        for _ in range(3):
            np.testing.assert_array_equal(run(backend, rows(count))["y"], rows(count) * 2)
    assert len(fake_cuda.executables) == 2


def test_what_cannot_be_recorded_runs_without_and_says_why(trt, fake_cuda, tmp_path):
    backend = TensorRTBackend({"cuda_graph": True})
    backend.load(write(tmp_path, trt)).unwrap()
    run(backend, rows(2))
    trt.refuse["execute_async_v3"] = (False, "operation not permitted when stream is capturing")
    np.testing.assert_array_equal(run(backend, rows(2))["y"], rows(2) * 2)
    result = backend.execute(ExecutionRequest(inputs={"x": rows(2)})).unwrap()
    assert result.metadata["cuda_graph"].startswith("off: ")
    assert "not permitted" in result.metadata["cuda_graph"]


def test_a_recording_is_made_on_a_context_of_its_own_that_nothing_is_told_afterwards(trt, fake_cuda, tmp_path):
    backend = TensorRTBackend({"cuda_graph": True})
    backend.load(write(tmp_path, trt)).unwrap()
    for count in (2, 5, 2, 5, 2, 5, 7, 2, 7, 5):
        value = rows(count, start=count)
        np.testing.assert_array_equal(run(backend, value)["y"], value * 2)
        np.testing.assert_array_equal(run(backend, on_device(fake_cuda, value))["y"], value * 2)
    result = backend.execute(ExecutionRequest(inputs={"x": rows(2)})).unwrap()
    assert result.metadata["cuda_graph"] == "on"
    assert fake_cuda.calls.count("cuStreamBeginCapture_v2") == 3
    assert len({arguments[0] for _, arguments in told_memory(trt)}) == 1, "recordings share one piece of memory"
    backend.unload().unwrap()
    gc.collect()
    assert trt.destroyed == ["IExecutionContext"] * 4 + ["ICudaEngine", "Runtime"]
    assert fake_cuda.allocations == {}


def told_memory(trt):
    """Return the calls that gave an execution context its memory."""
    names = ("set_device_memory", "IExecutionContext.device_memory=")
    return [(name, arguments) for name, arguments in trt.calls if name in names]


@pytest.mark.parametrize("graph", [False, True])
def test_instances_share_a_profile_which_tensorrt_8_gives_to_the_first_alone(graph, trt, tmp_path):
    backend = TensorRTBackend({"cuda_graph": graph}, instances=3)
    backend.load(write(tmp_path, trt)).unwrap()
    for start in range(9):
        np.testing.assert_array_equal(run(backend, rows(2, start))["y"], rows(2, start) * 2)
    selected = trt.named(SELECT[trt.is_old])
    assert trt.named(SELECT[not trt.is_old]) == []
    assert len(selected) == (0 if not trt.is_old else 5 if graph else 2)


@pytest.mark.parametrize("graph", [False, True])
def test_instances_of_an_engine_whose_only_input_holds_sizes(graph, trt, tmp_path):
    whole = "INT32" if trt.is_old else "INT64"
    described = {"inputs": {"host_n": (whole, [2])}, "outputs": {"y": (whole, [2])}, "profiles": [{}]}
    backend = TensorRTBackend({"cuda_graph": graph}, instances=2)
    backend.load(write(tmp_path, trt, **described)).unwrap()
    for start in range(6):
        value = np.array([start, 7], NUMPY[whole])
        result = backend.execute(ExecutionRequest(inputs={"host_n": value})).unwrap()
        np.testing.assert_array_equal(result.outputs["y"], value * 2)
        assert not graph or "holds sizes" in result.metadata["cuda_graph"]


def test_an_engine_of_tensorrt_8_that_shares_no_profile_is_refused_for_two_instances_at_load(trt, tmp_path):
    path = write(tmp_path, trt, shared=False)
    two = TensorRTBackend(instances=2).load(path)
    if not trt.is_old:
        assert two.is_ok()
        return
    error = two.unwrap_err()
    assert error.code is ErrorCode.FAILED_PRECONDITION
    assert "the profile is in use" in error.message
    assert "instances: 1" in error.hint
    one = TensorRTBackend({"cuda_graph": True})
    one.load(path).unwrap()
    for start in range(4):
        np.testing.assert_array_equal(run(one, rows(2, start))["y"], rows(2, start) * 2)
    result = one.execute(ExecutionRequest(inputs={"x": rows(2)})).unwrap()
    assert result.metadata["cuda_graph"].startswith(f"off: {display_name(trt.family, trt.version)} refuses profile 0")


def test_an_array_on_the_gpu_at_an_odd_address_is_copied_there(trt, fake_cuda, tmp_path):
    backend = TensorRTBackend()
    backend.load(write(tmp_path, trt)).unwrap()
    value = rows(3)
    whole = on_device(fake_cuda, value)
    part = DeviceArray(whole.pointer + 12, (2, 3), value.dtype, owner=whole)
    np.testing.assert_array_equal(run(backend, part)["y"], value[1:] * 2)
    assert "cuMemcpyDtoDAsync_v2" in fake_cuda.calls
    assert "cuMemcpyHtoDAsync_v2" not in fake_cuda.calls


def test_memory_tells_the_file_and_what_the_instances_hold(trt, tmp_path):
    path = write(tmp_path, trt)
    sizes = []
    for options, instances in (({}, 1), ({}, 2), ({"cuda_graph": True}, 1)):
        backend = TensorRTBackend(options, instances=instances)
        backend.load(path).unwrap()
        for _ in range(2):
            run(backend, rows(2))
        sizes.append(backend.memory().unwrap() - path.stat().st_size)
        backend.unload().unwrap()
    scratch, buffers = 4096, 2 * 512
    assert sizes[0] == scratch + buffers
    assert sizes[1] == 2 * (scratch + buffers)
    assert sizes[2] == 2 * scratch + buffers


def test_a_module_without_a_version_of_its_own_has_that_of_its_bindings(trt, tmp_path, monkeypatch):
    if trt.family == "tensorrt_rtx":
        return
    bindings = type(trt.module)(f"{trt.family}_bindings")
    bindings.__version__ = trt.module.__version__
    del trt.module.__version__
    monkeypatch.setitem(sys.modules, bindings.__name__, bindings)
    path = write(tmp_path, trt)
    backend = TensorRTBackend()
    backend.load(path).unwrap()
    result = backend.execute(ExecutionRequest(inputs={"x": rows(1)})).unwrap()
    assert result.metadata["engine"] == display_name(trt.family, trt.version)


def test_outputs_on_the_device(trt, fake_cuda, tmp_path):
    backend = TensorRTBackend({"outputs": "device"})
    backend.load(write(tmp_path, trt)).unwrap()
    first, second = run(backend, rows(2))["y"], run(backend, rows(2, start=9))["y"]
    assert fake_cuda.holds(first.pointer, first.nbytes)
    assert first.__cuda_array_interface__["shape"] == (2, 3)
    stored = fake_cuda.allocations
    assert stored[first.pointer][:24].tobytes() == (rows(2) * 2).tobytes()
    assert stored[second.pointer][:24].tobytes() == (rows(2, start=9) * 2).tobytes()
    backend.unload().unwrap()
    del first, second
    assert fake_cuda.allocations == {}


@pytest.mark.parametrize("graph", [False, True])
def test_a_call_on_the_gpu_copies_nothing_to_the_host_and_allocates_nothing(graph, trt, fake_cuda, tmp_path):
    backend = TensorRTBackend({"outputs": "device", "cuda_graph": graph})
    backend.load(write(tmp_path, trt)).unwrap()
    seen, values = [], [on_device(fake_cuda, rows(2, start)) for start in range(6)]
    for step, value in enumerate(values):
        if step == 3:
            fake_cuda.calls.clear()
            fake_cuda.watch = lambda name, work: seen.append(name) or work()
        answer = run(backend, value)["y"]
        np.testing.assert_array_equal(answer.numpy(), rows(2, step) * 2)
    assert not {"mem_alloc", "pagelocked_empty", "DeviceAllocation.free", "cuEventCreate"} & set(seen)
    assert not {"cuMemcpyHtoDAsync_v2", "cuMemcpyDtoHAsync_v2"} & set(fake_cuda.calls)


def test_outputs_on_the_device_that_the_engine_has_on_the_host(trt, fake_cuda, tmp_path):
    backend = TensorRTBackend({"outputs": "device"})
    backend.load(write(tmp_path, trt, outputs={"host_y": ("FLOAT", [-1, 3])})).unwrap()
    for start in range(3):
        answer = run(backend, rows(2, start))["host_y"]
        assert fake_cuda.holds(answer.pointer, answer.nbytes)
        assert fake_cuda.allocations[answer.pointer][:24].tobytes() == (rows(2, start) * 2).tobytes()


@pytest.mark.parametrize("trt", [path for path in RUNTIMES if path.stem.startswith("tensorrt-8")], indirect=True)
def test_outputs_on_the_device_have_the_dtype_of_the_model(trt, fake_cuda, tmp_path):
    path = write(tmp_path, trt, inputs={"x": ("INT32", [-1, 3])}, outputs={"y": ("INT32", [-1, 3])})
    spec = TensorSpec("x", DataType.INT64, (None, 3))
    built(path, Signature((spec,), (TensorSpec("y", DataType.INT64, (None, 3)),)))
    backend = TensorRTBackend({"outputs": "device"})
    backend.load(path).unwrap()
    value = rows(2).astype(np.int64)
    answer = run(backend, value)["y"]
    assert answer.dtype == np.int64
    assert fake_cuda.allocations[answer.pointer][: value.nbytes].tobytes() == (value * 2).tobytes()


def test_out_of_memory_is_resource_exhausted_and_the_instance_goes_on(trt, fake_cuda, tmp_path):
    wide = {"inputs": {"x": ("FLOAT", [-1, 100_000])}, "outputs": {"y": ("FLOAT", [-1, 100_000])}}
    profiles = [{"x": ([1, 100_000], [1, 100_000], [8, 100_000])}]
    backend = TensorRTBackend()
    backend.load(write(tmp_path, trt, **wide, profiles=profiles)).unwrap()
    small, large = np.ones((1, 100_000), np.float32), np.ones((8, 100_000), np.float32)
    run(backend, small)
    fake_cuda.memory_bytes = 2_000_000
    error = backend.execute(ExecutionRequest(inputs={"x": large})).unwrap_err()
    assert error.code is ErrorCode.RESOURCE_EXHAUSTED
    np.testing.assert_array_equal(run(backend, small)["y"], small * 2)


def test_tensorrt_s_own_out_of_memory_is_told_by_its_log(trt, tmp_path):
    backend = TensorRTBackend()
    path = write(tmp_path, trt)
    trt.refuse["create_execution_context"] = (None, "Error Code 2: OutOfMemory (Requested size was 99 bytes.)")
    error = backend.load(path).unwrap_err()
    assert error.code is ErrorCode.RESOURCE_EXHAUSTED
    backend.load(path).unwrap()


def test_a_failed_execution_is_told_in_tensorrt_s_words(trt, tmp_path):
    backend = TensorRTBackend()
    backend.load(write(tmp_path, trt)).unwrap()
    trt.refuse["execute_async_v3"] = (False, "IExecutionContext::enqueueV3: Error Code 1: Myelin (it broke)")
    error = backend.execute(ExecutionRequest(inputs={"x": rows(1)})).unwrap_err()
    assert error.code is ErrorCode.INTERNAL
    assert "it broke" in error.message
    run(backend, rows(1))


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("The engine plan file is generated on an incompatible device, expecting compute 9.0", "FAILED_PRECONDITION"),
        ("Serialization assertion failed. Version tag does not match", "FAILED_PRECONDITION"),
        ("host code is not allowed for this runtime: lean runtime", "PERMISSION_DENIED"),
        ("Error Code 1: Cuda Runtime (In X at /y.cpp:1 (cudaError 35: CUDA driver is insufficient))", "UNAVAILABLE"),
        ("CUDA out of memory", "RESOURCE_EXHAUSTED"),
        ("CUDA initialization failure with error: 2. Please check your CUDA installation", "RESOURCE_EXHAUSTED"),
        ("[checkMacros.cpp::catchCudaError::272] Error Code 2: OutOfMemory (no further info)", "RESOURCE_EXHAUSTED"),
        ("Error Code 1: Cuda Runtime (operation not permitted when stream is capturing)", "UNAVAILABLE"),
        ("Serialization assertion stdArchive failed", "DATA_LOSS"),
    ],
)
def test_what_tensorrt_says_of_a_file_that_it_refuses(said, code, trt, tmp_path):
    trt.refuse["deserialize_cuda_engine"] = (None, said)
    assert TensorRTBackend().load(write(tmp_path, trt)).unwrap_err().code == code


def test_instances_run_in_threads_each_in_a_context_and_on_a_stream_of_its_own(trt, fake_cuda, tmp_path):
    backend = TensorRTBackend(instances=3)
    backend.load(write(tmp_path, trt)).unwrap()
    wrong = []

    def work(seed):
        for step in range(20):
            value = rows(1 + (seed + step) % 8, start=seed * 100 + step)
            if not np.array_equal(run(backend, value)["y"], value * 2):
                wrong.append((seed, step))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert len(trt.named("create_execution_context")) == 3
    assert len({arguments[0] for name, arguments in trt.calls if name == "execute_async_v3"}) == 3


def test_a_lost_device_is_told_and_unload_still_works(trt, fake_cuda, tmp_path):
    backend = TensorRTBackend()
    backend.load(write(tmp_path, trt)).unwrap()
    fake_cuda.fail["cuStreamSynchronize"] = 700
    assert backend.execute(ExecutionRequest(inputs={"x": rows(1)})).unwrap_err().code is ErrorCode.UNAVAILABLE
    assert "cannot be used" in backend.execute(ExecutionRequest(inputs={"x": rows(1)})).unwrap_err().message
    backend.unload().unwrap()
    gc.collect()
    assert trt.destroyed == ["IExecutionContext", "ICudaEngine", "Runtime"]


def on_device(fake_cuda, value, stream=None):
    """Return an array in the fake GPU's memory."""
    memory = DeviceBuffer(cuda_context(0), value.nbytes)
    fake_cuda.allocations[memory.pointer][: value.nbytes] = np.frombuffer(value.tobytes(), np.uint8)
    return DeviceArray(memory.pointer, value.shape, value.dtype, owner=memory, stream=stream)


@pytest.mark.parametrize("graph", [False, True])
def test_arrays_on_the_gpu_go_in_without_a_copy_and_beside_them_host_arrays(graph, trt, fake_cuda, tmp_path):
    backend = TensorRTBackend({"cuda_graph": graph})
    backend.load(write(tmp_path, trt)).unwrap()
    kept = []
    for step in range(6):
        value = rows(2, start=step)
        lent = on_device(fake_cuda, value, stream=1)
        kept.append(lent)
        fake_cuda.calls.clear()
        np.testing.assert_array_equal(run(backend, lent)["y"], value * 2)
        assert "cuMemcpyHtoDAsync_v2" not in fake_cuda.calls
        assert "cuStreamWaitEvent" in fake_cuda.calls
        assert ("set_tensor_address", ("x", lent.pointer)) in trt.calls
        value = rows(2, start=100 + step)
        np.testing.assert_array_equal(run(backend, value)["y"], value * 2)


def test_an_array_on_the_gpu_of_another_dtype_or_shape_is_refused(trt, fake_cuda, tmp_path):
    backend = TensorRTBackend()
    backend.load(write(tmp_path, trt)).unwrap()
    for value, words in ((rows(2).astype(np.float16), "FP16"), (np.zeros((2, 4), np.float32), "[2,4]")):
        request = ExecutionRequest(inputs={"x": on_device(fake_cuda, value)})
        error = backend.execute(request).unwrap_err()
        assert error.code is ErrorCode.INVALID_ARGUMENT
        assert words in error.message


def test_dimensions_of_one_name_must_agree(trt, tmp_path):
    two = {"inputs": {"a": ("FLOAT", [-1]), "b": ("FLOAT", [-1])}, "outputs": {"y": ("FLOAT", [-1])}}
    span = ([1], [4], [8])
    path = write(tmp_path, trt, **two, profiles=[{"a": span, "b": span}])
    specs = tuple(TensorSpec(name, DataType.FP32, ("n",)) for name in ("a", "b"))
    built(path, Signature(specs, (TensorSpec("y", DataType.FP32, ("n",)),)))
    backend = TensorRTBackend()
    backend.load(path).unwrap()
    short, long = np.ones(3, np.float32), np.ones(5, np.float32)
    error = backend.execute(ExecutionRequest(inputs={"a": short, "b": long})).unwrap_err()
    assert error.code is ErrorCode.INVALID_ARGUMENT
    assert "dimension `n` is 3 in input `a`, and 5 in input `b`" in error.message
    backend.execute(ExecutionRequest(inputs={"a": short, "b": short})).unwrap()


@pytest.mark.parametrize("name", ["?", "None", "-1", "side"])
def test_a_name_of_two_dimensions_of_one_input_does_not_mean_one_size(name, trt, tmp_path):
    """`?` and its like are no names, and an exporter that names height and width alike means neither to be fixed."""
    shapes = {"inputs": {"x": ("FLOAT", [-1, -1, -1])}, "outputs": {"y": ("FLOAT", [-1, -1, -1])}}
    path = write(tmp_path, trt, **shapes, profiles=[{"x": ([1, 1, 1], [1, 8, 8], [2, 64, 256])}])
    dims = (name, name, name) if name == "?" else ("n", name, name)
    built(path, Signature((TensorSpec("x", DataType.FP32, dims),), (TensorSpec("y", DataType.FP32, dims),)))
    backend = TensorRTBackend()
    backend.load(path).unwrap()
    for shape in ((1, 48, 192), (2, 3, 3)):
        value = np.ones(shape, np.float32)
        np.testing.assert_array_equal(run(backend, value)["y"], value * 2)


@pytest.mark.parametrize("graph", [False, True])
@pytest.mark.parametrize("outputs", ["host", "device"])
def test_an_input_that_is_an_output_too_is_served_under_one_name(outputs, graph, trt, fake_cuda, tmp_path):
    """The parser renames the input; the file has `__x`, and the caller uses `x` for both."""
    sides = {"inputs": {"__x": ("FLOAT", [-1, 3])}, "outputs": {"x": ("FLOAT", [-1, 3])}}
    path = write(tmp_path, trt, **sides, profiles=[{"__x": PROFILE["x"]}])
    spec = TensorSpec("x", DataType.FP32, ("n", 3))
    built(path, Signature((spec,), (spec,)))
    backend = TensorRTBackend({"cuda_graph": graph, "outputs": outputs})
    backend.load(path).unwrap()
    for count, start in ((2, 0), (2, 5), (2, 9), (5, 1), (2, 3)):
        value = run(backend, rows(count, start))["x"]
        value = value.numpy() if isinstance(value, DeviceArray) else value
        np.testing.assert_array_equal(value, rows(count, start) * 2)
    assert backend.memory().unwrap() > path.stat().st_size


@pytest.mark.parametrize("graph", [False, True])
def test_shapes_that_tensorrt_cannot_infer_from_are_an_invalid_argument(graph, trt, tmp_path):
    """Where `infer_shapes` fails the bindings up to 10.12 crash the process, which the stand-in does too."""
    two = {"inputs": {"a": ("FLOAT", [-1]), "b": ("FLOAT", [-1])}, "outputs": {"y": ("FLOAT", [-1])}}
    span = ([1], [4], [8])
    path = write(tmp_path, trt, **two, profiles=[{"a": span, "b": span}], operation="sum")
    backend = TensorRTBackend({"cuda_graph": graph})
    backend.load(path).unwrap()
    short, long = np.ones(3, np.float32), np.ones(5, np.float32)
    for _ in range(3):
        error = backend.execute(ExecutionRequest(inputs={"a": short, "b": long})).unwrap_err()
        assert error.code is ErrorCode.INVALID_ARGUMENT
        assert "could not be broadcast" in error.message
        result = backend.execute(ExecutionRequest(inputs={"a": long, "b": long})).unwrap()
        np.testing.assert_array_equal(result.outputs["y"], long * 2)


@pytest.mark.parametrize(
    ("missing", "remedy", "command"),
    [
        ("libcudnn.so.8", "cudnn-cu12<9", "pip install nvidia-cublas-cu12 'nvidia-cudnn-cu12<9'"),
        ("libcublasLt.so.12", "cublas-cu12", "pip install nvidia-cublas-cu12 'nvidia-cudnn-cu12<9'"),
        ("libnvinfer.so.8", "doctor", "pip install --force-reinstall --no-cache-dir 'aegisrt-runtime[tensorrt]'"),
    ],
)
def test_libraries_that_are_missing_are_named_with_their_remedy(missing, remedy, command, tmp_path, monkeypatch):
    (tmp_path / "tensorrt").mkdir()
    said = f"{missing}: cannot open shared object file: No such file or directory"
    (tmp_path / "tensorrt" / "__init__.py").write_text(f"raise ImportError({said!r})\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "tensorrt", raising=False)
    monkeypatch.setattr(tensorrt_library, "_loaded", {})
    with pytest.raises(ResultError) as caught:
        tensorrt_library.load_tensorrt(["tensorrt"])
    error = caught.value.error
    assert (error.code, missing in error.message) == (ErrorCode.UNAVAILABLE, True)
    assert remedy in error.hint
    monkeypatch.setattr("aegisrt.backends.tensorrt.backend.installed", lambda: {"tensorrt": "8.6.1"})
    state = TensorRTBackend.availability(probe=True)
    assert (state.available, state.install) == (False, command), "what `doctor` and `backends` print"


@pytest.mark.parametrize("level", ["ERROR", "WARNING"])
def test_a_runtime_that_is_not_made_says_why(level, trt, tmp_path, monkeypatch):
    def refuse(logger):
        logger.log(type("Severity", (), {"name": level}), "CUDA initialization failure with error: 35")
        raise TypeError("pybind11::init(): factory function returned nullptr")

    monkeypatch.setattr(trt.module, "Runtime", refuse)
    error = TensorRTBackend().load(write(tmp_path, trt)).unwrap_err()
    assert error.code is ErrorCode.UNAVAILABLE
    assert "CUDA initialization failure" in error.message


@pytest.mark.parametrize(("here", "fits"), [("9.0", True), ("12.0", True), ("7.5", False)])
def test_an_engine_for_ampere_and_later_loads_on_later_gpus(here, fits, trt, fake_cuda, tmp_path, monkeypatch):
    path = write(tmp_path, trt)
    signature = Signature((TensorSpec("x", DataType.FP32, (None, 3)),), (TensorSpec("y", DataType.FP32, (None, 3)),))
    target = {"compute_capabilities": ["8.6"], "hardware_compatibility": "ampere_plus"}
    built(path, signature, target=target)
    monkeypatch.setattr("aegisrt.backends.tensorrt.backend.compute_capability", lambda ordinal: here)
    loaded = TensorRTBackend().load(path)
    assert loaded.is_ok() is fits


WIDE = {"inputs": {"x": ("FLOAT", [-1, 300])}, "outputs": {"y": ("FLOAT", [-1, 300])}}
WIDE_SPANS = [{"x": ([1, 300], [4, 300], [8, 300])}]


def wide(count, start=0):
    return np.arange(start, start + count * 300, dtype=np.float32).reshape(count, 300)


def interrupted(fake_cuda, backend, value, at, number=1):
    """Make a call that is interrupted right after the so many-th of these calls of the driver or of TensorRT."""
    left = [number]

    def watch(name, work):
        made = work()
        left[0] -= name == at
        if name == at and left[0] == 0:
            fake_cuda.watch = lambda name, work: work()
            raise KeyboardInterrupt
        return made

    fake_cuda.watch = watch
    with pytest.raises(KeyboardInterrupt):
        run(backend, value)
    fake_cuda.watch = lambda name, work: work()


@pytest.mark.parametrize("calls_before", [0, 1, 3])
@pytest.mark.parametrize("at", ["cuMemcpyDtoHAsync_v2", "execute_async_v3", "cuGraphLaunch"])
def test_a_call_that_is_interrupted_leaves_nothing_in_flight(at, calls_before, trt, fake_cuda, tmp_path):
    backend = TensorRTBackend({"cuda_graph": True})
    backend.load(write(tmp_path, trt)).unwrap()
    for _ in range(calls_before):
        run(backend, rows(2))
    if (at == "cuGraphLaunch") is (calls_before != 3):
        return
    interrupted(fake_cuda, backend, rows(2), at)
    assert fake_cuda.in_flight == []
    assert trt.destroyed_in_use == []


def test_a_call_that_fails_halfway_leaves_nothing_in_flight(trt, fake_cuda, tmp_path):
    backend = TensorRTBackend()
    backend.load(write(tmp_path, trt)).unwrap()
    fake_cuda.fail["cuMemcpyDtoHAsync_v2"] = 2
    request = ExecutionRequest(inputs={"x": rows(2)})
    assert backend.execute(request).unwrap_err().code is ErrorCode.RESOURCE_EXHAUSTED
    assert fake_cuda.in_flight == []


def test_a_call_after_one_that_was_interrupted_reads_no_memory_of_that_one_s_caller(trt, fake_cuda, tmp_path):
    backend = TensorRTBackend()
    backend.load(write(tmp_path, trt)).unwrap()
    run(backend, rows(2))
    lent = on_device(fake_cuda, rows(2, start=50))
    interrupted(fake_cuda, backend, lent, "set_tensor_address")
    np.testing.assert_array_equal(run(backend, rows(2, start=7))["y"], rows(2, start=7) * 2)


def test_the_profile_is_known_after_an_interrupt_of_its_selection(trt, fake_cuda, tmp_path):
    backend = TensorRTBackend()
    backend.load(write(tmp_path, trt, profiles=[PROFILE, {"x": ([9, 3], [16, 3], [32, 3])}])).unwrap()
    run(backend, rows(2))
    interrupted(fake_cuda, backend, rows(12), SELECT[trt.is_old].rpartition(".")[2])
    for count in (3, 12):
        np.testing.assert_array_equal(run(backend, rows(count))["y"], rows(count) * 2)


@pytest.mark.parametrize("graph", [False, True])
def test_a_buffer_whose_growth_was_interrupted_is_used_by_nobody_at_its_old_address(graph, trt, fake_cuda, tmp_path):
    backend = TensorRTBackend({"cuda_graph": graph})
    backend.load(write(tmp_path, trt, **WIDE, profiles=WIDE_SPANS)).unwrap()
    for _ in range(3):
        run(backend, wide(1))
    interrupted(fake_cuda, backend, wide(8), "DeviceAllocation.free")
    np.testing.assert_array_equal(run(backend, wide(1, start=5))["y"], wide(1, start=5) * 2)


def refused(fake_cuda, at):
    """Let the driver do its next call of this name and answer an error, as it does for work that failed before."""

    def watch(name, work):
        made = work()
        if name != at:
            return made
        fake_cuda.watch = lambda name, work: work()
        return 2

    fake_cuda.watch = watch


@pytest.mark.parametrize("at", ["cuGraphExecDestroy", "cuEventDestroy_v2", "cuStreamDestroy_v2"])
def test_an_unload_goes_on_after_something_could_not_be_destroyed(at, trt, fake_cuda, tmp_path):
    stream = CudaStream("cuda:0") if at.startswith("cuEvent") else None
    backend = TensorRTBackend({"cuda_graph": True}, stream=stream)
    backend.load(write(tmp_path, trt)).unwrap()
    for count in (1, 1, 2, 2):
        run(backend, rows(count))
    refused(fake_cuda, at)
    assert backend.unload().is_err()
    assert (fake_cuda.allocations, fake_cuda.executables, fake_cuda.events) == ({}, {}, {})
    assert list(fake_cuda.streams) == ([stream.handle] if stream else [])
    assert trt.destroyed == ["IExecutionContext"] * 3 + ["ICudaEngine", "Runtime"]


def test_recordings_that_could_not_be_destroyed_are_not_launched_again(trt, fake_cuda, tmp_path):
    backend = TensorRTBackend({"cuda_graph": True})
    backend.load(write(tmp_path, trt, **WIDE, profiles=WIDE_SPANS)).unwrap()
    for _ in range(3):
        run(backend, wide(1))
    refused(fake_cuda, "cuGraphExecDestroy")
    assert backend.execute(ExecutionRequest(inputs={"x": wide(8)})).is_err()
    for count in (1, 8, 1):
        np.testing.assert_array_equal(run(backend, wide(count))["y"], wide(count) * 2)


def late_engine(folder, trt):
    outputs = {"y": ("INT32", [2, -1])}
    return write(folder, trt, inputs=WIDE["inputs"], outputs=outputs, profiles=WIDE_SPANS, operation="nonzero")


@pytest.mark.parametrize("at", ["mem_alloc", "DeviceAllocation.free"])
def test_an_interrupt_in_an_output_allocator_is_told_and_the_instance_goes_on(at, trt, fake_cuda, tmp_path):
    backend = TensorRTBackend()
    backend.load(late_engine(tmp_path, trt)).unwrap()
    run(backend, wide(1))
    run(backend, np.zeros((8, 300), np.float32))
    interrupted(fake_cuda, backend, wide(8), at)
    for count in (1, 8):
        np.testing.assert_array_equal(run(backend, wide(count))["y"], np.argwhere(wide(count)).T)


def test_an_output_whose_shape_was_not_told_is_not_answered_in_that_of_the_call_before(trt, tmp_path, monkeypatch):
    backend = TensorRTBackend()
    backend.load(late_engine(tmp_path, trt)).unwrap()
    run(backend, wide(2))
    (output,) = backend._loaded.slots[0]._context._allocators
    monkeypatch.setattr(type(output), "notify_shape", lambda *arguments: None)
    error = backend.execute(ExecutionRequest(inputs={"x": wide(1)})).unwrap_err()
    assert error.code is ErrorCode.INTERNAL
    assert "reported no shape" in error.message


@pytest.mark.parametrize("shape", [(2, 10**6), (2, -1)])
def test_a_shape_that_does_not_fit_the_memory_of_its_output_is_not_read(shape, trt, tmp_path, monkeypatch):
    backend = TensorRTBackend()
    backend.load(late_engine(tmp_path, trt)).unwrap()
    run(backend, wide(2))
    (output,) = backend._loaded.slots[0]._context._allocators
    notify = type(output).notify_shape
    with monkeypatch.context() as patch:
        patch.setattr(type(output), "notify_shape", lambda self, name, _: notify(self, name, shape))
        error = backend.execute(ExecutionRequest(inputs={"x": wide(1)})).unwrap_err()
    assert error.code is ErrorCode.INTERNAL
    assert "reported the shape" in error.message
    np.testing.assert_array_equal(run(backend, wide(2))["y"], np.argwhere(wide(2)).T)


def test_an_output_that_gets_an_allocator_is_read_there_for_earlier_shapes_too(trt, tmp_path, monkeypatch):
    backend = TensorRTBackend()
    backend.load(write(tmp_path, trt)).unwrap()
    np.testing.assert_array_equal(run(backend, rows(2))["y"], rows(2) * 2)
    monkeypatch.setattr(trt.module.IExecutionContext, "get_tensor_shape", lambda self, name: (-1, 3))
    for count in (3, 2, 3):
        np.testing.assert_array_equal(run(backend, rows(count, 9))["y"], rows(count, 9) * 2)


def test_a_file_that_is_refused_as_the_device_was_lost_elsewhere_is_not_damaged(trt, fake_cuda, tmp_path):
    trt.refuse["deserialize_cuda_engine"] = (None, "Cuda Runtime (an illegal memory access was encountered)")
    fake_cuda.fail["mem_alloc"] = "LaunchError"
    assert TensorRTBackend().load(write(tmp_path, trt)).unwrap_err().code is ErrorCode.UNAVAILABLE


def test_a_load_while_this_thread_records_a_graph_is_unavailable_before_a_runtime_is_created(trt, fake_cuda, tmp_path):
    path, stream = write(tmp_path, trt), CudaStream("cuda:0")
    driver = stream.context.driver
    with stream.context:
        assert driver.cuStreamBeginCapture_v2(stream.handle, 0) == 0
    error = TensorRTBackend().load(path).unwrap_err()
    with stream.context:
        driver.cuStreamEndCapture(stream.handle, byref(c_void_p()))
    assert error.code is ErrorCode.UNAVAILABLE, error
    assert "before or after the recording" in error.hint
    TensorRTBackend().load(path).unwrap()
