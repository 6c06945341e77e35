"""Execution providers: which ones a session requests, and the refusal of a silent fallback.

ONNX Runtime skips a provider that it does not have, or that does not start, and runs on the CPU instead
(https://github.com/microsoft/onnxruntime/issues/23372). Here that is an error, unless the options have
`fallback: allow`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aegisrt.backends.onnx.options import ONNXOptions, Setting, setting_text
from aegisrt.core.result import ErrorCode, fail
from aegisrt.core.shown.log import Log
from aegisrt.core.suggest import suggest
from aegisrt.devices.base import Device

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
_ON_DEVICE = {"cpu": (CPU,), "cuda": (CUDA, CPU)}
"""On a GPU, ONNX Runtime puts nodes that only compute shapes on the CPU; results name them."""
_GPU_INSTALL = "pip uninstall -y onnxruntime && pip install 'aegisrt-runtime[onnx-gpu]'"
_INSTALL = {
    CUDA: _GPU_INSTALL,
    "TensorrtExecutionProvider": _GPU_INSTALL,
    "OpenVINOExecutionProvider": "pip uninstall -y onnxruntime && pip install onnxruntime-openvino",
    "DmlExecutionProvider": "pip uninstall -y onnxruntime && pip install onnxruntime-directml",
    "QNNExecutionProvider": "pip uninstall -y onnxruntime && pip install onnxruntime-qnn",
}

_ENGINE = "onnx"
_log = Log(__name__)
Chosen = dict[str, dict[str, str]]


def choose(ort: Any, options: ONNXOptions, device: Device, model: str | None = None) -> Chosen:
    """Return the providers to request, by name and in order, each with its options as text; the log names `model`.

    INVALID_ARGUMENT: if a name is not a provider of ONNX Runtime.
    UNAVAILABLE: if this build does not have a provider; with `fallback: allow` it is skipped instead.
    """
    available = ort.get_available_providers()
    chosen: Chosen = {}
    for name, settings in _requested(options, device).items():
        if name in available:
            chosen[name] = {key: setting_text(value) for key, value in settings.items()}
        elif name not in ort.get_all_providers():
            hint = suggest(name, available, "the providers of this build")
            raise fail(ErrorCode.INVALID_ARGUMENT, f"`{name}` is not an execution provider of ONNX Runtime", hint)
        elif options.fallback == "forbid":
            message = f"`{name}` is requested, but onnxruntime {ort.__version__} here has only {_list(available)}"
            raise fail(ErrorCode.UNAVAILABLE, message, _advice(name))
        else:
            text = "`%s` is not in onnxruntime %s here: %s runs without it"
            _log.warning(text, name, ort.__version__, _shown(model), model=model, engine=_ENGINE)
    return chosen or {CPU: {}}


def refuse_fallback(
    requested: Sequence[str], got: Sequence[str], options: ONNXOptions, model: str | None = None
) -> None:
    """Check that the session has every provider that was requested; the log names `model`.

    UNAVAILABLE: if one is missing, unless the options have `fallback: allow`.
    """
    lost = [name for name in requested if name not in got]
    if lost and options.fallback == "forbid":
        message = f"`{lost[0]}` is requested, but did not start; the session has {_list(got)}"
        hint = f"set `log_severity: warning` to see the reason; {_advice(lost[0])}"
        raise fail(ErrorCode.UNAVAILABLE, message, hint)
    if lost:
        text = "`%s` did not start: %s runs on %s"
        _log.warning(text, "`, `".join(lost), _shown(model), _list(got), model=model, engine=_ENGINE)


def _requested(options: ONNXOptions, device: Device) -> Mapping[str, Mapping[str, Setting]]:
    requested: dict[str, dict[str, Setting]] = dict(options.providers or {name: {} for name in _ON_DEVICE[device.kind]})
    if device.kind == "cuda" and CUDA in requested:
        requested[CUDA] = {"device_id": device.ordinal, **requested[CUDA]}
    return requested


def _advice(name: str) -> str:
    install = _INSTALL.get(name)
    how = f"run: {install}" if install else f"install a build of onnxruntime that has `{name}`"
    return f"{how}; or set `fallback: allow` to run without it"


def _shown(model: str | None) -> str:
    return f"model `{model}`" if model else "the model"


def _list(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
