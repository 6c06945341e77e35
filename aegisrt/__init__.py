"""AegisRT: one YAML manifest, any engine. Public names only, loaded on first use (PEP 562)."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from aegisrt.backends.base.backend import RuntimeBackend
    from aegisrt.backends.mock import MockBackend
    from aegisrt.backends.onnx.backend import ONNXBackend
    from aegisrt.backends.tensorrt.backend import TensorRTBackend
    from aegisrt.backends.tvm.backend import TVMBackend
    from aegisrt.core.capabilities import Capabilities
    from aegisrt.core.options import BackendOptions
    from aegisrt.core.request import ExecutionRequest, ExecutionResult
    from aegisrt.core.result import Err, Error, ErrorCode, Ok, Result, ResultError, is_ok
    from aegisrt.core.tensor import DataType, Signature, TensorSpec
    from aegisrt.deployment import deploy, deploy_async
    from aegisrt.devices.cuda.stream import CudaStream
    from aegisrt.manifest.schema import Manifest
    from aegisrt.runtime.context import ExecutionContext
    from aegisrt.runtime.prometheus import prometheus_registry
    from aegisrt.serving.http.asgi import asgi

_HOME = {
    "deploy": "aegisrt.deployment",
    "deploy_async": "aegisrt.deployment",
    "Manifest": "aegisrt.manifest.schema",
    "ExecutionContext": "aegisrt.runtime.context",
    "ExecutionRequest": "aegisrt.core.request",
    "ExecutionResult": "aegisrt.core.request",
    "Result": "aegisrt.core.result",
    "Ok": "aegisrt.core.result",
    "Err": "aegisrt.core.result",
    "is_ok": "aegisrt.core.result",
    "Error": "aegisrt.core.result",
    "ErrorCode": "aegisrt.core.result",
    "ResultError": "aegisrt.core.result",
    "RuntimeBackend": "aegisrt.backends.base.backend",
    "Capabilities": "aegisrt.core.capabilities",
    "BackendOptions": "aegisrt.core.options",
    "MockBackend": "aegisrt.backends.mock",
    "ONNXBackend": "aegisrt.backends.onnx.backend",
    "TVMBackend": "aegisrt.backends.tvm.backend",
    "TensorRTBackend": "aegisrt.backends.tensorrt.backend",
    "CudaStream": "aegisrt.devices.cuda.stream",
    "DataType": "aegisrt.core.tensor",
    "Signature": "aegisrt.core.tensor",
    "TensorSpec": "aegisrt.core.tensor",
    "prometheus_registry": "aegisrt.runtime.prometheus",
    "asgi": "aegisrt.serving.http.asgi",
}

__all__ = [
    "deploy",
    "deploy_async",
    "Manifest",
    "ExecutionContext",
    "ExecutionRequest",
    "ExecutionResult",
    "Result",
    "Ok",
    "Err",
    "is_ok",
    "Error",
    "ErrorCode",
    "ResultError",
    "RuntimeBackend",
    "Capabilities",
    "BackendOptions",
    "MockBackend",
    "ONNXBackend",
    "TVMBackend",
    "TensorRTBackend",
    "CudaStream",
    "DataType",
    "Signature",
    "TensorSpec",
    "prometheus_registry",
    "asgi",
    "__version__",
]
"""Written out, because type checkers do not run code."""


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module `aegisrt` has no attribute `{name}`")
    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
