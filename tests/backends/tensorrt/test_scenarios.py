"""Calls as a caller sees them, on each stand-in for TensorRT and on the real one: no misreading may live in both.

`pytest -m gpu tests/backends/tensorrt/test_scenarios.py` runs the real one alone.
"""

import sys
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
import pytest

from aegisrt import ExecutionRequest, TensorRTBackend
from aegisrt.backends.tensorrt import distribution
from aegisrt.core.result import ErrorCode
from aegisrt.core.sidecar import Sidecar, write_sidecar
from aegisrt.core.tensor import DataType, Signature, TensorSpec
from aegisrt.devices.cuda.arrays import LEGACY_STREAM, DeviceArray, JoinedArray
from aegisrt.devices.cuda.context import cuda_context
from aegisrt.devices.cuda.memory import DeviceBuffer
from aegisrt.devices.options import StreamOptions
from tests.fakes.cuda import fake_cuda
from tests.fakes.tensorrt import RUNTIMES, FakeTensorRT, plan

__all__ = ["fake_cuda"]
WIDTH = 300
PROFILES = [((1, WIDTH), (4, WIDTH), (8, WIDTH)), ((9, WIDTH), (16, WIDTH), (32, WIDTH))]
KINDS = {"double": DataType.FP32, "nonzero": DataType.FP32, "int64": DataType.INT64}


class StandIn:
    """A version's surface on a GPU whose memory is host memory."""

    def __init__(self, api, cuda, monkeypatch):
        self.fake = fake = FakeTensorRT(api, cuda)
        monkeypatch.setitem(sys.modules, fake.family, fake.module)
        monkeypatch.setattr(distribution, "installed", lambda: {fake.family: None})
        monkeypatch.setattr(distribution, "_module_name", lambda name: name if name == fake.family else None)
        monkeypatch.setattr(distribution, "_loaded", {})

    def engine(self, name, folder):
        narrow = "INT32" if self.fake.is_old else "INT64"
        dtype = narrow if name == "int64" else "FLOAT"
        output = (narrow, [2, -1]) if name == "nonzero" else (dtype, [-1, WIDTH])
        content = plan(
            self.fake.version,
            family=b"vtrt" if self.fake.is_rtx else b"ftrt",
            inputs={"x": (dtype, [-1, WIDTH])},
            outputs={"y": output},
            profiles=[{"x": profile} for profile in PROFILES],
            operation="nonzero" if name == "nonzero" else "double",
        )
        path = folder / f"{name}.engine"
        path.write_bytes(content)
        whole = DataType.INT64 if name != "double" else DataType.FP32
        shape = (2, None) if name == "nonzero" else (None, WIDTH)
        inputs, outputs = TensorSpec("x", KINDS[name], (None, WIDTH)), TensorSpec("y", whole, shape)
        target = {"compute_capabilities": ["9.0"], "hardware_compatibility": "none"}
        if self.fake.is_rtx:
            return path  # which has its own compute capability
        recipe = {"backend": "tensorrt", "engine": "x", "options": {}, "target": target}
        source = {"name": "m.onnx", "sha256": "0" * 64, "external": {}}
        write_sidecar(path, Sidecar(source=source, recipe=recipe, signature=Signature((inputs,), (outputs,))))
        return path


class Real:
    """What is installed, on this machine's GPU; builds each engine once."""

    @staticmethod
    @cache
    def engine(name, folder):
        import onnx

        from tests.backends import onnx_graphs as graphs

        kind = onnx.TensorProto.INT64 if name == "int64" else graphs.FLOAT
        nodes = [graphs.node("NonZero", ["x"], ["y"]) if name == "nonzero" else graphs.node("Add", ["x", "x"], ["y"])]
        output = (onnx.TensorProto.INT64, (2, "k")) if name == "nonzero" else (kind, ("n", WIDTH))
        source = graphs.save(folder / f"{name}.onnx", nodes, {"x": (kind, ("n", WIDTH))}, {"y": output})
        ranges = [{"x": dict(zip(("min", "opt", "max"), map(list, profile), strict=True))} for profile in PROFILES]
        options = {"profiles": ranges[0], "more_profiles": {"large": ranges[1]}}
        builder = TensorRTBackend({"external_tactics": False, **options}, device="cuda:0")
        builder.build(source, source.with_suffix(".engine")).unwrap()
        return source.with_suffix(".engine")


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    return tmp_path_factory.mktemp("engines")


@pytest.fixture(
    params=[*RUNTIMES, pytest.param("real", marks=pytest.mark.gpu)], ids=lambda api: getattr(api, "stem", api)
)
def engine(request, monkeypatch, tmp_path, built):
    """Return a function from a name to the path of an engine."""
    if request.param != "real":
        stand_in = StandIn(request.param, request.getfixturevalue("fake_cuda"), monkeypatch)
        return lambda name: stand_in.engine(name, tmp_path)
    pytest.importorskip("pycuda.driver", reason="needs pycuda and a driver", exc_type=ImportError)
    pytest.importorskip("onnx", reason="makes the models")
    if not {"tensorrt", "tensorrt_rtx"} & set(distribution.installed()):
        pytest.skip("no TensorRT that builds is installed")
    return lambda name: Real.engine(name, built)


def loaded(path, options=None, **more):
    backend = TensorRTBackend(options, device="cuda:0", **more)
    backend.load(path).unwrap()
    return backend


def run(backend, value):
    found = backend.execute(ExecutionRequest(inputs={"x": value})).unwrap().outputs["y"]
    return found if isinstance(found, np.ndarray) else found.numpy()


def rows(count, seed=0, dtype=np.float32):
    return np.random.default_rng(seed).integers(-3, 4, (count, WIDTH)).astype(dtype)


def on_gpu(value, offset=0):
    context = cuda_context(0)
    memory = DeviceBuffer(context, value.nbytes + offset)
    with context:
        context.pycuda.memcpy_htod(memory.pointer + offset, value)
    # The copy may still be under way, on the default stream, when `memcpy_htod` returns.
    return DeviceArray(memory.pointer + offset, value.shape, value.dtype, owner=memory, stream=LEGACY_STREAM)


both = pytest.mark.parametrize("graph", [False, True], ids=["plain", "graph"])
either_side = pytest.mark.parametrize("outputs", ["host", "device"])


@both
@either_side
def test_shapes_that_come_and_go_in_two_profiles(engine, graph, outputs):
    backend = loaded(engine("double"), {"cuda_graph": graph, "outputs": outputs})
    for seed, count in enumerate((1, 1, 1, 8, 8, 8, 1, 12, 12, 12, 3, 1, 32, 8, 1, 12)):
        np.testing.assert_array_equal(run(backend, rows(count, seed)), rows(count, seed) * 2)
    if graph:
        assert backend.metadata["cuda_graph"] == "on"
    backend.unload().unwrap()


@both
def test_rows_that_no_profile_has_are_refused_and_the_next_call_is_right(engine, graph):
    backend = loaded(engine("double"), {"cuda_graph": graph})
    for seed in range(3):
        np.testing.assert_array_equal(run(backend, rows(5, seed)), rows(5, seed) * 2)
        error = backend.execute(ExecutionRequest(inputs={"x": rows(33)})).unwrap_err()
        assert error.code is ErrorCode.INVALID_ARGUMENT
        assert f"[33,{WIDTH}]" in error.message
    np.testing.assert_array_equal(run(backend, rows(5, 9)), rows(5, 9) * 2)
    backend.unload().unwrap()


@both
@either_side
def test_an_output_whose_shape_depends_on_the_values(engine, graph, outputs):
    backend = loaded(engine("nonzero"), {"cuda_graph": graph, "outputs": outputs})
    for seed, count in enumerate((2, 2, 5, 1, 2)):
        value = rows(count, seed)
        np.testing.assert_array_equal(run(backend, value), np.argwhere(value).T)
    assert run(backend, np.zeros((2, WIDTH), np.float32)).shape == (2, 0)
    np.testing.assert_array_equal(run(backend, rows(2, 9)), np.argwhere(rows(2, 9)).T)
    if graph:
        assert "only after each call" in backend.metadata["cuda_graph"]
    backend.unload().unwrap()


@both
@either_side
def test_int64_goes_in_and_comes_out_whatever_the_version_computes_with(engine, graph, outputs):
    backend = loaded(engine("int64"), {"cuda_graph": graph, "outputs": outputs})
    for seed, count in enumerate((3, 3, 3, 3, 9, 9, 9)):
        value = rows(count, seed, np.int64)
        found = run(backend, value)
        assert found.dtype == np.int64
        np.testing.assert_array_equal(found, value * 2)
        np.testing.assert_array_equal(run(backend, on_gpu(value)), value * 2)
    backend.unload().unwrap()


@both
@either_side
@pytest.mark.parametrize("offset", [0, 12])
def test_arrays_on_the_gpu_by_turns_with_arrays_on_the_host(engine, graph, outputs, offset):
    backend = loaded(engine("double"), {"cuda_graph": graph, "outputs": outputs})
    for seed, count in enumerate((2, 2, 2, 2, 9, 9, 2)):
        value = rows(count, seed)
        np.testing.assert_array_equal(run(backend, on_gpu(value, offset)), value * 2)
        np.testing.assert_array_equal(run(backend, value + 1), value * 2 + 2)
    backend.unload().unwrap()


@both
def test_arrays_on_the_gpu_that_are_joined(engine, graph):
    backend = loaded(engine("double"), {"cuda_graph": graph, "outputs": "device"})
    for seed in range(3):
        parts = [on_gpu(rows(count, seed + count), 4 * count) for count in (1, 3, 2)]
        whole = np.concatenate([rows(count, seed + count) for count in (1, 3, 2)])
        np.testing.assert_array_equal(run(backend, JoinedArray(tuple(parts))), whole * 2)
        np.testing.assert_array_equal(run(backend, whole), whole * 2)
    backend.unload().unwrap()


@either_side
def test_results_are_the_caller_s_own_and_outlive_the_model(engine, outputs):
    backend = loaded(engine("double"), {"cuda_graph": True, "outputs": outputs})
    kept = []
    for seed in range(5):
        kept.append(backend.execute(ExecutionRequest(inputs={"x": rows(2, seed)})).unwrap().outputs["y"])
        run(backend, rows(2, 100 + seed))
    backend.unload().unwrap()
    for seed, value in enumerate(kept):
        found = value if isinstance(value, np.ndarray) else value.numpy()
        np.testing.assert_array_equal(found, rows(2, seed) * 2)


@both
@pytest.mark.parametrize("shared", [False, True], ids=["own", "shared"])
def test_instances_in_threads(engine, graph, shared):
    stream = StreamOptions(device="gpu0", shared=True) if shared else None
    backend = loaded(engine("double"), {"cuda_graph": graph}, instances=3, stream=stream)
    wrong = []

    def work(seed):
        for step in range(30):
            value = rows(1 + (seed + step) % 12, seed * 100 + step)
            if not np.array_equal(run(backend, value), value * 2):
                wrong.append((seed, step))

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(work, range(6)))
    backend.unload().unwrap()
    assert wrong == []
