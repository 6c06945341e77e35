"""The sessions of a model on a GPU: their options, what they say, and where they run if not there."""

from types import SimpleNamespace

import numpy as np
import pytest

ort = pytest.importorskip(
    "onnxruntime", reason="onnxruntime is not installed; run: pip install 'aegisrt-runtime[onnx]'"
)

from aegisrt import ExecutionRequest, ONNXBackend  # noqa: E402
from aegisrt.backends.onnx import backend as onnx  # noqa: E402
from aegisrt.backends.onnx.cuda_sessions import CudaSessions, cpu_nodes, cuda_settings, open_on_gpu, quiet  # noqa: E402
from aegisrt.backends.onnx.options import ONNXOptions  # noqa: E402
from aegisrt.backends.onnx.providers import CPU, CUDA  # noqa: E402
from aegisrt.core.resources import configs_dir  # noqa: E402
from aegisrt.core.result import ErrorCode, ResultError, fail  # noqa: E402
from aegisrt.devices.base import Device  # noqa: E402
from aegisrt.devices.cuda.stream import CudaStream  # noqa: E402
from tests.fakes.cuda import fake_cuda  # noqa: E402

__all__ = ["fake_cuda"]
DIGITS = configs_dir() / "model" / "digits.onnx"


class Logger:
    def __init__(self):
        self.set = []

    def set_default_logger_severity(self, severity):
        self.set.append(severity)


@pytest.mark.parametrize(("severity", "set_to"), [(4, [4, 2]), (3, [3, 2]), (2, []), (0, [])])
def test_onnx_runtime_s_default_logger_is_as_quiet_as_the_session(severity, set_to):
    logger = Logger()
    with pytest.raises(ValueError, match="refused"), quiet(logger, severity):
        raise ValueError("refused")
    assert logger.set == set_to


def test_a_session_that_is_there_does_not_wake_the_logger_while_another_is_made():
    logger = Logger()
    with quiet(logger, 4):
        with quiet(logger, 3):
            assert logger.set[-1] == 4
        assert logger.set[-1] == 4
    assert logger.set[-1] == 2


@pytest.mark.parametrize(("provider", "set_to"), [("CUDAExecutionProvider", [4, 2]), ("CPUExecutionProvider", [])])
def test_it_is_only_touched_for_a_session_on_a_gpu(provider, set_to):
    logger = Logger()
    logger.InferenceSession = lambda *_, **__: list(logger.set)
    seen = onnx._open(logger, DIGITS, {provider: {}}, SimpleNamespace(log_severity_level=4), None)
    assert (seen, logger.set) == (set_to[:1], set_to)


def test_the_provider_s_options(fake_cuda):
    with CudaStream("cuda:0") as stream:
        options = ONNXOptions.parse({"memory_limit_bytes": 2**30})
        assert cuda_settings(options, stream, graph=True) == {
            "device_id": "0",
            "user_compute_stream": str(stream.handle),
            "enable_cuda_graph": "1",
            "gpu_mem_limit": str(2**30),
            "arena_extend_strategy": "kSameAsRequested",
        }
        assert "enable_cuda_graph" not in cuda_settings(options, stream, graph=False)


def test_nodes_on_the_cpu_are_counted():
    options = ort.SessionOptions()
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    session = ort.InferenceSession(str(DIGITS), options, providers=[CPU])
    found = cpu_nodes(session)
    if not hasattr(session, "get_provider_graph_assignment_info"):
        assert found is None
        return
    assert found["Gemm"] == 2


def test_without_a_gpu_build_of_onnx_runtime_a_gpu_is_unavailable():
    if "CUDAExecutionProvider" in ort.get_available_providers():
        pytest.skip("this onnxruntime has the CUDA provider")
    error = ONNXBackend(device="cuda").load(DIGITS).unwrap_err()
    assert error.code is ErrorCode.UNAVAILABLE
    assert "aegisrt-runtime[onnx-gpu]" in error.hint


def test_fallback_allowed_runs_on_the_cpu():
    if "CUDAExecutionProvider" in ort.get_available_providers():
        pytest.skip("this onnxruntime has the CUDA provider")
    backend = ONNXBackend({"fallback": "allow"}, device="cuda")
    backend.load(DIGITS).unwrap()
    result = backend.execute(ExecutionRequest(inputs={"image": np.zeros((2, 1, 8, 8), np.float32)})).unwrap()
    assert result.metadata["providers"] == ("CPUExecutionProvider",)


@pytest.mark.parametrize("starts", [True, False])
def test_only_the_first_session_falls_back_and_not_before_it_was_tried_without_a_recording(
    starts, fake_cuda, monkeypatch
):
    def on_cpu(ort, path, providers, options, optimized):
        if starts and CUDA in providers:
            raise RuntimeError("out of memory")
        return SimpleNamespace(get_providers=lambda: [CPU])

    monkeypatch.setattr(onnx, "_open", on_cpu)
    metadata = {}
    backend = ONNXBackend({"fallback": "allow", "cuda_graph": True}, device="cuda")
    sessions = backend._sessions(ort, DIGITS, {CUDA: {}, CPU: {}}, metadata)
    assert open_on_gpu(sessions).get_providers() == [CPU]
    assert metadata["cuda_graph"].startswith("off: ")
    metadata["providers"] = (CUDA, CPU)
    with pytest.raises(ResultError):
        sessions.open_session(sessions.first[1])
    sessions.close()


def test_a_failed_load_leaves_no_stream(fake_cuda):
    def session(stream, *, graph):
        raise fail(ErrorCode.UNAVAILABLE, "no")

    sessions = CudaSessions(session, Device.parse("cuda:0"), None, False, {})
    with pytest.raises(Exception, match="no"):
        open_on_gpu(sessions)
    assert fake_cuda.streams == {}
