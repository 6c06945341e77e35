"""ONNX models on OpenVINO's CPU plugin."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from aegisrt import BackendOptions, Capabilities, DataType, ErrorCode, RuntimeBackend, Signature
from aegisrt.backends.helpers import Requirement, check_fits, check_onnx, require

INT32 = np.dtype(np.int32)


class OpenVINOOptions(BackendOptions):
    """Options of the backend `openvino`."""

    nicknames = ("ov",)
    kind: Literal["openvino"] = "openvino"
    """Always `openvino`."""
    performance_hint: Literal["LATENCY", "THROUGHPUT"] = "LATENCY"
    """What OpenVINO tunes its threads for."""


@dataclass
class OpenVINOModel:
    """A compiled model. All instances share it."""

    compiled: Any
    """An `openvino.CompiledModel`."""
    signature: Signature
    metadata: dict[str, str]
    """The model's own."""


class OpenVINOBackend(RuntimeBackend[OpenVINOOptions, OpenVINOModel, Any]):
    """Compiles a model when it is loaded; each instance is an `openvino.InferRequest`."""

    kind = "openvino"
    Options = OpenVINOOptions
    requirement = Requirement("openvino", ("openvino",), "openvino", of="aegisrt-openvino", minimum=(2025, 0))
    capabilities = Capabilities(
        formats=(".onnx",),
        dtypes=frozenset({DataType.BOOL, DataType.INT8, DataType.UINT8, DataType.INT32, DataType.FP32}),
        narrowed=frozenset({DataType.INT64}),  # the CPU plugin computes it as INT32
        dynamic_shapes=True,
        zero_size=True,
        scalars=True,
        external_data=True,
    )

    def _load(self, path: Path) -> OpenVINOModel:
        openvino = require(self.requirement)
        model = check_onnx(path)  # OpenVINO's error is the same for damage and for another format
        core = openvino.Core()
        core.set_property({"ENABLE_MMAP": False})  # a file that another program cuts short would end this process
        config = {"PERFORMANCE_HINT": self.options.performance_hint, "INFERENCE_PRECISION_HINT": "f32"}
        compiled = core.compile_model(path, "CPU", config)
        return OpenVINOModel(compiled, model.signature.with_defaults_fixed(), model.metadata)

    def _signature(self, engine: OpenVINOModel) -> Signature:
        return engine.signature

    def _model_metadata(self, engine: OpenVINOModel) -> dict[str, str]:
        return engine.metadata

    def _open(self, engine: OpenVINOModel, stream: Any) -> Any:
        return engine.compiled.create_infer_request(), engine.signature

    def _execute(self, slot: Any, inputs: dict[str, np.ndarray], outputs: tuple[str, ...]) -> Sequence[Any]:
        request, signature = slot
        for spec in signature.inputs:
            if spec.dtype is DataType.INT64:
                check_fits(inputs[spec.name], INT32, spec.name, "OpenVINO")
        request.infer({index: inputs[spec.name] for index, spec in enumerate(signature.inputs)})
        index = {spec.name: at for at, spec in enumerate(signature.outputs)}
        return [np.array(request.get_output_tensor(index[name]).data) for name in outputs]

    def _classify(self, error: Exception) -> ErrorCode | None:
        return ErrorCode.UNIMPLEMENTED if "not supported" in str(error) else None
