"""ONNX Runtime on a GPU: the binding, on its CPU provider and a fake GPU whose memory is host memory."""

import sys
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest

ort = pytest.importorskip(
    "onnxruntime", reason="onnxruntime is not installed; run: pip install 'aegisrt-runtime[onnx]'"
)
onnx = pytest.importorskip("onnx", reason="the models of this test are made with the package onnx")

from aegisrt.backends.onnx import cuda_binding_cache, cuda_slot  # noqa: E402
from aegisrt.backends.onnx.cuda_sessions import CudaSessions, open_on_gpu  # noqa: E402
from aegisrt.backends.onnx.cuda_slot import OrtCudaSlot  # noqa: E402
from aegisrt.backends.onnx.cuda_threads import DIRECT  # noqa: E402
from aegisrt.backends.onnx.errors import execute_error  # noqa: E402
from aegisrt.backends.onnx.options import ONNXOptions  # noqa: E402
from aegisrt.backends.onnx.signature import session_signature  # noqa: E402
from aegisrt.core.resources import configs_dir  # noqa: E402
from aegisrt.core.result import ErrorCode, ResultError, fail  # noqa: E402
from aegisrt.devices.base import Device  # noqa: E402
from aegisrt.devices.cuda.arrays import DeviceArray, JoinedArray  # noqa: E402
from aegisrt.devices.cuda.context import cuda_context  # noqa: E402
from aegisrt.devices.cuda.driver import CAPTURE_HINT  # noqa: E402
from aegisrt.devices.cuda.memory import DeviceBuffer  # noqa: E402
from aegisrt.devices.cuda.stream import CudaStream  # noqa: E402
from aegisrt.devices.options import StreamOptions  # noqa: E402
from aegisrt.devices.shared_stream import SharedStream  # noqa: E402
from tests.backends.onnx_graphs import FLOAT, TensorProto, node, save  # noqa: E402
from tests.fakes.cuda import context_handle, fake_cuda  # noqa: E402

__all__ = ["fake_cuda"]
DIGITS = configs_dir() / "model" / "digits.onnx"


def recorded(path):
    """Return a session that knows where its nodes run."""
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


@pytest.fixture
def opened(fake_cuda, monkeypatch):
    """Return what makes a slot for a model, on the CPU provider, whose memory the fake GPU knows as its own."""
    monkeypatch.setattr(OrtCudaSlot, "device_type", "cpu")
    monkeypatch.setattr(cuda_slot, "_on_cpu", lambda session: frozenset())
    monkeypatch.setattr(fake_cuda, "holds", lambda address, size=1: True)
    made = []

    def make(path, stream=None, refuse_graph=False, slots=1, ordinal=0, seen=None, **options):
        parsed = ONNXOptions.parse(options)

        def session(stream, *, graph):
            if seen is not None:
                seen.append(fake_cuda.stack[-1])
            if graph and refuse_graph:
                raise fail(ErrorCode.INVALID_ARGUMENT, "not all nodes have been partitioned to the GPU")
            return recorded(path)

        sessions = CudaSessions(session, Device.parse(f"cuda:{ordinal}"), stream, parsed.cuda_graph, {})
        first = open_on_gpu(sessions)
        signature = session_signature(first, path)
        del first
        made.append(sessions)
        return [OrtCudaSlot(ort, sessions, signature, parsed) for _ in range(slots)], sessions

    yield make
    for sessions in made:
        sessions.close()


def plain(path, **inputs):
    return ort.InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(None, inputs)


def images(count, seed=0):
    return np.random.default_rng(seed).integers(0, 17, (count, 1, 8, 8)).astype(np.float32)


def test_calls_of_changing_shapes_answer_what_a_plain_session_answers(opened, fake_cuda):
    (slot,), sessions = opened(DIGITS)
    for step, count in enumerate((1, 1, 1, 64, 64, 3, 1, 64, 64, 2, 2, 2)):
        value = images(count, step)
        (got,) = slot.call({"image": value}, ("probabilities",))
        np.testing.assert_allclose(got, plain(DIGITS, image=value)[0], rtol=1e-5)
    slot.close()
    sessions.close()
    assert fake_cuda.allocations == {}
    assert fake_cuda.streams == {}
    assert fake_cuda.stack == [context_handle(0)]


def test_results_are_the_callers_own(opened):
    (slot,), _ = opened(DIGITS)
    first = slot.call({"image": images(2)}, ("probabilities",))[0]
    kept = first.copy()
    for seed in range(1, 4):
        slot.call({"image": images(2, seed)}, ("probabilities",))
    np.testing.assert_array_equal(first, kept)


def test_memory_of_ours_is_bound_once_the_shapes_are_known(opened):
    (slot,), _ = opened(DIGITS)
    for _ in range(3):
        slot.call({"image": images(2)}, ("probabilities",))
    (bound,) = slot._bindings._bound.values()
    assert [place.host.shape for place in bound.results] == [(2, 10)]


def test_an_output_whose_shape_changes_with_the_values(opened, tmp_path):
    path = save(
        tmp_path / "m.onnx",
        [node("NonZero", ["x"], ["y"])],
        {"x": (FLOAT, ("n",))},
        {"y": (TensorProto.INT64, (1, "k"))},
    )
    (slot,), sessions = opened(path, cuda_graph=True)
    for value in ([1, 0, 1], [1, 0, 1], [1, 1, 1], [0, 0, 0], [0, 1, 0]):
        array = np.array(value, np.float32)
        np.testing.assert_array_equal(slot.call({"x": array}, ("y",))[0], plain(path, x=array)[0])
    assert sessions.metadata["cuda_graph"].startswith("off: the shape of an output changes")


def test_a_subset_of_the_outputs_in_the_order_asked_for(opened, tmp_path):
    path = save(
        tmp_path / "m.onnx",
        [node("Relu", ["x"], ["a"]), node("Neg", ["x"], ["b"])],
        {"x": (FLOAT, ("n",))},
        {"a": (FLOAT, ("n",)), "b": (FLOAT, ("n",))},
    )
    (slot,), _ = opened(path)
    value = np.array([1, -2], np.float32)
    for _ in range(3):
        b, a = slot.call({"x": value}, ("b", "a"))
        np.testing.assert_array_equal(a, [1, 0])
        np.testing.assert_array_equal(b, [-1, 2])
        np.testing.assert_array_equal(slot.call({"x": value}, ("b",))[0], [-1, 2])


@pytest.mark.parametrize("element", ["FLOAT16", "BFLOAT16", "INT64", "BOOL", "UINT8"])
def test_dtypes(element, opened, tmp_path):
    kind = getattr(TensorProto, element)
    path = save(tmp_path / "m.onnx", [node("Identity", ["x"], ["y"])], {"x": (kind, ("n", 3))}, {"y": (kind, ("n", 3))})
    (slot,), _ = opened(path)
    from aegisrt.core.tensor import DataType

    name = {"FLOAT16": "FP16", "BFLOAT16": "BF16"}.get(element, element)
    value = np.arange(6).reshape(2, 3).astype(DataType(name).numpy)
    for _ in range(3):
        (got,) = slot.call({"x": value}, ("y",))
        assert got.dtype == value.dtype
        assert got.tobytes() == value.tobytes()


def test_empty_tensors(opened, tmp_path):
    path = save(tmp_path / "m.onnx", [node("Relu", ["x"], ["y"])], {"x": (FLOAT, ("n", 3))}, {"y": (FLOAT, ("n", 3))})
    (slot,), _ = opened(path)
    for _ in range(3):
        assert slot.call({"x": np.zeros((0, 3), np.float32)}, ("y",))[0].shape == (0, 3)


def test_results_left_on_the_device(opened, fake_cuda):
    (slot,), _ = opened(DIGITS, outputs="device")
    for seed in range(3):
        (got,) = slot.call({"image": images(2, seed)}, ("probabilities",))
        stored = fake_cuda.allocations[got.pointer][: got.nbytes].view(np.float32).reshape(got.shape)
        np.testing.assert_allclose(stored, plain(DIGITS, image=images(2, seed))[0], rtol=1e-5)


def on_gpu(fake_cuda, value):
    memory = DeviceBuffer(cuda_context(0), value.nbytes)
    fake_cuda.allocations[memory.pointer][: value.nbytes] = np.frombuffer(value.tobytes(), np.uint8)
    return DeviceArray(memory.pointer, value.shape, value.dtype, owner=memory)


@pytest.mark.parametrize("graph", [False, True])
def test_a_call_on_the_gpu_copies_nothing_to_the_host_and_allocates_nothing(graph, opened, fake_cuda):
    (slot,), _ = opened(DIGITS, outputs="device", cuda_graph=graph)
    seen, values = [], [on_gpu(fake_cuda, images(2, seed)) for seed in range(6)]
    for step, value in enumerate(values):
        if step == 3:
            fake_cuda.calls.clear()
            fake_cuda.watch = lambda name, work: seen.append(name) or work()
        (answer,) = slot.call({"image": value}, ("probabilities",))
        stored = fake_cuda.allocations[answer.pointer][: answer.nbytes].view(np.float32).reshape(answer.shape)
        np.testing.assert_allclose(stored, plain(DIGITS, image=images(2, step))[0], rtol=1e-5)
    assert not {"mem_alloc", "pagelocked_empty", "DeviceAllocation.free", "cuEventCreate"} & set(seen)
    assert not {"cuMemcpyHtoDAsync_v2", "cuMemcpyDtoHAsync_v2"} & set(fake_cuda.calls)


@pytest.mark.parametrize("graph", [False, True])
def test_arrays_on_the_gpu_that_are_joined_and_by_turns_arrays_on_the_host(graph, opened, fake_cuda):
    (slot,), _ = opened(DIGITS, cuda_graph=graph)
    for seed in range(4):
        parts = [images(count, seed + count) for count in (1, 3)]
        joined = JoinedArray(tuple(on_gpu(fake_cuda, part) for part in parts))
        fake_cuda.calls.clear()
        (got,) = slot.call({"image": joined}, ("probabilities",))
        wanted = plain(DIGITS, image=np.concatenate(parts))[0]
        np.testing.assert_allclose(got, wanted, rtol=1e-5)
        assert "cuMemcpyHtoDAsync_v2" not in fake_cuda.calls
        (got,) = slot.call({"image": np.concatenate(parts)}, ("probabilities",))
        np.testing.assert_allclose(got, wanted, rtol=1e-5)


def test_a_steady_call_takes_few_steps_in_python(opened):
    (slot,), _ = opened(DIGITS, cuda_graph=True)
    value, names, made = {"image": images(2)}, ("probabilities",), []
    for _ in range(4):
        slot.call(value, names)
    sys.setprofile(lambda frame, event, _: made.append(frame.f_code) if event == "call" else None)
    slot.call(value, names)
    sys.setprofile(None)
    ours = [code.co_name for code in made if "/aegisrt/" in code.co_filename]
    assert len(ours) <= 8, ours


@pytest.mark.parametrize("graph", [False, True])
def test_arrays_on_the_gpu_go_in_without_a_copy_and_beside_them_host_arrays(graph, opened, fake_cuda):
    (slot,), _ = opened(DIGITS, cuda_graph=graph)
    for seed in range(4):
        value = images(2, seed)
        memory = DeviceBuffer(cuda_context(0), value.nbytes)
        fake_cuda.allocations[memory.pointer][: value.nbytes] = np.frombuffer(value.tobytes(), np.uint8)
        lent = DeviceArray(memory.pointer, value.shape, value.dtype, owner=memory, stream=1)
        fake_cuda.calls.clear()
        (got,) = slot.call({"image": lent}, ("probabilities",))
        np.testing.assert_allclose(got, plain(DIGITS, image=value)[0], rtol=1e-5)
        assert "cuMemcpyHtoDAsync_v2" not in fake_cuda.calls
        value = images(2, 50 + seed)
        np.testing.assert_allclose(
            slot.call({"image": value}, ("probabilities",))[0], plain(DIGITS, image=value)[0], rtol=1e-5
        )


def test_a_model_that_cannot_be_recorded_runs_without_and_says_why(opened):
    (slot,), sessions = opened(DIGITS, cuda_graph=True, refuse_graph=True)
    slot.call({"image": images(1)}, ("probabilities",))
    assert sessions.metadata["cuda_graph"] == "off: not all nodes have been partitioned to the GPU"


def test_each_recording_has_an_id_of_its_own_and_the_first_call_none(opened):
    (slot,), sessions = opened(DIGITS, cuda_graph=True, cuda_graph_limit=2)
    assert sessions.metadata["cuda_graph"] == "on"
    ids = []
    made = slot._run_options
    slot._run_options = lambda graph: ids.append(graph) or made(graph)
    for count in (1, 1, 1, 2, 2, 3, 3):
        slot.call({"image": images(count)}, ("probabilities",))
    assert ids[0] == "-1"
    assert sorted(graph for graph in ids if graph != "-1") == ["1", "2"]


def test_instances_that_share_a_session_do_not_replay_each_other_s_recordings(opened):
    slots, _ = opened(DIGITS, stream=SharedStream(StreamOptions(device="gpu0", shared=True)), slots=2, cuda_graph=True)
    for slot in slots:
        for _ in range(3):
            slot.call({"image": images(2)}, ("probabilities",))
    options = [bound.run_options for slot in slots for bound in slot._bindings._bound.values()]
    assert [each.get_run_config_entry("gpu_graph_id") for each in options] == ["1", "2"]


def test_a_larger_request_throws_no_recording_away(opened):
    (slot,), _ = opened(DIGITS, cuda_graph=True)
    ids = []
    made = slot._run_options
    slot._run_options = lambda graph: ids.append(graph) or made(graph)
    for count in (1, 1, 4, 4, 64, 64, 1, 4, 64, 1):
        value = images(count, count)
        (got,) = slot.call({"image": value}, ("probabilities",))
        np.testing.assert_allclose(got, plain(DIGITS, image=value)[0], rtol=1e-5)
    assert [graph for graph in ids if graph != "-1"] == ["1", "2", "3"]


@pytest.mark.parametrize(("broken", "recorded", "note"), [(1, 3, "on"), (2, 2, "on"), (3, 0, "off: ")])
def test_a_recording_that_another_thread_breaks_is_tried_again_and_each_call_answered(
    broken, recorded, note, opened, fake_cuda
):
    (slot,), sessions = opened(DIGITS, cuda_graph=True)
    run, runs = slot._session.run_with_iobinding, []

    def interrupted(binding, options):
        records = options.get_run_config_entry("gpu_graph_id") != "-1"
        if records and len(runs) < broken:
            runs.append("broken")
            fake_cuda.captures[slot._stream.handle] = None
            raise RuntimeError("CUDA failure 901: operation failed due to a previous error during capture")
        runs.extend(["recorded"] * records)
        run(binding, options)

    slot._session.run_with_iobinding = interrupted
    for seed in range(5):
        value = images(2, seed)
        (got,) = slot.call({"image": value}, ("probabilities",))
        np.testing.assert_allclose(got, plain(DIGITS, image=value)[0], rtol=1e-5)
        assert fake_cuda.captures == {}
    assert (runs.count("broken"), runs.count("recorded")) == (broken, recorded)
    assert sessions.metadata["cuda_graph"].startswith(note)


@pytest.mark.parametrize(("graph", "most"), [(True, DIRECT + 1), (False, 30)])
def test_however_many_threads_call_few_run_a_session_that_records(graph, most, opened):
    (slot,), _ = opened(DIGITS, cuda_graph=graph)
    run, threads = slot._session.run_with_iobinding, []
    slot._session.run_with_iobinding = lambda *given: threads.append(threading.current_thread()) or run(*given)
    for seed in range(30):
        value = images(2, seed)
        with ThreadPoolExecutor(1) as pool:
            (got,) = pool.submit(slot.call, {"image": value}, ("probabilities",)).result()
        np.testing.assert_allclose(got, plain(DIGITS, image=value)[0], rtol=1e-5)
    assert len(set(threads)) == most
    slot.close()


@pytest.mark.parametrize(
    "text",
    [
        "CUDA failure 901: operation failed due to a previous error",
        "CUDNN_FE failure 11: CUDNN_BACKEND_API_FAILED ; GPU=0",
        "CUBLAS failure 13: CUBLAS_STATUS_EXECUTION_FAILED",
    ],
)
def test_a_recording_that_onnx_runtime_finds_broken_when_it_ends_it_is_tried_again(text, opened):
    (slot,), _ = opened(DIGITS, cuda_graph=True)
    slot.call({"image": images(2)}, ("probabilities",))
    run, failures = slot._session.run_with_iobinding, [text]

    def ends_badly(binding, options):
        run(binding, options)
        if failures:
            raise RuntimeError(failures.pop())

    slot._session.run_with_iobinding = ends_badly
    (got,) = slot.call({"image": images(2)}, ("probabilities",))
    np.testing.assert_allclose(got, plain(DIGITS, image=images(2))[0], rtol=1e-5)


def test_a_failure_of_a_library_where_nothing_is_recorded_is_reported(opened):
    (slot,), _ = opened(DIGITS)
    for _ in range(3):
        slot.call({"image": images(2)}, ("probabilities",))
    calls = []

    def fails(binding, options):
        calls.append(1)
        raise RuntimeError("CUDNN_FE failure 11: CUDNN_BACKEND_API_FAILED ; GPU=0")

    slot._session.run_with_iobinding = fails
    with pytest.raises(RuntimeError, match="CUDNN_FE"):
        slot.call({"image": images(2)}, ("probabilities",))
    assert len(calls) == 1


def test_a_stream_that_was_closed_meanwhile_is_told(opened):
    stream = CudaStream("cuda:0")
    (slot,), _ = opened(DIGITS, stream=stream)
    for _ in range(3):
        slot.call({"image": images(2)}, ("probabilities",))
    stream.close()
    with pytest.raises(ResultError, match="the stream is closed"):
        slot.call({"image": images(2)}, ("probabilities",))


def meet_an_illegal_address(binding, options):
    """Raise what ONNX Runtime's `run_with_iobinding` then does."""
    raise RuntimeError("CUDA failure 700: an illegal memory access was encountered")


def test_a_broken_recording_of_a_lost_device_is_the_loss(opened, fake_cuda):
    (slot,), _ = opened(DIGITS, cuda_graph=True)
    slot.call({"image": images(2)}, ("probabilities",))
    slot._session.run_with_iobinding = meet_an_illegal_address
    fake_cuda.fail["cuStreamIsCapturing"] = 700
    with pytest.raises(ResultError, match="CUDA_ERROR_ILLEGAL_ADDRESS"):
        slot.call({"image": images(2)}, ("probabilities",))


def test_what_is_beyond_the_limit_runs_without_a_recording_and_the_metadata_says_so(opened, fake_cuda):
    (slot,), sessions = opened(DIGITS, cuda_graph=True, cuda_graph_limit=2)
    for count in (1, 1, 2, 2):
        slot.call({"image": images(count)}, ("probabilities",))
    assert sessions.metadata["cuda_graph"] == "on"
    for count in (3, 4, 3, 1, 90, 2):
        value = images(count, count)
        (got,) = slot.call({"image": value}, ("probabilities",))
        np.testing.assert_allclose(got, plain(DIGITS, image=value)[0], rtol=1e-5)
    assert sessions.metadata["cuda_graph"] == (
        "on for the first 2 sets of shapes, off for others: cuda_graph_limit is 2"
    )
    slot.close()
    sessions.close()
    assert fake_cuda.allocations == {}


@pytest.mark.parametrize(
    ("out", "graph", "calls"),
    [
        (0, False, ["cuCtxGetCurrent", "cuMemcpyHtoDAsync_v2", "cuMemcpyDtoHAsync_v2", "cuStreamSynchronize"]),
        (4096, False, ["cuCtxGetCurrent", "cuMemcpyHtoDAsync_v2"]),
        (0, True, ["cuCtxGetCurrent", "cuMemcpyHtoDAsync_v2", "cuMemcpyDtoHAsync_v2", "cuStreamSynchronize"]),
        (4096, True, ["cuCtxGetCurrent", "cuMemcpyHtoDAsync_v2", "cuStreamSynchronize"]),
    ],
)
def test_a_call_asks_no_more_of_the_driver_than_it_must(out, graph, calls, opened, fake_cuda, monkeypatch):
    monkeypatch.setattr(OrtCudaSlot, "direct_output_bytes", out)
    (slot,), _ = opened(DIGITS, cuda_graph=graph)
    for seed in range(4):
        fake_cuda.calls.clear()
        value = images(2, seed)
        (got,) = slot.call({"image": value}, ("probabilities",))
        np.testing.assert_allclose(got, plain(DIGITS, image=value)[0], rtol=1e-5)
    assert fake_cuda.calls == calls


@pytest.fixture
def pushed(monkeypatch):
    """Return what calls a slot, and answers how often it had to make the device's context current."""

    def call(slot, seed):
        pushes, push, value = [], slot._cuda._push, images(2, seed)
        monkeypatch.setattr(slot._cuda, "_push", lambda: pushes.append(1) or push())
        (got,) = slot.call({"image": value}, ("probabilities",))
        monkeypatch.setattr(slot._cuda, "_push", push)
        np.testing.assert_allclose(got, plain(DIGITS, image=value)[0], rtol=1e-5)
        return len(pushes)

    return call


def test_a_thread_without_a_context_gets_that_of_the_first_gpu_as_the_runtime_would_give_it(opened, fake_cuda, pushed):
    (slot,), _ = opened(DIGITS)
    assert fake_cuda.stack == []
    assert pushed(slot, 0) > 0, "pycuda allocates"
    assert [pushed(slot, seed) for seed in (1, 2)] == [0, 0]
    assert fake_cuda.stack == [context_handle(0)]
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(pushed, slot, 3).result() == 0
    assert pushed(slot, 4) == 0


@pytest.mark.parametrize(("ordinal", "before"), [(1, []), (1, [0]), (0, [1])])
def test_the_device_that_the_caller_works_on_stays_the_current_one(ordinal, before, opened, fake_cuda, pushed):
    fake_cuda.count = 2
    fake_cuda.stack.extend(map(context_handle, before))
    (slot,), sessions = opened(DIGITS, ordinal=ordinal)
    for seed in range(4):
        assert pushed(slot, seed) > 0
        assert fake_cuda.stack == [context_handle(other) for other in before]
    slot.close()
    sessions.close()
    assert fake_cuda.stack == [context_handle(other) for other in before]


def test_sessions_are_opened_and_dropped_with_their_device_current(opened, fake_cuda):
    fake_cuda.count = 2
    seen = []
    slots, sessions = opened(DIGITS, ordinal=1, slots=2, seen=seen)
    assert seen == [context_handle(1)] * 2
    assert fake_cuda.stack == []
    for slot in slots:
        weakref.finalize(slot._session, lambda: seen.append(fake_cuda.stack[-1]))
    for slot in slots:
        slot.close()
    sessions.close()
    assert seen == [context_handle(1)] * 4


@pytest.mark.parametrize("calls_before", [0, 1, 3])
def test_a_device_that_is_lost_in_a_run_is_told_as_the_driver_tells_it_and_then_each_time(
    opened, fake_cuda, calls_before
):
    (slot,), _ = opened(DIGITS)
    for _ in range(calls_before):
        slot.call({"image": images(2)}, ("probabilities",))
    slot._session.run_with_iobinding = meet_an_illegal_address
    fake_cuda.fail["cuStreamSynchronize"] = 700
    with pytest.raises(ResultError, match="the CUDA driver reported CUDA_ERROR_ILLEGAL_ADDRESS"):
        slot.call({"image": images(2)}, ("probabilities",))
    with pytest.raises(ResultError, match="device cuda:0 cannot be used after an earlier error"):
        slot.call({"image": images(2)}, ("probabilities",))


def test_an_error_that_leaves_the_device_serving_is_the_engine_s_own(opened):
    (slot,), _ = opened(DIGITS)
    for _ in range(2):
        slot.call({"image": images(2)}, ("probabilities",))
    run = slot._session.run_with_iobinding

    def fail_once(binding, options):
        slot._session.run_with_iobinding = run
        raise RuntimeError("Failed to allocate memory for requested buffer")

    slot._session.run_with_iobinding = fail_once
    with pytest.raises(RuntimeError, match="Failed to allocate"):
        slot.call({"image": images(2)}, ("probabilities",))
    slot.call({"image": images(2)}, ("probabilities",))


def test_a_large_output_is_copied_and_a_small_one_is_written_over_the_bus(opened, fake_cuda, monkeypatch):
    monkeypatch.setattr(OrtCudaSlot, "direct_output_bytes", images(2).shape[0] * 10 * 4)
    (slot,), _ = opened(DIGITS)
    for count, copies in ((2, 0), (3, 1), (2, 0)):
        for _ in range(3):
            fake_cuda.calls.clear()
            value = images(count, count)
            (got,) = slot.call({"image": value}, ("probabilities",))
            np.testing.assert_allclose(got, plain(DIGITS, image=value)[0], rtol=1e-5)
        assert fake_cuda.calls.count("cuMemcpyDtoHAsync_v2") == copies


def test_the_shapes_not_used_for_longest_are_forgotten(opened, monkeypatch):
    monkeypatch.setattr(cuda_binding_cache, "_KEPT_SHAPES", 2)
    (slot,), _ = opened(DIGITS)
    for count in (64, 3, 64, 2):
        slot.call({"image": images(count)}, ("probabilities",))
    assert [shapes for (shapes, _, _) in slot._bindings._bound] == [((64, 1, 8, 8),), ((2, 1, 8, 8),)]


def test_an_empty_array_on_the_gpu_is_like_one_on_the_host(opened, tmp_path):
    path = save(tmp_path / "m.onnx", [node("Relu", ["x"], ["y"])], {"x": (FLOAT, ("n", 3))}, {"y": (FLOAT, ("n", 3))})
    (slot,), _ = opened(path)
    for _ in range(3):
        (got,) = slot.call({"x": DeviceArray(0, (0, 3), np.dtype(np.float32))}, ("y",))
        assert got.shape == (0, 3)


@pytest.fixture
def added(tmp_path):
    path = tmp_path / "m.onnx"
    return save(path, [node("Add", ["x", "z"], ["y"])], dict.fromkeys("xz", (FLOAT, ("n",))), {"y": (FLOAT, ("n",))})


def add(slot, count):
    value = np.arange(count, dtype=np.float32)
    (got,) = slot.call({"x": value, "z": value}, ("y",))
    np.testing.assert_array_equal(got, value * 2)


def addresses_on_the_gpu(slot):
    return {upload.target for bound in slot._bindings._bound.values() for upload in bound.uploads}


def test_where_one_input_found_room_and_the_next_did_not_no_binding_keeps_the_old_address(opened, added, fake_cuda):
    (slot,), _ = opened(added)
    add(slot, 1000)
    fake_cuda.memory_bytes = 50_000
    with pytest.raises(ResultError, match="out of memory"):
        add(slot, 10_000)
    for _ in range(3):
        add(slot, 1000)
        assert addresses_on_the_gpu(slot) <= set(fake_cuda.allocations)


def test_a_request_that_fails_takes_no_recording_s_place(opened, added, fake_cuda):
    (slot,), sessions = opened(added, cuda_graph=True, cuda_graph_limit=1)
    for count in (2, 3):
        with pytest.raises(Exception, match="Add"):
            slot.call({"x": np.zeros(count, np.float32), "z": np.zeros(count + 5, np.float32)}, ("y",))
    fake_cuda.memory_bytes = 50_000
    with pytest.raises(ResultError, match="out of memory"):
        add(slot, 10_000)
    assert (slot._bindings._bound, fake_cuda.allocations) == ({}, {})
    for _ in range(3):
        add(slot, 1000)
    assert [bound.memory for bound in slot._bindings._bound.values()] == slot._bindings.own
    assert sessions.metadata["cuda_graph"] == "on"


@pytest.mark.parametrize("graph", [False, True])
def test_where_there_is_no_room_for_the_outputs_onnx_runtime_s_own_are_answered(graph, opened, added, fake_cuda):
    (slot,), _ = opened(added, cuda_graph=graph)
    fake_cuda.memory_bytes = 800_000
    for _ in range(3):
        add(slot, 100_000)
    fake_cuda.memory_bytes *= 2
    for _ in range(3):
        add(slot, 100_000)
    assert [len(bound.results) for bound in slot._bindings._bound.values()] == [1]


@pytest.mark.parametrize("lost", [False, True])
@pytest.mark.parametrize("calls_before", [0, 3])
def test_a_call_that_is_broken_off_leaves_nothing_in_flight(calls_before, lost, opened, fake_cuda, monkeypatch):
    monkeypatch.setattr(OrtCudaSlot, "direct_output_bytes", 0)
    (slot,), _ = opened(DIGITS)
    for _ in range(calls_before):
        slot.call({"image": images(2)}, ("probabilities",))

    def interrupted(name, work):
        if name != "cuStreamSynchronize":
            return work()
        fake_cuda.watch = lambda name, work: work()
        fake_cuda.calls.clear()
        if lost:
            fake_cuda.fail["cuStreamSynchronize"] = 700
        raise KeyboardInterrupt

    fake_cuda.watch = interrupted
    with pytest.raises(KeyboardInterrupt):
        slot.call({"image": images(2)}, ("probabilities",))
    assert fake_cuda.calls == ["cuStreamSynchronize"]
    assert (cuda_context(0).lost is not None) is lost


class RunOptions:
    """Remembers its entries, which ONNX Runtime's own does not show."""

    def __init__(self):
        self.entries = {}

    def add_run_config_entry(self, key, value):
        self.entries[key] = value


@pytest.mark.parametrize("graph", [False, True])
def test_onnx_runtime_ends_each_call_itself_except_one_that_is_replayed(graph, opened, monkeypatch):
    (slot,), _ = opened(DIGITS, cuda_graph=graph)
    monkeypatch.setattr(slot, "_ort", SimpleNamespace(RunOptions=RunOptions))
    plain_call, replay = slot._run_options("-1").entries, slot._run_options("1").entries
    assert "disable_synchronize_execution_providers" not in plain_call
    assert plain_call["gpu_graph_id"] == "-1"  # without it each call costs ONNX Runtime an exception
    assert replay["disable_synchronize_execution_providers"] == "1"


def test_each_instance_has_a_stream_of_its_own_unless_it_is_shared(opened, fake_cuda):
    slots, _ = opened(DIGITS, slots=3)
    assert len({slot._stream.handle for slot in slots}) == 3
    slots, _ = opened(DIGITS, stream=SharedStream(StreamOptions(device="gpu0", shared=True)), slots=3)
    assert len({slot._stream.handle for slot in slots}) == 1
    assert len({id(slot._session) for slot in slots}) == 1
    (got,) = slots[1].call({"image": images(2)}, ("probabilities",))
    np.testing.assert_allclose(got, plain(DIGITS, image=images(2))[0], rtol=1e-5)


def test_a_shared_stream_outlives_its_session(opened, fake_cuda):
    slots, sessions = opened(DIGITS, stream=SharedStream(StreamOptions(device="gpu0", shared=True)))
    seen = []
    weakref.finalize(slots[0]._session, lambda: seen.append(len(fake_cuda.streams)))
    slots.pop().close()
    sessions.close()
    assert (seen, fake_cuda.streams) == ([1], {})


@pytest.mark.parametrize("calls_before", [0, 3])
def test_a_call_while_the_application_records_is_to_be_tried_again(calls_before, opened, fake_cuda):
    """The driver refuses the allocation of the call, of ONNX Runtime's or of ours."""
    (slot,), _ = opened(DIGITS)
    for _ in range(calls_before):
        slot.call({"image": images(2)}, ("probabilities",))
    run, refused = (
        slot._session.run_with_iobinding,
        "CUDA failure 900: operation not permitted when stream is capturing",
    )

    def not_permitted(binding, options):
        raise RuntimeError(refused)

    slot._session.run_with_iobinding = not_permitted
    with pytest.raises(RuntimeError) as raised:
        slot.call({"image": images(2)}, ("probabilities",))
    assert execute_error(raised.value).code is ErrorCode.UNAVAILABLE
    slot._session.run_with_iobinding = run
    fake_cuda.fail["cuMemcpyHtoDAsync_v2"] = 900
    with pytest.raises(ResultError) as ours:
        slot.call({"image": images(2)}, ("probabilities",))
    assert ours.value.error.code is ErrorCode.UNAVAILABLE
    assert ours.value.error.hint == CAPTURE_HINT
    value = images(2, 9)
    (got,) = slot.call({"image": value}, ("probabilities",))
    np.testing.assert_allclose(got, plain(DIGITS, image=value)[0], rtol=1e-5)


def test_optional_inputs_of_equal_shapes_are_not_taken_for_each_other(opened, tmp_path):
    nodes = [node("Mul", ["x", "gain"], ["t"]), node("Add", ["t", "shift"], ["y"])]
    infos = {"x": (FLOAT, ("n",)), "gain": (FLOAT, ()), "shift": (FLOAT, ())}
    path = save(tmp_path / "m.onnx", nodes, infos, {"y": (FLOAT, ("n",))})
    made = onnx.load(path)
    made.graph.initializer.extend(
        onnx.numpy_helper.from_array(np.float32(value), name) for name, value in (("gain", 2), ("shift", 1))
    )
    onnx.save(made, path)
    (slot,), _ = opened(path)
    x, seven = np.array([1, 2], np.float32), np.array(7, np.float32)
    for _ in range(3):
        for inputs, expected in (
            ({"x": x}, 2 * x + 1),
            ({"x": x, "gain": seven}, 7 * x + 1),
            ({"x": x, "shift": seven}, 2 * x + 7),
            ({"x": x, "gain": seven, "shift": seven}, 7 * x + 7),
        ):
            np.testing.assert_array_equal(slot.call(inputs, ("y",))[0], expected)
