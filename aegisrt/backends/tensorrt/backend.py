"""`TensorRTBackend`: engines of TensorRT 8.6, 10 and 11 and of TensorRT for RTX, loaded, or built from ONNX."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

from aegisrt.backends.base.backend import Availability, Names, RuntimeBackend
from aegisrt.backends.base.undeclared import refuse_undeclared_model
from aegisrt.backends.files.onnx import read_onnx
from aegisrt.backends.files.source import source_of
from aegisrt.backends.process.job import Limits, run_child
from aegisrt.backends.tensorrt.distribution import (
    BUILDERS,
    INSTALL,
    TensorRT,
    installed,
    installed_version,
    load_tensorrt,
)
from aegisrt.backends.tensorrt.engine import LoadedEngine, open_engine
from aegisrt.backends.tensorrt.options import Distribution, TensorRTOptions
from aegisrt.backends.tensorrt.plan import PlanHeader, check_version, read_header
from aegisrt.backends.tensorrt.profiles import plain
from aegisrt.backends.tensorrt.run.slot import TensorRTSlot
from aegisrt.core.capabilities import Capabilities
from aegisrt.core.optional import Requirement
from aegisrt.core.options import BackendOptions
from aegisrt.core.result import ErrorCode, ResultError, fail
from aegisrt.core.sidecar import Sidecar, check_file, read_sidecar, write_sidecar
from aegisrt.core.tensor import Array, DataType, DeviceView, Signature
from aegisrt.devices.base import Device
from aegisrt.devices.cuda.arrays import arrays_on
from aegisrt.devices.cuda.context import cuda_context
from aegisrt.devices.cuda.driver import cuda_driver

_UNLIMITED_BYTES = 2**50
_EVERYWHERE = frozenset({DataType.BOOL, DataType.UINT8, DataType.INT8, DataType.INT32, DataType.FP16, DataType.FP32})
_FROM_10_ON = frozenset({DataType.INT64, DataType.BF16})
_IS_OLD = (installed_version() or (10,)) < (10,)
"""TensorRT 8 has no BF16, and computes INT64 as INT32."""
_REBUILD = "build it again here: `aegisrt build`, or `TensorRTBackend().build(model, engine)`"


class TensorRTBackend(RuntimeBackend[TensorRTOptions]):
    """Runs engine files on one GPU: runtime, then engine, then one execution context for each instance.

    In direct use the device is `cuda` unless one is given. Building needs a GPU too, save with `tensorrt_rtx` and
    `compute_capabilities`. TensorRT 8 has no BF16, and computes INT64 as INT32: a model keeps its INT64 inputs and
    outputs, a value that does not fit is INVALID_ARGUMENT, and `metadata` of a result names the tensors (`narrowed`).
    """

    kind = "tensorrt"
    Options: ClassVar[type[BackendOptions]] = TensorRTOptions
    requirement = Requirement(
        "tensorrt", ("tensorrt", "tensorrt_rtx", "tensorrt_lean", "tensorrt_dispatch"), "tensorrt"
    )
    capabilities = Capabilities(
        devices=("cuda",),
        formats=(".engine", ".plan", ".trt"),
        builds_from=(".onnx",),
        dtypes=_EVERYWHERE if _IS_OLD else _EVERYWHERE | _FROM_10_ON,
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
        here = installed()
        if not here:
            return Availability(False, None, "no TensorRT is installed", INSTALL["tensorrt"])
        name, version = next(iter(here.items()))
        if probe:
            try:
                load_tensorrt([name])
            except ResultError as failure:
                return Availability(False, version, failure.error.message, INSTALL[name])
        return Availability(True, version)

    # -- loading -----------------------------------------------------------------------------------------------

    def _load(self, path: Path) -> LoadedEngine:
        sidecar = read_sidecar(path)
        if sidecar is not None:
            check_file(path, sidecar)
        header = read_header(path)
        library = load_tensorrt(self._runners(header))
        compatible = self.options.version_compatible or _is_compatible(sidecar)
        allowed = self.options.engine_host_code_allowed
        check_version(path, header, library, version_compatible=compatible, host_code_allowed=allowed)
        self._check_gpu(path, sidecar)
        context = cuda_context(self.device.ordinal)
        engine = open_engine(library, context, path, built_with=header.words, host_code_allowed=allowed)
        try:
            with context:
                engine.describe(sidecar.signature if sidecar is not None else None)
        except BaseException:
            engine.close()
            raise
        engine.metadata = {"engine": library.words, "built_with": header.words}
        narrowed = engine.narrowed()
        if narrowed:
            engine.metadata["narrowed"] = narrowed
        return engine

    def _runners(self, header: PlanHeader) -> Sequence[Distribution]:
        wanted = self.options.distribution
        if wanted == "auto":
            return header.runners
        if wanted not in header.runners:
            message = f"the engine was built by {header.words}, which `distribution: {wanted}` does not load"
            raise fail(ErrorCode.FAILED_PRECONDITION, message, f"set `distribution` to {' or '.join(header.runners)}")
        return [wanted]

    def _check_gpu(self, path: Path, sidecar: Sidecar | None) -> None:
        """Raise FAILED_PRECONDITION where the file is known to be made for another GPU than this."""
        target = sidecar.recipe["target"] if sidecar is not None else {}
        wanted = target.get("compute_capabilities")
        if not wanted:
            return
        here = _capability(self.device.ordinal)
        loose = target.get("hardware_compatibility") == "ampere_plus" and int(here.split(".")[0]) >= 8
        if here not in wanted and not loose:
            message = f"{path} was built for GPUs of compute capability {', '.join(wanted)}, and this one has {here}"
            raise fail(ErrorCode.FAILED_PRECONDITION, message, _REBUILD)

    def _signature(self, engine: LoadedEngine) -> Signature:
        return engine.signature

    def _metadata(self, engine: LoadedEngine) -> dict[str, Any]:
        return engine.metadata

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
        """Return the size of the engine file, for the weights, and what the instances hold; TensorRT tells no more."""
        loaded = self._loaded
        if loaded is None:
            raise fail(ErrorCode.NOT_LOADED, "no model is loaded")
        held = sum(slot.bytes_held() for slot in loaded.slots)
        return int(loaded.engine.size_bytes + held)

    # -- building ----------------------------------------------------------------------------------------------

    def _builder(self) -> TensorRT:
        wanted = self.options.distribution
        if wanted == "auto":
            return load_tensorrt(BUILDERS)
        if wanted not in BUILDERS:
            message = f"`distribution: {wanted}` runs engines and builds none"
            raise fail(ErrorCode.FAILED_PRECONDITION, message, f"set it to {' or '.join(BUILDERS)}")
        return load_tensorrt([wanted])

    def _recipe(self) -> dict[str, Any]:
        library = self._builder()
        return {
            "backend": self.kind,
            "engine": f"{library.distribution} {'.'.join(map(str, library.version))}",
            "options": self.options.for_build(),
            "target": self._target(library),
        }

    def _target(self, library: TensorRT) -> dict[str, Any]:
        """Return what GPU an engine is built for; raise UNAVAILABLE, in the driver's words, where it must be here."""
        asked = list(self.options.compute_capabilities)
        if asked and not library.is_rtx:
            message = f"`compute_capabilities` is for `tensorrt_rtx`; {library.words} builds for the GPU that is here"
            raise fail(ErrorCode.FAILED_PRECONDITION, message, "leave it out, or set `distribution: tensorrt_rtx`")
        compatibility = self.options.hardware_compatibility
        target: dict[str, Any] = {
            "compute_capabilities": asked or [_capability(self.device.ordinal)],
            "hardware_compatibility": compatibility,
        }
        if compatibility == "none" and not library.is_rtx:
            target["gpu"] = cuda_driver().name(self.device.ordinal)
        return target

    def _build(self, source: Path, target: Path) -> None:
        recipe = self._recipe()
        signature = read_onnx(source).signature
        refuse_undeclared_model(self.capabilities, signature)
        described = source_of(source)
        log = target.with_name(f"{target.name}.log")
        log.unlink(missing_ok=True)
        limits = self.options.build
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".build-") as folder:
            plan = Path(folder, target.name)
            answer = run_child(
                "aegisrt.backends.tensorrt.build.main",
                {
                    "source": str(source.absolute()),
                    "plan": str(plan.absolute()),
                    "folder": folder,
                    "ordinal": self.device.ordinal,
                    "distribution": self._builder().distribution,
                    "options": recipe["options"],
                    "profiles": [plain(profile) for profile in self.options.declared_profiles],
                    "inputs": [spec.name for spec in signature.inputs],
                    "compute_capabilities": recipe["target"]["compute_capabilities"],
                    "timing_cache": None if limits.timing_cache is None else str(limits.timing_cache.absolute()),
                },
                Path(folder),
                limits=Limits(limits.timeout_s, limits.memory_bytes or _UNLIMITED_BYTES),
                log=log,
                progress=self._progress,
            )
            plan.replace(target)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        made = Sidecar(source=described, recipe=recipe, signature=signature, metadata=answer, created=now)
        write_sidecar(target, made)


def _is_compatible(sidecar: Sidecar | None) -> bool:
    return sidecar is not None and bool(sidecar.metadata.get("version_compatible"))


def _capability(ordinal: int) -> str:
    return ".".join(map(str, cuda_driver().compute_capability(ordinal)))
