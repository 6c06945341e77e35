"""`TensorRTBackend`: engines of TensorRT 8.6, 10 and 11 and of TensorRT for RTX, loaded, or built from ONNX."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from aegisrt.backends.base.backend import Availability, Names, RuntimeBackend
from aegisrt.backends.base.undeclared import refuse_undeclared_model
from aegisrt.backends.files.onnx import read_onnx
from aegisrt.backends.files.source import source_of
from aegisrt.backends.tensorrt.build.job import build_recipe, compute_capability, run_build
from aegisrt.backends.tensorrt.distribution import (
    INSTALL,
    installed,
    installed_version,
    load_tensorrt,
    repair_command,
)
from aegisrt.backends.tensorrt.engine import LoadedEngine, open_engine
from aegisrt.backends.tensorrt.options import Distribution, TensorRTOptions
from aegisrt.backends.tensorrt.plan import PlanHeader, check_version, read_header
from aegisrt.backends.tensorrt.run.slot import TensorRTSlot
from aegisrt.core.capabilities import Capabilities
from aegisrt.core.optional import Requirement
from aegisrt.core.options import BackendOptions
from aegisrt.core.request import MODEL_METADATA
from aegisrt.core.result import ErrorCode, ResultError, fail
from aegisrt.core.sidecar import Sidecar, verified_file
from aegisrt.core.tensor import Array, DataType, DeviceView, Signature
from aegisrt.devices.base import Device
from aegisrt.devices.cuda.arrays import arrays_on
from aegisrt.devices.cuda.context import cuda_context

_ALL_VERSIONS = frozenset({DataType.BOOL, DataType.UINT8, DataType.INT8, DataType.INT32, DataType.FP16, DataType.FP32})
_FROM_10_ON = frozenset({DataType.INT64, DataType.BF16})
_IS_OLD = (installed_version() or (10,)) < (10,)
"""TensorRT 8 has no BF16, and computes INT64 as INT32."""
_REBUILD = "build it again here: `aegisrt build`, or `TensorRTBackend().build(model, engine)`"


class TensorRTBackend(RuntimeBackend[TensorRTOptions, LoadedEngine, TensorRTSlot]):
    """Runs engine files on one GPU: a runtime, an engine, and one execution context for each instance.

    In direct use the device is `cuda` unless one is passed. Building needs a GPU too, except with `tensorrt_rtx` and
    `compute_capabilities`. TensorRT 8 has no BF16, and computes INT64 as INT32: a model keeps its INT64 inputs and
    outputs, a value that does not fit is INVALID_ARGUMENT, and a result's `metadata` names the tensors (`narrowed`).
    """

    kind = "tensorrt"
    Options: ClassVar[type[BackendOptions]] = TensorRTOptions
    requirement = Requirement(
        "tensorrt", ("tensorrt", "tensorrt_rtx", "tensorrt_lean", "tensorrt_dispatch"), "tensorrt"
    )
    doctor = "aegisrt.backends.tensorrt.installation:TensorRTInstallation"
    capabilities = Capabilities(
        devices=("cuda",),
        formats=(".engine", ".plan", ".trt"),
        builds_from=(".onnx",),
        dtypes=_ALL_VERSIONS if _IS_OLD else _ALL_VERSIONS | _FROM_10_ON,
        narrowed=frozenset({DataType.INT64}) if _IS_OLD else frozenset(),
        dynamic_shapes=True,
        scalars=True,
        external_data=True,
    )
    conformance_options: ClassVar[Mapping[str, Any]] = {"max_batch_size": 2**19, "max_dynamic_size": 64}

    def __init__(
        self,
        options: TensorRTOptions | Mapping[str, Any] | None = None,
        *,
        device: Device | str | None = None,
        stream: Any = None,
        instances: int = 1,
        names: Names | None = None,
    ) -> None:
        super().__init__(options, device=device or "cuda", stream=stream, instances=instances, names=names)

    @classmethod
    def availability(cls, *, probe: bool = False) -> Availability:
        """Return whether any of the four distributions is installed; with `probe`, whether the first one imports."""
        versions = installed()
        if not versions:
            return Availability(False, None, "no TensorRT is installed", INSTALL["tensorrt"])
        name, version = next(iter(versions.items()))
        if probe:
            try:
                load_tensorrt([name])
            except ResultError as failure:
                message = failure.error.message
                return Availability(False, version, message, repair_command(name, message))
        return Availability(True, version)

    def _load(self, path: Path) -> LoadedEngine:
        sidecar = verified_file(path).sidecar
        header = read_header(path)
        trt = load_tensorrt(self._runners(header))
        compatible = self.options.version_compatible or _is_compatible(sidecar)
        allowed = self.options.engine_host_code_allowed
        check_version(path, header, trt, version_compatible=compatible, host_code_allowed=allowed)
        self._check_gpu(path, sidecar)
        context = cuda_context(self.device.ordinal)
        loaded = open_engine(trt, context, path, header, host_code_allowed=allowed)
        try:
            with context:
                loaded.describe(sidecar.signature if sidecar is not None else None)
        except BaseException:
            loaded.close()
            raise
        loaded.metadata = {"engine": trt.display_name, "built_with": header.display_name}
        loaded.model_metadata = sidecar.metadata.get(MODEL_METADATA, {}) if sidecar is not None else {}
        narrowed = loaded.narrowed()
        if narrowed:
            loaded.metadata["narrowed"] = narrowed
        return loaded

    def _runners(self, header: PlanHeader) -> Sequence[Distribution]:
        wanted = self.options.distribution
        if wanted == "auto":
            return header.runners
        if wanted not in header.runners:
            message = f"the engine was built by {header.display_name}, which `distribution: {wanted}` does not load"
            raise fail(ErrorCode.FAILED_PRECONDITION, message, f"set `distribution` to {' or '.join(header.runners)}")
        return [wanted]

    def _check_gpu(self, path: Path, sidecar: Sidecar | None) -> None:
        """Raise FAILED_PRECONDITION if the file is known to be built for another GPU."""
        target = sidecar.recipe["target"] if sidecar is not None else {}
        wanted = target.get("compute_capabilities")
        if not wanted:
            return
        own = compute_capability(self.device.ordinal)
        any_later = target.get("hardware_compatibility") == "ampere_plus" and int(own.split(".")[0]) >= 8
        if own not in wanted and not any_later:
            message = f"{path} was built for GPUs of compute capability {', '.join(wanted)}, and this one has {own}"
            raise fail(ErrorCode.FAILED_PRECONDITION, message, _REBUILD)

    def _signature(self, engine: LoadedEngine) -> Signature:
        return engine.signature

    def _metadata(self, engine: LoadedEngine) -> dict[str, Any]:
        return engine.metadata

    def _model_metadata(self, engine: LoadedEngine) -> dict[str, str]:
        return engine.model_metadata

    def _device_view(self, engine: LoadedEngine) -> DeviceView:
        return arrays_on(self.device.ordinal)

    def _open(self, engine: LoadedEngine, stream: Any) -> TensorRTSlot:
        return TensorRTSlot(engine, self.device, stream, self.options)

    def _execute(self, slot: TensorRTSlot, inputs: dict[str, Array], outputs: tuple[str, ...]) -> Sequence[Any]:
        return slot.call(inputs, outputs)

    def _close(self, slot: TensorRTSlot) -> None:
        slot.close()

    def _unload(self, engine: LoadedEngine) -> None:
        engine.close()

    def _memory(self) -> int:
        """Return the size of the engine file, for the weights, plus the GPU memory of the instances."""
        loaded = self._loaded
        if loaded is None:
            raise fail(ErrorCode.NOT_LOADED, "no model is loaded")
        held = sum(slot.bytes_held() for slot in loaded.slots)
        return loaded.engine.size_bytes + held

    def _recipe(self) -> dict[str, Any]:
        return build_recipe(self.kind, self.options, self.device.ordinal)

    def _build(self, source: Path, target: Path) -> None:
        recipe, file = self._recipe(), read_onnx(source)
        signature = file.signature.with_defaults_fixed()
        refuse_undeclared_model(self.capabilities, signature)
        metadata = {MODEL_METADATA: file.metadata}
        described = Sidecar(source=source_of(source), recipe=recipe, signature=signature, metadata=metadata)
        ordinal, progress = self.device.ordinal, self._progress
        run_build(source, target, described, options=self.options, ordinal=ordinal, progress=progress)


def _is_compatible(sidecar: Sidecar | None) -> bool:
    return sidecar is not None and bool(sidecar.metadata.get("version_compatible"))
