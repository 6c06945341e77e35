from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from aegisrt import deploy
from aegisrt.backends.onnx.allowed import PROVIDER_OPTIONS, SESSION_KEYS
from aegisrt.backends.onnx.backend import ONNXBackend
from aegisrt.backends.onnx.options import ONNXOptions, session_options
from aegisrt.bench.one_node import one_node_model
from aegisrt.cli.main import main
from aegisrt.core.request import ExecutionRequest
from aegisrt.core.resources import configs_dir
from aegisrt.core.result import ErrorCode
from aegisrt.devices.base import Device

engine = pytest.mark.engine("onnx")
X = np.ones((1, 16), np.float32)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "one.onnx").write_bytes(one_node_model())
    return tmp_path / "one.onnx"


def made(device: Device | None = None, **values):
    import onnxruntime

    options = ONNXOptions.parse(values)
    assert isinstance(options, ONNXOptions)
    return session_options(onnxruntime, options, device or Device(), Path("m.onnx"), cpu_is_named=True)


class TestValidation:
    @pytest.mark.parametrize(
        ("values", "words"),
        [
            ({"intra_op_threads": 0}, "intra_op_threads"),
            ({"intra_op_threads": "2"}, "intra_op_threads"),
            ({"graph_optimization": "most"}, "disabled"),
            ({"execution_mode": "both"}, "sequential"),
            ({"fallback": True}, "forbid"),
            ({"providers": ["CPUExecutionProvider"]}, "providers"),
            ({"providers": {"CUDAExecutionProvider": None}}, "CUDAExecutionProvider"),
            ({"providers": {"CPUExecutionProvider": {"arena": 1}}}, "takes no options"),
            ({"providers": {"TensorrtExecutionProvider": {"trt_extra_plugin_lib_paths": "x.so"}}}, "libraries"),
            ({"providers": {"QNNExecutionProvider": {"backend_path": "x.so"}}}, "did you mean `backend_type`"),
            ({"providers": {"CUDAExecutionProvider": {"user_compute_stream": "1234"}}}, "under `stream`"),
            ({"free_dimensions": {"n": 0}}, "free_dimensions"),
            ({"session_config": {"nonsense": "1"}}, "session_config"),
            ({"session_config": {"session.intra_op.allow_spinning": "0"}}, "option of its own: `allow_spinning`"),
            ({"session_config": {"session.disable_cpu_ep_fallback": "1"}}, "option of its own: `fallback`"),
            ({"session_config": {"session.optimized_model_external_initializers_file_name": "x"}}, "names no files"),
            ({"session_config": {"session.model_external_initializers_file_folder_path": "/"}}, "names no files"),
            ({"session_config": {"session.collect_node_memory_stats_to_file": "x.csv"}}, "names no files"),
            ({"session_config": {"ep.context_file_path": "x"}}, "names no files"),
            ({"session_config": {"session.dynamic_block_bas": 4}}, "did you mean `session.dynamic_block_base`"),
            ({"providers": {"CUDAExecutionProvider": {"gpu_external_alloc": "1234"}}}, "addresses"),
            ({"providers": {"TensorrtExecutionProvider": {"trt_engine_cache_path": "/x"}}}, "names no files"),
            ({"providers": {"OpenVINOExecutionProvider": {"cache_dir": "/x"}}}, "names no files"),
            ({"providers": {"CoreMLExecutionProvider": {"ModelCacheDirectory": "/x"}}}, "names no files"),
            ({"providers": {"NewExecutionProvider": {"anything": 1}}}, "names no files"),
            ({"custom_op_libraries": ["x.so"]}, "custom_op_libraries"),
            ({"intra_op_thread": 2}, "intra_op_thread"),
        ],
    )
    def test_what_is_refused(self, values, words):
        with pytest.raises(ValueError, match=words):
            ONNXOptions.parse(values)

    def test_every_field_says_what_it_is(self):
        fields = ONNXOptions.model_json_schema()["properties"]
        assert [name for name, field in fields.items() if not field.get("description")] == []

    def test_the_packaged_configuration_is_valid(self):
        yaml = pytest.importorskip("yaml")
        ONNXOptions.parse(yaml.safe_load((configs_dir() / "backend" / "onnx.yaml").read_text()))


@engine
class TestSessionOptions:
    def test_defaults_are_the_engines_own(self):
        import onnxruntime

        ours, theirs = made(), onnxruntime.SessionOptions()
        for name in ("intra_op_num_threads", "inter_op_num_threads", "execution_mode", "graph_optimization_level",
                     "enable_cpu_mem_arena", "enable_mem_pattern", "enable_mem_reuse", "use_deterministic_compute",
                     "enable_profiling", "optimized_model_filepath"):  # fmt: skip
            assert getattr(ours, name) == getattr(theirs, name), name

    def test_threads_come_from_the_option_then_from_the_device(self):
        device = Device(threads=3)
        assert made(device).intra_op_num_threads == made(device).inter_op_num_threads == 3
        both = made(device, intra_op_threads=2, inter_op_threads=1)
        assert (both.intra_op_num_threads, both.inter_op_num_threads) == (2, 1)

    @pytest.mark.parametrize(
        ("level", "value"), [("disabled", 0), ("basic", 1), ("extended", 2), ("layout", 3), ("all", 99)]
    )
    def test_graph_optimization(self, level, value):
        assert int(made(graph_optimization=level).graph_optimization_level) == value

    @pytest.mark.parametrize(
        ("option", "attribute"),
        [("cpu_memory_arena", "enable_cpu_mem_arena"), ("memory_pattern", "enable_mem_pattern"),
         ("memory_reuse", "enable_mem_reuse"), ("deterministic", "use_deterministic_compute")],
    )  # fmt: skip
    @pytest.mark.parametrize("value", [True, False])
    def test_switches(self, option, attribute, value):
        assert getattr(made(**{option: value}), attribute) is value

    @pytest.mark.parametrize(
        ("values", "key", "text"),
        [
            ({"allow_spinning": False}, "session.intra_op.allow_spinning", "0"),
            ({"allow_spinning": False}, "session.inter_op.allow_spinning", "0"),
            ({"flush_denormals": True}, "session.set_denormal_as_zero", "1"),
            ({"prepack": False}, "session.disable_prepacking", "1"),
            ({"session_config": {"session.dynamic_block_base": 4}}, "session.dynamic_block_base", "4"),
            ({"session_config": {"session.prepack.enable_parallel": True}}, "session.prepack.enable_parallel", "1"),
        ],
    )
    def test_session_config(self, values, key, text):
        assert made(**values).get_session_config_entry(key) == text

    def test_parallel_execution(self):
        assert made(execution_mode="parallel").execution_mode.name == "ORT_PARALLEL"


@engine
class TestLoadedWith:
    def run(self, path: Path, **values):
        backend = ONNXBackend(values)
        backend.load(path).unwrap()
        outputs = backend.execute(ExecutionRequest(inputs={"x": X})).unwrap().outputs
        np.testing.assert_array_equal(outputs["y"], X * 2)
        return backend

    @pytest.mark.parametrize(
        "values",
        [{"execution_mode": "parallel", "inter_op_threads": 2}, {"cpu_memory_arena": False, "memory_pattern": False},
         {"graph_optimization": "disabled"}, {"deterministic": True, "flush_denormals": True},
         {"allow_spinning": False, "prepack": False, "memory_reuse": False}],
    )  # fmt: skip
    def test_any_of_them_the_answer_is_right(self, path, values):
        self.run(path, **values)

    def test_a_folder_for_the_optimized_model(self, path, tmp_path):
        (tmp_path / "out").mkdir()
        self.run(path, optimized_folder=str(tmp_path / "out"))
        self.run(tmp_path / "out" / "one.optimized.onnx")
        assert [file.name for file in sorted((tmp_path / "out").iterdir())] == [
            "one.optimized.onnx",
            "one.optimized.onnx.record",
        ]

    def test_an_optimized_model_of_an_earlier_load_is_replaced(self, path, tmp_path):
        (tmp_path / "out").mkdir()
        kept = tmp_path / "out" / "one.optimized.onnx"
        self.run(path, optimized_folder=str(tmp_path / "out"))
        first = kept.read_bytes()
        self.run(path, optimized_folder=str(tmp_path / "out"))
        path.write_bytes(one_node_model() + b"\x32\x01d")  # a doc_string
        self.run(path, optimized_folder=str(tmp_path / "out"))
        assert kept.read_bytes() != first
        self.run(path, optimized_folder=str(tmp_path / "out"))

    @pytest.mark.parametrize(
        "planted", ["file", "link", "dangling link", "changed", "record", "record link", "record of another", "folder"]
    )
    @pytest.mark.parametrize("isolation", ["none", "process"])
    def test_what_aegisrt_did_not_write_is_never_overwritten(self, path, tmp_path, planted, isolation):
        out, mine = tmp_path / "out", tmp_path / "mine"
        out.mkdir()
        mine.write_text("my own file")
        target, record = out / "one.optimized.onnx", out / "one.optimized.onnx.record"
        if planted == "file":
            target.write_text("my own file")
        elif planted == "link":
            target.symlink_to(mine)
        elif planted == "dangling link":
            target.symlink_to(tmp_path / "none")
        elif planted == "changed":
            self.run(path, optimized_folder=str(out))
            target.write_text("my own file")
        elif planted == "record":
            record.write_text("my own file")
        elif planted == "record link":
            record.symlink_to(mine)
        elif planted == "record of another":
            target.write_text("my own file")
            record.write_text(f"aegisrt wrote: {'0' * 64}\n")
        else:
            target.mkdir()
        before = {file.name: file.is_file() and file.read_bytes() for file in sorted(out.iterdir())}
        model = {"path": str(path), "backend": "b"}
        backend = {"kind": "onnx", "optimized_folder": str(out), "isolation": isolation}
        error = deploy({"models": {"m": model}, "backends": {"b": backend}}).unwrap_err()
        assert error.code is ErrorCode.ALREADY_EXISTS
        assert "optimized_folder" in error.hint
        assert {file.name: file.is_file() and file.read_bytes() for file in sorted(out.iterdir())} == before
        assert mine.read_text() == "my own file"
        assert not (tmp_path / "none").exists()

    def test_two_profiles_in_the_same_second_have_two_files(self, path, tmp_path):
        (tmp_path / "out").mkdir()
        backends = [self.run(path, profile_folder=str(tmp_path / "out")) for _ in range(2)]
        for backend in backends:
            backend.unload().unwrap()
        assert len(list((tmp_path / "out").iterdir())) == 2

    def test_a_folder_for_profiles(self, path, tmp_path):
        (tmp_path / "out").mkdir()
        backend = self.run(path, profile_folder=str(tmp_path / "out"))
        backend.unload().unwrap()
        (trace,) = (tmp_path / "out").iterdir()
        assert trace.name.startswith("one")
        assert any(event.get("name", "").startswith("add") for event in json.loads(trace.read_text()))

    @pytest.mark.parametrize("option", ["optimized_folder", "profile_folder"])
    def test_a_folder_that_does_not_exist(self, path, tmp_path, option):
        error = ONNXBackend({option: str(tmp_path / "none")}).load(path).unwrap_err()
        assert error.code is ErrorCode.NOT_FOUND
        assert f"`{option}`" in error.message

    def test_a_value_that_the_engine_refuses(self, path, capfd):
        values = {"intra_op_threads": 2, "session_config": {"session.intra_op_thread_affinities": "nonsense"}}
        error = ONNXBackend(values).load(path).unwrap_err()
        assert error.code is ErrorCode.INVALID_ARGUMENT
        assert "nonsense" in error.message
        assert capfd.readouterr() == ("", ""), "the engine's own fallback must be off: it prints, and tries the CPU"

    def test_errors_reach_stderr_only_on_request(self, path, capfd):
        path.write_bytes(one_node_model().replace(b"Add", b"Sad"))
        assert ONNXBackend().load(path).is_err()
        assert capfd.readouterr().err == ""
        self.run_verbose(path)
        assert "onnxruntime" in capfd.readouterr().err

    @staticmethod
    def run_verbose(path: Path) -> None:
        path.write_bytes(one_node_model())
        ONNXBackend({"log_severity": "info"}).load(path).unwrap()


@engine
class TestFreeDimensions:
    @pytest.fixture
    def dynamic(self, tmp_path: Path) -> Path:
        from tests.backends.onnx_models import FLOAT, identity, save

        return save(tmp_path, identity(FLOAT, ["batch", 3]))

    def test_they_become_fixed(self, dynamic):
        backend = ONNXBackend({"free_dimensions": {"batch": 2}})
        backend.load(dynamic).unwrap()
        assert backend.signature.inputs[0].shape == (2, 3)
        assert backend.execute(ExecutionRequest(inputs={"x": np.ones((2, 3), np.float32)})).is_ok()
        error = backend.execute(ExecutionRequest(inputs={"x": np.ones((4, 3), np.float32)})).unwrap_err()
        assert error.message == "input `x` has shape [4,3], the model takes [2,3]"

    def test_one_that_the_model_lacks(self, dynamic):
        error = ONNXBackend({"free_dimensions": {"batches": 2}}).load(dynamic).unwrap_err()
        assert (error.code, error.hint) == (ErrorCode.INVALID_ARGUMENT, "did you mean `batch`?")


def test_no_setting_that_is_allowed_is_named_like_a_file_or_a_library():
    keys = {*SESSION_KEYS, *(key for keys in PROVIDER_OPTIONS.values() for key in keys)}
    names = (
        "(?<!pro)file",
        "path",
        "folder",
        "dir(?!ect|_)",
        "lib",
        "cache",
        "prefix",
        "dump",
        "_name$",
        "load",
        "save",
    )
    words = re.compile("|".join((*names, "stream$")), re.IGNORECASE)
    assert {key for key in keys if words.search(key)} == {"offload_graph_io_quantization", *STREAM_FLAGS}


STREAM_FLAGS = {"do_copy_in_default_stream", "use_ep_level_unified_stream"}
"""Switches: they say whether streams are shared, and hold no handle."""


@pytest.mark.parametrize(
    "override",
    [
        "backends.onnx.session_config={session.optimized_model_external_initializers_file_name: ../../victim}",
        "backends.onnx.providers={TensorrtExecutionProvider: {trt_timing_cache_path: /tmp}}",
    ],
)
def test_a_manifest_that_names_a_file_of_the_engine_is_not_valid(override, capsys):
    assert main(["validate", override, "--json"]) == 2
    (found,) = json.loads(capsys.readouterr().out)["diagnostics"]
    assert (found["id"], found["path"].split(".")[:2]) == ("bad-value", ["backends", "onnx"])
    assert "names no files" in found["message"]
