"""What a build refuses, with which code, and how early: on stand-ins for every version that builds."""

import logging
import shutil

import numpy as np
import pytest

from aegisrt import ExecutionRequest, TensorRTBackend
from aegisrt.backends.process import built_by
from aegisrt.backends.tensorrt.build import main as build_main
from aegisrt.backends.tensorrt.build.refusals import refuse_unquantized
from aegisrt.backends.tensorrt.log import TensorRTLog, is_out_of_memory, sentence
from aegisrt.core.result import ErrorCode, ResultError, fail
from tests.backends.tensorrt.test_build import MODELS, fake, flags_set, made
from tests.backends.tensorrt.test_run import built, fake_cuda, trt
from tests.fakes.cuda import FakeCuda
from tests.fakes.tensorrt import API, FakeTensorRT

__all__ = ["fake", "fake_cuda", "trt"]
onnx = pytest.importorskip("onnx")
graphs = pytest.importorskip("tests.backends.onnx_graphs", reason="needs the package onnx")
GIB = 2**30


def version(start):
    return FakeTensorRT(next(path for path in API if path.stem.startswith(start)), FakeCuda())


def refusal(fake, folder, **options):
    with pytest.raises(ResultError) as caught:
        made(fake, folder, **options)
    return caught.value.error


class TestParser:
    """The code of the parser's error, which the bindings of 8.6 name by a method."""

    def refuse(self, fake, code, desc="In function importNode: [8] Assertion failed: it is so"):
        class ParserError:
            def __init__(self):
                self.code = lambda: getattr(fake.module.ErrorCode, code)
                self.desc, self.node = lambda: desc, lambda: 3
                self.file, self.func, self.line = lambda: "a.cpp", lambda: "f", lambda: 1

        def parse_from_file(parser, model):
            parser._errors.append(ParserError())
            return False

        fake.module.OnnxParser.parse_from_file = parse_from_file

    def test_the_stand_ins_have_the_method_where_the_bindings_have_it(self, fake):
        code = fake.module.ErrorCode.UNSUPPORTED_NODE
        assert str(code) == "ErrorCode.UNSUPPORTED_NODE"
        assert callable(code.name) is (fake.version[0] == 8)
        assert fake.module.DataType.FLOAT.name == "FLOAT"
        assert fake.module.DataType.FLOAT != 0

    @pytest.mark.parametrize(
        ("name", "code"),
        [
            ("UNSUPPORTED_NODE", ErrorCode.UNIMPLEMENTED),
            ("UNSUPPORTED_GRAPH", ErrorCode.UNIMPLEMENTED),
            ("UNSUPPORTED_NODE_DATATYPE", ErrorCode.UNIMPLEMENTED),
            ("INVALID_NODE", ErrorCode.UNIMPLEMENTED),
            ("INVALID_GRAPH", ErrorCode.UNIMPLEMENTED),
            ("INVALID_VALUE", ErrorCode.UNIMPLEMENTED),
            ("MODEL_DESERIALIZE_FAILED", ErrorCode.DATA_LOSS),
            ("MEM_ALLOC_FAILED", ErrorCode.RESOURCE_EXHAUSTED),
            ("INTERNAL_ERROR", ErrorCode.INTERNAL),
        ],
    )
    def test_each_code_of_the_parser(self, name, code, fake, tmp_path):
        if not hasattr(fake.module.ErrorCode, name):
            assert fake.version[0] == 8
            return
        graphs.relu(tmp_path / "m.onnx", ("n", 3))
        self.refuse(fake, name)
        error = refusal(fake, tmp_path)
        assert error.code is code
        assert "it is so" in error.message

    def test_a_model_that_is_not_valid_onnx_is_an_invalid_argument_with_what_is_wrong(self, fake, tmp_path):
        sides = {"x": (graphs.FLOAT, (3,))}, {"y": (graphs.FLOAT, (3,))}
        graphs.save(tmp_path / "m.onnx", [graphs.node("Relu", ["nowhere"], ["y"])], *sides)
        self.refuse(fake, "INVALID_NODE")
        error = refusal(fake, tmp_path)
        assert error.code is ErrorCode.INVALID_ARGUMENT
        assert "nowhere" in error.message

    def test_what_only_the_checker_minds_does_not_make_a_model_invalid(self, fake, tmp_path):
        sides = {"x": (graphs.FLOAT, (3,))}, {"y": (graphs.FLOAT, None)}
        path = graphs.save(tmp_path / "m.onnx", [graphs.node("Relu", ["x"], ["y"])], *sides)
        with pytest.raises(onnx.checker.ValidationError, match="shape"):
            onnx.checker.check_model(str(path))
        self.refuse(fake, "INVALID_NODE")
        assert refusal(fake, tmp_path).code is ErrorCode.UNIMPLEMENTED

    def test_a_plugin_that_is_missing_is_unimplemented_whatever_the_code(self, fake, tmp_path):
        graphs.relu(tmp_path / "m.onnx", ("n", 3))
        self.refuse(fake, "INTERNAL_ERROR", "Plugin not found, are the names right?")
        assert refusal(fake, tmp_path).code is ErrorCode.UNIMPLEMENTED


class TestQuantized:
    """A model with QuantizeLinear and DequantizeLinear needs INT8 in the builder, whatever the other arithmetic is."""

    def save(self, path):
        nodes = [
            graphs.node("QuantizeLinear", ["x", "scale", "zero"], ["q"]),
            graphs.node("DequantizeLinear", ["q", "scale", "zero"], ["d"]),
            graphs.node("Relu", ["d"], ["y"]),
        ]
        sides = {"x": (graphs.FLOAT, (3,))}, {"y": (graphs.FLOAT, (3,))}
        graphs.save(path, nodes, *sides, {"scale": np.float32(0.5), "zero": np.int8(0)})

    @pytest.mark.parametrize("precision", ["fp32", "tf32", "fp16", "int8"])
    @pytest.mark.parametrize("start", ["tensorrt-8", "tensorrt-10"])
    def test_every_precision_sets_int8(self, precision, start, tmp_path):
        fake = version(start)
        self.save(tmp_path / "m.onnx")
        made(fake, tmp_path, precision=precision, strongly_typed=False)
        wanted = {"INT8", *({"TF32"} if precision == "tf32" else {"FP16"} if precision == "fp16" else ())}
        assert flags_set(fake) == wanted

    def test_without_it_the_builder_of_the_stand_in_refuses_as_the_real_one_does(self, tmp_path, monkeypatch):
        fake = version("tensorrt-8")
        self.save(tmp_path / "m.onnx")
        monkeypatch.setattr("aegisrt.backends.tensorrt.build.precision.allow_own_dtypes", lambda *arguments: None)
        assert "INT8" in refusal(fake, tmp_path).message

    def test_a_model_without_it_sets_nothing(self, fake, tmp_path):
        graphs.relu(tmp_path / "m.onnx", ("n", 3))
        made(fake, tmp_path)
        assert flags_set(fake) == set()

    @pytest.mark.parametrize("inside", [False, True])
    def test_a_quantized_model_is_not_refused_for_int8_before_the_build(self, inside, tmp_path):
        if inside:
            branch = onnx.helper.make_graph(
                [graphs.node("QuantizeLinear", ["x", "s"], ["q"]), graphs.node("DequantizeLinear", ["q", "s"], ["r"])],
                "branch", [], [onnx.helper.make_tensor_value_info("r", graphs.FLOAT, (3,))],
            )  # fmt: skip
            nodes = [graphs.node("If", ["c"], ["y"], then_branch=branch, else_branch=branch)]
            sides = {"x": (graphs.FLOAT, (3,)), "c": (onnx.TensorProto.BOOL, ())}, {"y": (graphs.FLOAT, (3,))}
            graphs.save(tmp_path / "m.onnx", nodes, *sides, {"s": np.float32(1)})
        else:
            self.save(tmp_path / "m.onnx")
        refuse_unquantized(tmp_path / "m.onnx", "int8")
        with pytest.raises(ResultError, match="needs a model with QuantizeLinear"):
            refuse_unquantized(graphs.relu(tmp_path / "relu.onnx"), "int8")


class TestDimensions:
    """Names that do not mean one size: the parsed network gets others."""

    WIDE = {"x": {"min": [1, 3, 48, 192], "opt": [1, 3, 48, 192], "max": [2, 3, 48, 192]}}  # noqa: RUF012

    @pytest.mark.parametrize("names", [("?", 3, "?", "?"), ("None", 3, "None", "None"), ("n", 3, "side", "side")])
    def test_height_and_width_of_one_name_may_differ(self, names, fake, tmp_path):
        graphs.relu(tmp_path / "m.onnx", names)
        made(fake, tmp_path, profiles=self.WIDE)
        ((_, content, path),) = fake.named("parse")
        assert path == str(tmp_path / "m.onnx")
        assert len(content) == (tmp_path / "m.onnx").stat().st_size

    def test_names_that_mean_one_size_are_kept(self, fake, tmp_path):
        graphs.relu(tmp_path / "m.onnx", ("batch", 3, "height", "width"))
        made(fake, tmp_path, profiles=self.WIDE)
        assert fake.named("parse") == []
        assert len(fake.named("parse_from_file")) == 1

    def test_weights_beside_such_a_model_are_found(self, fake, tmp_path):
        for name in ("external.onnx", "external.weights"):
            shutil.copy(MODELS / name, tmp_path)
        loaded = onnx.load(tmp_path / "external.onnx", load_external_data=False)
        loaded.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "?"
        (tmp_path / "m.onnx").write_bytes(loaded.SerializeToString())
        made(fake, tmp_path)
        assert len(fake.named("parse")) == 1

    def test_a_range_that_contradicts_a_name_of_two_inputs_is_refused(self, fake, tmp_path):
        sides = {"x": (graphs.FLOAT, ("n",)), "z": (graphs.FLOAT, ("n",))}, {"y": (graphs.FLOAT, ("n",))}
        graphs.save(tmp_path / "m.onnx", [graphs.node("Add", ["x", "z"], ["y"])], *sides)
        spans = {"x": {"min": [1], "opt": [1], "max": [2]}, "z": {"min": [3], "opt": [3], "max": [4]}}
        assert "Input dimensions with this name" in refusal(fake, tmp_path, profiles=spans).message


def test_an_input_that_is_an_output_too_is_built_loaded_and_answered(trt, tmp_path):
    if not hasattr(trt.module, "Builder"):
        return  # lean and dispatch
    sides = {"x": (graphs.FLOAT, ("n", 3))}, {"x": (graphs.FLOAT, ("n", 3)), "y": (graphs.FLOAT, ("n", 3))}
    graphs.save(tmp_path / "m.onnx", [graphs.node("Relu", ["x"], ["y"])], *sides)
    made(trt, tmp_path)
    from aegisrt.backends.files.onnx import read_onnx

    built(tmp_path / "m.engine", read_onnx(tmp_path / "m.onnx").signature)
    backend = TensorRTBackend()
    backend.load(tmp_path / "m.engine").unwrap()
    value = np.array([[-1, 2, -3]], np.float32)
    outputs = backend.execute(ExecutionRequest(inputs={"x": value})).unwrap().outputs
    np.testing.assert_array_equal(outputs["x"], value)
    np.testing.assert_array_equal(outputs["y"], np.maximum(value, 0))
    only = backend.execute(ExecutionRequest(inputs={"x": value}, outputs=("x",))).unwrap().outputs
    assert list(only) == ["x"]


class TestMemory:
    """Too little memory is RESOURCE_EXHAUSTED, and the hint names the limit if there is one."""

    def without_builder(self, fake, monkeypatch, *lines):
        def refuse(logger):
            for level, text in lines:
                logger.log(type("Severity", (), {"name": level}), text)
            raise TypeError("pybind11::init(): factory function returned nullptr")

        monkeypatch.setattr(fake.module, "Builder", refuse)

    @pytest.mark.parametrize(
        "lines",
        [
            [("WARNING", "CUDA initialization failure with error: 2. Please check your CUDA installation: ...")],
            [("ERROR", "createInferBuilder: Error Code 2: OutOfMemory (no further information)")],
            [("ERROR", "[checkMacros.cpp::catchCudaError::272] Error Code 1: Cuda Runtime (out of memory)")],
            [("INTERNAL_ERROR", "Error Code 1: Cuda Runtime (In f at /a.cpp:1 (cudaError 2: out of memory))")],
        ],
    )
    def test_a_gpu_that_is_full_before_the_builder_is_created(self, lines, fake, tmp_path, monkeypatch):
        self.without_builder(fake, monkeypatch, *lines)
        error = refusal(fake, tmp_path)
        assert error.code is ErrorCode.RESOURCE_EXHAUSTED
        assert "free memory on the GPU" in error.hint

    def test_a_builder_without_enough_host_memory_names_the_limit(self, fake, tmp_path, monkeypatch):
        self.without_builder(fake, monkeypatch, ("WARNING", "CUDA initialization failure with error: 3. Please ..."))
        error = refusal(fake, tmp_path, build={"memory_bytes": 2 * GIB})
        assert error.code is ErrorCode.RESOURCE_EXHAUSTED
        assert "`build.memory_bytes` (2 GiB" in error.hint

    def test_a_driver_that_is_too_old_is_that_under_a_limit_too(self, fake, tmp_path, monkeypatch):
        self.without_builder(fake, monkeypatch, ("WARNING", "CUDA initialization failure with error: 35. Please ..."))
        assert refusal(fake, tmp_path, build={"memory_bytes": 2 * GIB}).code is ErrorCode.UNAVAILABLE

    @pytest.mark.parametrize(
        "text",
        [
            "Error Code 2: OutOfMemory (Requested size was 99 bytes.)",
            "Error Code 1: Cuda Runtime (out of memory)",
            "Error Code 10: Internal Error (Could not find any implementation for x due to insufficient workspace.)",
        ],
    )
    def test_a_build_that_runs_out_of_it(self, text, fake, tmp_path):
        fake.refuse["build_serialized_network"] = (None, text)
        assert refusal(fake, tmp_path).code is ErrorCode.RESOURCE_EXHAUSTED

    def test_kernels_that_are_skipped_for_memory_explain_only_a_build_without_any(self):
        log = TensorRTLog()
        with log.errors() as lines:
            log.add("WARNING", "Skipping tactic 3 due to insufficient memory on requested size of 9 detected.")
            log.add("ERROR", "Error Code 4: Internal Error (the layer is bad)")
        assert not is_out_of_memory(lines)
        assert sentence(lines) == "Internal Error (the layer is bad)"
        with log.errors() as lines:
            log.add(
                "WARNING", "Tactic Device request: 9MB Available: 1MB. Device memory is insufficient to use tactic."
            )
            log.add("ERROR", "Error Code 10: Internal Error (Could not find any implementation for node x.)")
        assert is_out_of_memory(lines)

    def test_a_package_that_does_not_import_within_the_limit(self, monkeypatch):
        def broken(wanted):
            raise fail(ErrorCode.UNAVAILABLE, "it does not import: failed to map segment from shared object")

        monkeypatch.setattr(build_main, "load_tensorrt", broken)
        job = {"distribution": "tensorrt", "ordinal": 0}
        with pytest.raises(ResultError) as caught:
            build_main.build({**job, "memory_limit": GIB})
        assert caught.value.error.code is ErrorCode.RESOURCE_EXHAUSTED
        assert "`build.memory_bytes` (1 GiB" in caught.value.error.hint
        with pytest.raises(ResultError) as caught:
            build_main.build({**job, "memory_limit": None})
        assert caught.value.error.code is ErrorCode.UNAVAILABLE


class TestEarly:
    """What needs neither a builder nor a parsed model is refused before the builder loads, which takes 8.6 9 s."""

    @pytest.mark.parametrize(
        ("start", "options", "code", "words"),
        [
            ("tensorrt-8", {"precision": "bf16"}, ErrorCode.FAILED_PRECONDITION, "precision: bf16"),
            ("tensorrt-8", {"strongly_typed": True}, ErrorCode.FAILED_PRECONDITION, "strongly typed"),
            (
                "tensorrt-8", {"hardware_compatibility": "same_compute_capability"}, ErrorCode.FAILED_PRECONDITION,
                "same_compute_capability",
            ),
            ("tensorrt_rtx", {"hardware_compatibility": "ampere_plus"}, ErrorCode.FAILED_PRECONDITION, "ampere_plus"),
        ],
    )  # fmt: skip
    def test_options_that_the_version_does_not_have(self, start, options, code, words, tmp_path, monkeypatch):
        fake = version(start)
        monkeypatch.setattr(fake.module, "Builder", lambda logger: pytest.fail("the builder was loaded"))
        error = refusal(fake, tmp_path, **options)
        assert error.code is code
        assert words in error.message

    @pytest.mark.parametrize(
        ("options", "code"),
        [
            ({"precision": "bf16", "strongly_typed": False}, ErrorCode.FAILED_PRECONDITION),
            ({"precision": "int8"}, ErrorCode.FAILED_PRECONDITION),
            ({"precision": "fp8"}, ErrorCode.FAILED_PRECONDITION),
            ({"hardware_compatibility": "same_compute_capability"}, ErrorCode.FAILED_PRECONDITION),
            ({"profiles": {"y": {"min": [1], "opt": [1], "max": [1]}}}, ErrorCode.INVALID_ARGUMENT),
            ({"profiles": {"x": {"min": [1, 4], "opt": [1, 4], "max": [1, 4]}}}, ErrorCode.INVALID_ARGUMENT),
        ],
    )
    def test_and_before_a_child_process_starts(self, options, code, trt, tmp_path, monkeypatch):
        if trt.version[0] != 8 or not hasattr(trt.module, "Builder"):
            return
        monkeypatch.setattr(built_by, "run_child", lambda *arguments, **named: pytest.fail("a child was started"))
        graphs.relu(tmp_path / "m.onnx", ("n", 3))
        error = TensorRTBackend(options).build(tmp_path / "m.onnx", tmp_path / "m.engine").unwrap_err()
        assert error.code is code

    def test_a_dimension_without_a_range_too_and_sizes_are_left_to_the_build(self, trt, tmp_path, monkeypatch):
        if not hasattr(trt.module, "Builder"):
            return
        monkeypatch.setattr(built_by, "run_child", lambda *arguments, **named: pytest.fail("a child was started"))
        options = {"compute_capabilities": ["8.9"]} if trt.is_rtx else {}
        graphs.relu(tmp_path / "m.onnx", ("n", "width"))
        error = TensorRTBackend(options).build(tmp_path / "m.onnx", tmp_path / "m.engine").unwrap_err()
        assert error.code is ErrorCode.INVALID_ARGUMENT
        assert "max_dynamic_size" in error.hint
        sides = {"x": (graphs.FLOAT, ("n", 3)), "s": (graphs.TensorProto.INT32, ("k",))}, {"y": (graphs.FLOAT, None)}
        graphs.save(tmp_path / "s.onnx", [graphs.node("Reshape", ["x", "s"], ["y"])], *sides)
        monkeypatch.setattr(built_by, "run_child", lambda *arguments, **named: fail_after())
        error = TensorRTBackend(options).build(tmp_path / "s.onnx", tmp_path / "s.engine").unwrap_err()
        assert error.message == "the child was started"


def fail_after():
    raise fail(ErrorCode.INTERNAL, "the child was started")


def test_its_lines_forge_none_in_an_applications_log(caplog):
    with caplog.at_level(logging.DEBUG, logger="aegisrt"):
        TensorRTLog().add("INFO", "layer `x\n::error::forged`")
        TensorRTLog().add("VERBOSE", "a detail")
    assert [record.getMessage() for record in caplog.records] == [r"INFO: layer `x\n::error::forged`"]
