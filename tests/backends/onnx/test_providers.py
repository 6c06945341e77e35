from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from aegisrt.backends.onnx.options import ONNXOptions
from aegisrt.backends.onnx.providers import choose, refuse_fallback
from aegisrt.core.result import ErrorCode, ResultError
from aegisrt.devices.base import Device

CPU, CUDA, TENSORRT = "CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider"


def build(*available: str) -> SimpleNamespace:
    """Return what stands for a build of onnxruntime with these providers."""
    return SimpleNamespace(
        __version__="1.31.1",
        get_available_providers=lambda: list(available),
        get_all_providers=lambda: [TENSORRT, CUDA, "OpenVINOExecutionProvider", "XnnpackExecutionProvider", CPU],
    )


def options(**values) -> ONNXOptions:
    made = ONNXOptions.parse(values)
    assert isinstance(made, ONNXOptions)
    return made


class TestChoose:
    def test_the_device_decides_where_nothing_is_said(self):
        assert choose(build(CUDA, CPU), options(), Device()) == {CPU: {}}
        assert choose(build(CUDA, CPU), options(), Device.parse("cuda:1")) == {CUDA: {"device_id": "1"}, CPU: {}}

    def test_order_and_options_are_kept(self):
        providers = {
            TENSORRT: {"trt_fp16_enable": True},
            CUDA: {"device_id": 3, "arena_extend_strategy": "kSameAsRequested"},
        }
        chosen = choose(build(CPU, CUDA, TENSORRT), options(providers=providers), Device.parse("cuda"))
        assert list(chosen) == [TENSORRT, CUDA]
        assert chosen[TENSORRT] == {"trt_fp16_enable": "1"}
        assert chosen[CUDA] == {"device_id": "3", "arena_extend_strategy": "kSameAsRequested"}

    def test_one_that_this_build_lacks_is_unavailable(self):
        with pytest.raises(ResultError) as caught:
            choose(build(CPU), options(providers={CUDA: {}, CPU: {}}), Device())
        error = caught.value.error
        assert error.code is ErrorCode.UNAVAILABLE
        assert error.message == f"`{CUDA}` is requested, but onnxruntime 1.31.1 here has only `{CPU}`"
        assert "pip install 'aegisrt-runtime[onnx-gpu]'" in error.hint
        assert "fallback: allow" in error.hint

    def test_one_without_a_known_package_is_unavailable_too(self):
        with pytest.raises(ResultError, match="install a build of onnxruntime"):
            choose(build(CPU), options(providers={"XnnpackExecutionProvider": {}}), Device())

    @pytest.mark.parametrize("fallback", ["forbid", "allow"])
    @pytest.mark.parametrize(
        ("name", "hint"),
        [
            ("CUDAExecutionProvder", f"did you mean `{CUDA}`?"),
            ("CUDAProvider", f"did you mean `{CUDA}`?"),
        ],
    )
    def test_a_name_that_does_not_exist_is_never_ignored(self, name, hint, fallback):
        with pytest.raises(ResultError) as caught:
            choose(build(CPU, CUDA), options(providers={name: {}}, fallback=fallback), Device())
        assert caught.value.error.code is ErrorCode.INVALID_ARGUMENT
        assert caught.value.error.hint == hint

    def test_fallback_leaves_out_what_is_lacking(self):
        asked = options(providers={TENSORRT: {}, CUDA: {}}, fallback="allow")
        assert list(choose(build(CPU, CUDA), asked, Device())) == [CUDA]
        assert choose(build(CPU), asked, Device()) == {CPU: {}}

    def test_a_fallback_is_logged_with_the_model(self, caplog):
        asked = options(providers={CUDA: {}}, fallback="allow")
        choose(build(CPU), asked, Device(), "digits")
        refuse_fallback([CUDA], [CPU], asked, "digits")
        assert [record.message for record in caplog.records] == [
            f"`{CUDA}` is not in onnxruntime 1.31.1 here: model `digits` runs without it",
            f"`{CUDA}` did not start: model `digits` runs on `{CPU}`",
        ]
        assert {(record.model, record.engine) for record in caplog.records} == {("digits", "onnx")}


class TestRefuseFallback:
    def test_all_that_were_asked_for_are_there(self):
        refuse_fallback([CUDA], [CUDA, CPU], options())

    def test_one_that_did_not_start(self):
        with pytest.raises(ResultError) as caught:
            refuse_fallback([CUDA], [CPU], options())
        error = caught.value.error
        assert error.code is ErrorCode.UNAVAILABLE
        assert error.message == f"`{CUDA}` is requested, but did not start; the session has `{CPU}`"

    def test_it_is_allowed_where_the_manifest_says_so(self):
        refuse_fallback([CUDA], [CPU], options(fallback="allow"))


@pytest.mark.engine("onnx")
class TestSessions:
    """`AzureExecutionProvider` is in every CPU build and has no kernels: all nodes would fall back to the CPU."""

    AZURE = "AzureExecutionProvider"

    @pytest.fixture
    def path(self, tmp_path):
        from aegisrt.bench.one_node import one_node_model

        (tmp_path / "model.onnx").write_bytes(one_node_model((2,)))
        return tmp_path / "model.onnx"

    @pytest.fixture(autouse=True)
    def _has_azure(self):
        onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
        if onnxruntime.get_available_providers() != [self.AZURE, CPU]:
            pytest.skip(f"this build has {onnxruntime.get_available_providers()}")

    def load(self, path, **values):
        from aegisrt.backends.onnx.backend import ONNXBackend

        backend = ONNXBackend(values)
        return backend, backend.load(path)

    def providers_of(self, backend):
        from aegisrt.core.request import ExecutionRequest

        result = backend.execute(ExecutionRequest(inputs={"x": np.ones(2, np.float32)})).unwrap()
        np.testing.assert_array_equal(result.outputs["y"], [2, 2])
        return result.metadata["providers"]

    def test_nodes_that_would_run_on_a_cpu_that_is_not_named(self, path, capfd):
        _, result = self.load(path, providers={self.AZURE: {}})
        error = result.unwrap_err()
        assert error.code is ErrorCode.UNAVAILABLE
        assert "would run on the CPU" in error.message
        assert "add `CPUExecutionProvider` to `providers`" in error.hint
        assert capfd.readouterr() == ("", "")

    def test_naming_the_cpu_allows_it(self, path):
        backend, result = self.load(path, providers={self.AZURE: {}, CPU: {}})
        assert result.is_ok()
        assert self.providers_of(backend) == (self.AZURE, CPU)

    def test_fallback_allows_it(self, path):
        backend, result = self.load(path, providers={self.AZURE: {}}, fallback="allow")
        assert result.is_ok()
        assert self.providers_of(backend) == (self.AZURE, CPU)

    def test_cuda_is_unavailable_here_unless_fallback_is_allowed(self, path, capfd):
        _, result = self.load(path, providers={CUDA: {}})
        assert result.unwrap_err().code is ErrorCode.UNAVAILABLE
        backend, result = self.load(path, providers={CUDA: {}}, fallback="allow")
        assert result.is_ok()
        assert self.providers_of(backend) == (CPU,)
        assert capfd.readouterr() == ("", "")

    def test_an_allowed_fallback_does_not_hide_a_bad_model(self, path):
        path.write_bytes(path.read_bytes()[:20])
        _, result = self.load(path, providers={self.AZURE: {}}, fallback="allow")
        assert result.unwrap_err().code is ErrorCode.DATA_LOSS
