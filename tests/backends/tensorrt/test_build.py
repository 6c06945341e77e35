"""The build: for real on TensorRT for RTX, which needs no GPU, and on a fake of every version's surface."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import aegisrt.conformance
from aegisrt import TensorRTBackend
from aegisrt.backends.tensorrt import distribution as tensorrt_library
from aegisrt.backends.tensorrt.build import main as tensorrt_build
from aegisrt.backends.tensorrt.distribution import TensorRT
from aegisrt.backends.tensorrt.log import TensorRTLog, new_logger
from aegisrt.backends.tensorrt.options import TensorRTOptions
from aegisrt.backends.tensorrt.plan import read_header
from aegisrt.core.resources import configs_dir
from aegisrt.core.result import ErrorCode, ResultError
from aegisrt.core.sidecar import read_sidecar
from tests.fakes.cuda import FakeCuda
from tests.fakes.tensorrt import API, FakeTensorRT

RTX = tensorrt_library.installed().get("tensorrt_rtx")
rtx = pytest.mark.skipif(
    RTX is None, reason="tensorrt_rtx is not installed; run: pip install 'aegisrt-runtime[tensorrt-rtx]'"
)
MODELS = Path(aegisrt.conformance.__file__).parent / "models"
DIGITS = configs_dir() / "model" / "digits.onnx"

# -- every version, on the fake ----------------------------------------------------------------------------------------


@pytest.fixture(params=API, ids=lambda path: path.stem)
def fake(request):
    return FakeTensorRT(request.param, FakeCuda())


def made(fake, folder, **options):
    """Build with the fake; return the answer."""
    log = TensorRTLog()
    engine = TensorRT(fake.module, fake.family, fake.version, log, new_logger(fake.module, log))
    parsed = TensorRTOptions.parse(options)
    (folder / "m.onnx").touch()
    job = {
        "source": str(folder / "m.onnx"),
        "file": str(folder / "m.engine"),
        "folder": str(folder),
        "ordinal": 0,
        "distribution": fake.family,
        "options": parsed.for_build(),
        "profiles": [{name: span.model_dump() for name, span in item.items()} for item in parsed.declared_profiles],
        "inputs": ["x"],
        "compute_capabilities": ["8.9"],
        "memory_limit": parsed.build.memory_bytes,
        "timing_cache": str(parsed.build.timing_cache) if parsed.build.timing_cache else None,
    }
    return tensorrt_build.build_engine(engine, job)


def test_a_builder_that_is_not_made_says_why_as_8_6_does(fake, tmp_path, monkeypatch):
    """The lines are those of 8.6.0 on a machine without a driver: both are warnings."""

    def refuse(logger):
        warning = type("Severity", (), {"name": "WARNING"})
        logger.log(warning, "Unable to determine GPU memory usage")
        logger.log(warning, "CUDA initialization failure with error: 35. Please check your CUDA installation: ...")
        raise TypeError("pybind11::init(): factory function returned nullptr")

    monkeypatch.setattr(fake.module, "Builder", refuse)
    with pytest.raises(ResultError, match="cannot build here: CUDA initialization failure with error: 35") as caught:
        made(fake, tmp_path)
    assert caught.value.error.code is ErrorCode.UNAVAILABLE


def test_the_build_makes_the_documented_calls_in_order(fake, tmp_path):
    answer = made(fake, tmp_path)
    order = [name for name, _ in fake.calls]
    wanted = [
        "create_network", "parse_from_file", "create_builder_config", "create_optimization_profile", "set_shape",
        "add_optimization_profile", "build_serialized_network",
    ]  # fmt: skip
    positions = iter(order)
    assert all(name in positions for name in wanted), order
    assert answer["profiles"] == [{"x": {"min": [1, 3], "opt": [32, 3], "max": [1024, 3]}}]
    assert read_header(tmp_path / "m.engine").version == fake.version[:4] + (0,) * (4 - len(fake.version))


def test_the_creation_flags_are_those_of_the_version(fake, tmp_path):
    made(fake, tmp_path)
    ((_, flags),) = fake.named("create_network")
    kinds = fake.module.NetworkDefinitionCreationFlag
    if fake.version[0] == 8:
        assert flags == 1 << int(kinds.EXPLICIT_BATCH)
    else:
        assert flags == 1 << int(kinds.STRONGLY_TYPED)


def test_tensorrt_10_has_a_flag_for_fp16_so_that_the_model_need_not_be_converted(tmp_path):
    fake = FakeTensorRT(next(path for path in API if path.stem.startswith("tensorrt-10")), FakeCuda())
    made(fake, tmp_path, precision="fp16")
    assert fake.named("create_network") == [("create_network", 0)]
    assert flags_set(fake) == {"FP16"}


def flags_set(fake):
    return {arguments[0].name for name, arguments in fake.calls if name == "set_flag"}


def test_precision_is_a_flag_where_the_network_is_weakly_typed(fake, tmp_path):
    if not hasattr(fake.module.BuilderFlag, "FP16"):
        assert made(fake, tmp_path)["strongly_typed"]
        assert flags_set(fake) == set()
        return
    made(fake, tmp_path, precision="fp16")
    assert flags_set(fake) == {"FP16"}


def test_fp32_takes_tf32_away_and_tf32_asks_for_it(fake, tmp_path):
    made(fake, tmp_path)
    assert [arguments[0].name for name, arguments in fake.calls if name == "clear_flag"] == ["TF32"]
    made(fake, tmp_path, precision="tf32")
    assert "TF32" in flags_set(fake)


def test_bf16_is_refused_where_the_version_lacks_it(tmp_path):
    fake = FakeTensorRT(next(path for path in API if path.stem.startswith("tensorrt-8")), FakeCuda())
    with pytest.raises(ResultError) as caught:
        made(fake, tmp_path, precision="bf16")
    assert caught.value.error.code is ErrorCode.FAILED_PRECONDITION
    assert "TensorRT 8.6.1 has no `precision: bf16`" in caught.value.error.message


def test_options_reach_the_builder(fake, tmp_path):
    made(fake, tmp_path, workspace_bytes=2**24, optimization_level=5, refit=True, version_compatible=True)
    assert fake.named("set_memory_pool_limit") == [
        ("set_memory_pool_limit", fake.module.MemoryPoolType.WORKSPACE, 2**24)
    ]
    assert fake.named("IBuilderConfig.builder_optimization_level=")[0][1] == 5
    assert {"REFIT", "VERSION_COMPATIBLE", "NATIVE_INSTANCENORM"} <= flags_set(fake)


def test_hardware_compatibility(fake, tmp_path):
    if fake.family == "tensorrt_rtx":
        with pytest.raises(ResultError, match="compute_capabilities"):
            made(fake, tmp_path, hardware_compatibility="ampere_plus")
        return
    made(fake, tmp_path, hardware_compatibility="ampere_plus")
    ((_, level),) = fake.named("IBuilderConfig.hardware_compatibility_level=")
    assert level.name == "AMPERE_PLUS"


def test_a_level_that_the_version_lacks_is_refused(tmp_path):
    fake = FakeTensorRT(next(path for path in API if path.stem.startswith("tensorrt-8")), FakeCuda())
    with pytest.raises(ResultError) as caught:
        made(fake, tmp_path, hardware_compatibility="same_compute_capability")
    assert caught.value.error.code is ErrorCode.FAILED_PRECONDITION


def test_inputs_and_outputs_are_linear_which_the_builder_need_not_choose(fake, tmp_path):
    made(fake, tmp_path)
    described = json.loads((tmp_path / "m.engine").read_bytes()[32:])
    assert described["formats"] == {"x": "LINEAR", "y": "LINEAR"}


def test_without_external_tactics_cublas_and_cudnn_go(fake, tmp_path):
    made(fake, tmp_path, external_tactics=False)
    ((_, mask),) = fake.named("set_tactic_sources")
    left = {member.name for member in fake.module.TacticSource if mask & 1 << int(member)}
    assert left == {"EDGE_MASK_CONVOLUTIONS", "JIT_CONVOLUTIONS"}


def test_profiles_may_be_shared_by_contexts_on_tensorrt_8_too(fake, tmp_path):
    made(fake, tmp_path)
    features = [arguments[0].name for name, arguments in fake.calls if name == "set_preview_feature"]
    assert features == (["PROFILE_SHARING_0806"] if fake.version[0] == 8 else [])


@pytest.mark.parametrize("name", ["identity-fp16", "affine-fp16", "identity-int8", "mixed", "quantized"])
def test_a_weakly_typed_builder_is_allowed_the_model_s_own_dtypes(name, tmp_path):
    graphs = pytest.importorskip("tests.backends.onnx_graphs", reason="needs the package onnx")
    fake = FakeTensorRT(next(path for path in API if path.stem.startswith("tensorrt-8")), FakeCuda())
    if name == "mixed":
        nodes = [graphs.node("Cast", ["x"], ["h"], to=graphs.TensorProto.FLOAT16), graphs.node("Relu", ["w"], ["v"])]
        sides = ({"x": (graphs.FLOAT, (3,)), "w": (graphs.FLOAT, (3,))}, {"h": (graphs.TensorProto.FLOAT16, (3,))})
        graphs.save(tmp_path / "m.onnx", nodes, sides[0], {**sides[1], "v": (graphs.FLOAT, (3,))})
    elif name == "quantized":
        nodes = [
            graphs.node("QuantizeLinear", ["x", "scale", "zero"], ["q"]),
            graphs.node("DequantizeLinear", ["q", "scale", "zero"], ["d"]),
            graphs.node("Relu", ["d"], ["y"]),
        ]
        weights = {"scale": np.float32(0.5), "zero": np.int8(0)}
        sides = {"x": (graphs.FLOAT, (3,))}, {"y": (graphs.FLOAT, (3,))}
        graphs.save(tmp_path / "m.onnx", nodes, *sides, weights)
    else:
        shutil.copy(MODELS / f"{name}.onnx", tmp_path / "m.onnx")
    made(fake, tmp_path)
    if name == "quantized":
        assert flags_set(fake) == {"INT8"}
        assert fake.named("ILayer.precision=", "set_dynamic_range") == []
    elif name == "identity-int8":
        assert flags_set(fake) == {"INT8"}
        assert fake.named("set_dynamic_range")[0][1:] == (-127.0, 127.0)
    elif name == "mixed":
        assert flags_set(fake) == {"FP16", "PREFER_PRECISION_CONSTRAINTS"}
        pinned = fake.named("ILayer.precision=")
        assert [value.name for _, value in pinned] == ["FLOAT"], "Relu computes in FP32, the cast is free"
    else:
        assert flags_set(fake) == {"FP16"}


@pytest.mark.parametrize("name", ["affine", "identity-int32", "identity-bool", "multi-io"])
def test_other_models_need_no_flag(name, fake, tmp_path):
    pytest.importorskip("onnx")
    shutil.copy(MODELS / f"{name}.onnx", tmp_path / "m.onnx")
    made(fake, tmp_path)
    assert flags_set(fake) == set()


def test_a_profile_that_the_builder_refuses_is_an_invalid_argument(fake, tmp_path):
    def set_shape(self, name, low, middle, high):
        raise RuntimeError("Shape provided for opt is inconsistent with other shapes.")

    fake.module.IOptimizationProfile.set_shape = set_shape
    with pytest.raises(ResultError) as caught:
        made(fake, tmp_path)
    assert caught.value.error.code is ErrorCode.INVALID_ARGUMENT
    assert "inconsistent" in caught.value.error.message


def test_the_gpus_of_rtx_are_named(tmp_path):
    fake = FakeTensorRT(next(path for path in API if "rtx" in path.stem), FakeCuda())
    made(fake, tmp_path)
    ((_, member, index),) = fake.named("set_compute_capability")
    assert (member.name, index) == ("SM89", 0)


def test_the_timing_cache_grows_from_build_to_build(fake, tmp_path):
    file = tmp_path / "new folder" / "timing.cache"
    for _ in range(2):
        made(fake, tmp_path, build={"timing_cache": str(file)})
    if fake.family == "tensorrt_rtx":
        assert not file.exists()
    else:
        assert file.read_bytes() == b"++"


def test_a_timing_cache_that_cannot_be_is_told_before_the_build_and_one_that_is_lost_after_it_costs_nothing(
    fake, tmp_path, capsys
):
    (tmp_path / "file").touch()
    if fake.family != "tensorrt_rtx":
        with pytest.raises(ResultError) as caught:
            made(fake, tmp_path, build={"timing_cache": str(tmp_path / "file" / "timing.cache")})
        assert caught.value.error.code is ErrorCode.ALREADY_EXISTS
        assert fake.named("build_serialized_network") == []
    (tmp_path / "folder" / "in it").mkdir(parents=True)
    made(fake, tmp_path, build={"timing_cache": str(tmp_path / "folder")})
    assert (tmp_path / "m.engine").is_file()
    assert ("was not written" in capsys.readouterr().out) is (fake.family != "tensorrt_rtx")


@pytest.mark.parametrize("planted", ["file", "link", "dangling link"])
def test_a_timing_cache_that_aegisrt_did_not_write_is_never_overwritten(fake, tmp_path, planted):
    if fake.family == "tensorrt_rtx":
        pytest.skip("TensorRT for RTX has no timing cache")
    mine, target = tmp_path / "mine", tmp_path / "timing.cache"
    mine.write_bytes(b"++")
    if planted == "file":
        target.write_text("my own file")
    else:
        target.symlink_to(mine if planted == "link" else tmp_path / "none")
    with pytest.raises(ResultError) as caught:
        made(fake, tmp_path, build={"timing_cache": str(target)})
    assert caught.value.error.code is ErrorCode.ALREADY_EXISTS
    assert "build.timing_cache" in caught.value.error.hint
    assert fake.named("build_serialized_network") == []
    assert mine.read_bytes() == b"++"
    assert not (tmp_path / "none").exists()
    assert planted != "file" or target.read_text() == "my own file"


def test_a_timing_cache_of_another_gpu_is_left_as_it_is(fake, tmp_path, capsys):
    if fake.family == "tensorrt_rtx":
        pytest.skip("TensorRT for RTX has no timing cache")
    target = tmp_path / "timing.cache"
    target.write_bytes(b"+")
    fake.refuse["set_timing_cache"] = (False, "the cache is of another GPU")
    made(fake, tmp_path, build={"timing_cache": str(target)})
    assert target.read_bytes() == b"+"
    assert "neither used nor replaced" in capsys.readouterr().out


def test_a_builder_that_fails_is_told_in_its_own_words(fake, tmp_path):
    said = "IBuilder::buildSerializedNetwork: Error Code 4: API Usage Error (the layer is bad. In f at /x.cpp:1)"
    fake.refuse["build_serialized_network"] = (None, said)
    with pytest.raises(ResultError) as caught:
        made(fake, tmp_path)
    assert caught.value.error.code is ErrorCode.UNIMPLEMENTED
    assert "API Usage Error (the layer is bad.)" in caught.value.error.message


def test_a_builder_that_runs_out_of_memory(fake, tmp_path):
    fake.refuse["build_serialized_network"] = (None, "Error Code 2: OutOfMemory (no further information)")
    with pytest.raises(ResultError) as caught:
        made(fake, tmp_path)
    assert caught.value.error.code is ErrorCode.RESOURCE_EXHAUSTED


@pytest.mark.parametrize(("name", "told"), [('name: "frob_1"\n', "frob_1"), ("", "out")])
def test_a_parser_of_tensorrt_8_names_the_node_by_its_log(name, told, tmp_path):
    fake = FakeTensorRT(next(path for path in API if path.stem.startswith("tensorrt-8")), FakeCuda())

    class Error:
        code = staticmethod(lambda: fake.module.ErrorCode.UNSUPPORTED_NODE)
        desc = staticmethod(lambda: 'Assertion failed: creator && "Plugin not found, are the names correct?"')
        node = staticmethod(lambda: 7)
        file, func, line = (staticmethod(lambda: "ModelImporter.cpp"),) * 2 + (staticmethod(lambda: 1),)

    def parse_from_file(self, model):
        self._errors.append(Error())
        dump = f'input: "x"\noutput: "out"\n{name}op_type: "Frobnicate"\nattribute {{\n  name: "alpha"\n}}\n'
        said = ['While parsing node number 7 [Frobnicate -> "out"]:', "--- Begin node ---", dump, "--- End node ---"]
        for line, text in enumerate(said, 771):
            fake.log(f"ModelImporter.cpp:{line}: {text}")
        return False

    fake.module.OnnxParser.parse_from_file = parse_from_file
    with pytest.raises(ResultError) as caught:
        made(fake, tmp_path)
    assert caught.value.error.code is ErrorCode.UNIMPLEMENTED
    assert f"operator `Frobnicate` (node `{told}`)" in caught.value.error.message
    assert "Plugin not found" in caught.value.error.message


# -- for real, on TensorRT for RTX -------------------------------------------------------------------------------------


def backend(**options):
    return TensorRTBackend({"distribution": "tensorrt_rtx", "compute_capabilities": ["8.9"], **options})


@rtx
@pytest.mark.parametrize("precision", ["fp32", "tf32", "fp16", "bf16"])
def test_digits_become_an_engine(precision, tmp_path):
    if precision in ("fp16", "bf16"):
        pytest.importorskip("onnx", reason="the conversion needs the package onnx")
    told = []
    target = tmp_path / "digits.engine"
    backend(precision=precision).build(DIGITS, target, progress=told.append).unwrap()
    header = read_header(target)
    assert header.display_name == f"TensorRT for RTX {RTX}"
    sidecar = read_sidecar(target)
    assert str(sidecar.signature.inputs[0]) == "image FP32[batch,1,8,8]"
    assert sidecar.metadata["profiles"][0]["image"]["max"] == [1024, 1, 8, 8]
    assert sidecar.recipe["target"]["compute_capabilities"] == ["8.9"]
    assert any(text.startswith("Building engine") for text in told)


@rtx
def test_keys_are_the_same_each_time_and_change_with_what_counts(tmp_path):
    def key(**options):
        return json.dumps(backend(**options).recipe().unwrap(), sort_keys=True)

    assert key() == key(build={"timeout_s": 5}) == key(cuda_graph=True, outputs="device", engine_host_code_allowed=True)
    others = [
        {"precision": "fp16"}, {"max_batch_size": 8}, {"compute_capabilities": ["8.6"]}, {"optimization_level": 4},
        {"refit": True}, {"profiles": {"image": {"min": [1, 1, 8, 8], "opt": [1, 1, 8, 8], "max": [2, 1, 8, 8]}}},
    ]  # fmt: skip
    assert len({key(), *(key(**options) for options in others)}) == 1 + len(others)


@rtx
def test_loading_without_a_gpu_is_unavailable_in_the_driver_s_words(tmp_path):
    from aegisrt.devices.discover import discover

    if any(found.kind == "cuda" and found.available for found in discover()):
        pytest.skip("there is a GPU here")
    target = tmp_path / "digits.engine"
    backend().build(DIGITS, target).unwrap()
    error = backend().load(target).unwrap_err()
    assert error.code is ErrorCode.UNAVAILABLE
    assert "libcuda.so.1" in error.message or "CUDA driver" in error.message


@rtx
def test_building_for_the_gpu_that_is_here_needs_one(tmp_path):
    from aegisrt.devices.discover import discover

    if any(found.kind == "cuda" and found.available for found in discover()):
        pytest.skip("there is a GPU here")
    error = TensorRTBackend({"distribution": "tensorrt_rtx"}).build(DIGITS, tmp_path / "d.engine").unwrap_err()
    assert error.code is ErrorCode.UNAVAILABLE
    assert not (tmp_path / "d.engine").exists()


@rtx
@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (
            {"compute_capabilities": ["9.0"]},
            ErrorCode.FAILED_PRECONDITION,
            "not build for GPUs of compute capability 9.0",
        ),
        ({"precision": "int8"}, ErrorCode.FAILED_PRECONDITION, "QuantizeLinear"),
        ({"hardware_compatibility": "ampere_plus"}, ErrorCode.FAILED_PRECONDITION, "hardware_compatibility"),
        (
            {"profiles": {"image": {"min": [1, 1, 8, 9], "opt": [1, 1, 8, 9], "max": [2, 1, 8, 9]}}},
            ErrorCode.INVALID_ARGUMENT,
            "[?,1,8,8]",
        ),
        (
            {"profiles": {"imag": {"min": [1, 1, 8, 8], "opt": [1, 1, 8, 8], "max": [2, 1, 8, 8]}}},
            ErrorCode.INVALID_ARGUMENT,
            "not an input of the model",
        ),
        ({"build": {"timeout_s": 0.01}}, ErrorCode.DEADLINE_EXCEEDED, "stopped"),
        ({"distribution": "tensorrt_lean"}, ErrorCode.FAILED_PRECONDITION, "cannot build them"),
    ],
)
def test_what_a_build_refuses(options, code, words, tmp_path):
    error = backend(**options).build(DIGITS, tmp_path / "d.engine").unwrap_err()
    assert error.code is code
    assert words in error.message
    assert not (tmp_path / "d.engine").exists()


@rtx
class TestModels:
    """Models that the parser does not take, and some that it does."""

    graphs = pytest.importorskip("tests.backends.onnx_graphs", reason="needs the package onnx") if RTX else None

    def refusal(self, path, **options):
        return backend(**options).build(path, path.with_suffix(".engine")).unwrap_err()

    def test_an_unsupported_operator_is_named_with_its_node(self, tmp_path):
        graphs = self.graphs
        path = graphs.save(
            tmp_path / "m.onnx",
            [graphs.node("Unique", ["x"], ["y"], name="find")],
            {"x": (graphs.FLOAT, (3,))},
            {"y": (graphs.FLOAT, ("k",))},
        )
        error = self.refusal(path)
        assert error.code is ErrorCode.UNIMPLEMENTED
        assert "operator `Unique` (node `find`)" in error.message
        assert "backend `onnx`" in error.hint

    def test_an_operator_that_nobody_knows(self, tmp_path):
        graphs = self.graphs
        path = graphs.save(
            tmp_path / "m.onnx",
            [graphs.node("Foo", ["x"], ["y"], name="foo", domain="com.x")],
            {"x": (graphs.FLOAT, (3,))},
            {"y": (graphs.FLOAT, (3,))},
            domain="com.x",
        )
        error = self.refusal(path)
        assert error.code is ErrorCode.UNIMPLEMENTED
        assert "operator `Foo` (node `foo`)" in error.message

    def test_a_dtype_that_tensorrt_lacks_is_refused_before_it_is_silently_changed(self, tmp_path):
        graphs = self.graphs
        wide = {"x": (graphs.TensorProto.DOUBLE, (3,))}
        path = graphs.save(
            tmp_path / "m.onnx",
            [graphs.node("Relu", ["x"], ["y"])],
            wide,
            {"y": (graphs.TensorProto.DOUBLE, (3,))},
        )
        error = self.refusal(path)
        assert error.code is ErrorCode.UNIMPLEMENTED
        assert "FP64" in error.message

    def test_a_truncated_model_is_data_loss(self, tmp_path):
        path = tmp_path / "m.onnx"
        path.write_bytes(DIGITS.read_bytes()[:-100])
        assert self.refusal(path).code is ErrorCode.DATA_LOSS

    def test_dynamic_dimensions_beyond_the_batch_ask_for_a_profile(self, tmp_path):
        path = self.graphs.relu(tmp_path / "m.onnx", ("batch", "width"))
        error = self.refusal(path)
        assert error.code is ErrorCode.INVALID_ARGUMENT
        assert "profiles: {x: {min: [1, 1]" in error.hint
        wide = {"x": {"min": [1, 1], "opt": [4, 64], "max": [8, 512]}}
        backend(profiles=wide).build(path, tmp_path / "m.engine").unwrap()

    def test_an_input_that_is_an_output_too_keeps_its_name(self, tmp_path):
        graphs = self.graphs
        path = graphs.save(
            tmp_path / "m.onnx",
            [graphs.node("Relu", ["x"], ["y"])],
            {"x": (graphs.FLOAT, ("n", 3))},
            {"x": (graphs.FLOAT, ("n", 3)), "y": (graphs.FLOAT, ("n", 3))},
        )
        profile = {"x": {"min": [1, 3], "opt": [2, 3], "max": [4, 3]}}
        backend(profiles=profile).build(path, tmp_path / "m.engine").unwrap()
        assert read_sidecar(tmp_path / "m.engine").metadata["inputs"] == ["__x"]

    @pytest.mark.parametrize("names", [("?", 3, "?", "?"), ("n", 3, "side", "side")])
    def test_height_and_width_of_one_name_may_differ(self, names, tmp_path):
        path = self.graphs.relu(tmp_path / "m.onnx", names)
        wide = {"x": {"min": [1, 3, 48, 192], "opt": [1, 3, 48, 192], "max": [2, 3, 48, 192]}}
        backend(profiles=wide).build(path, tmp_path / "m.engine").unwrap()

    def test_an_invalid_model_is_an_invalid_argument(self, tmp_path):
        graphs = self.graphs
        sides = {"x": (graphs.FLOAT, (3,))}, {"y": (graphs.FLOAT, (3,))}
        path = graphs.save(tmp_path / "m.onnx", [graphs.node("Concat", ["x", "x"], ["y"])], *sides)
        error = self.refusal(path)
        assert error.code in (ErrorCode.INVALID_ARGUMENT, ErrorCode.UNIMPLEMENTED), error

    def test_weights_beside_the_model(self, tmp_path):
        for name in ("external.onnx", "external.weights"):
            shutil.copy(MODELS / name, tmp_path)
        backend().build(tmp_path / "external.onnx", tmp_path / "external.engine").unwrap()
