"""`TVMBackend`: models on Apache TVM, as shared libraries that it builds from ONNX or that were built elsewhere.

On a CPU, and on an NVIDIA GPU with the driver, pycuda and the CUDA runtime; a build for a GPU needs nvcc or NVRTC too.

Written for apache-tvm 0.27 (Relax); a library is loaded by the version that built it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from aegisrt.backends.base.backend import RuntimeBackend
from aegisrt.backends.files.elf import check_elf
from aegisrt.backends.files.onnx import looks_like_onnx
from aegisrt.backends.onnxruntime import installed_version
from aegisrt.backends.tvm.build.library import build_library
from aegisrt.backends.tvm.errors import classify
from aegisrt.backends.tvm.options import LibrarySignature, TensorDeclaration, TVMOptions
from aegisrt.backends.tvm.run.cuda_slot import TVMCudaSlot, check_cuda, release
from aegisrt.backends.tvm.run.index_bounds import Bounds
from aegisrt.backends.tvm.run.library import TVMLibrary, TVMSlot, cpu_slot, find_entry, open_library
from aegisrt.backends.tvm.run.probe import probe
from aegisrt.backends.tvm.target import check_runs_here, target_of
from aegisrt.core.capabilities import Capabilities
from aegisrt.core.optional import Requirement, require
from aegisrt.core.options import BackendOptions
from aegisrt.core.request import MODEL_METADATA
from aegisrt.core.result import Error, ErrorCode, fail
from aegisrt.core.sidecar import Sidecar, read_sidecar, verified_file
from aegisrt.core.tensor import Array, DataType, DeviceView, Signature, TensorSpec
from aegisrt.devices.cuda.arrays import arrays_on

_REBUILD = "build it again: `aegisrt build`, or `TVMBackend().build(model, library)`"


class TVMBackend(RuntimeBackend[TVMOptions, TVMLibrary, TVMSlot]):
    """Calls a compiled library: a Relax VM executable, or a plain library of operators."""

    kind = "tvm"
    Options: ClassVar[type[BackendOptions]] = TVMOptions
    requirement = Requirement("tvm", ("apache-tvm",), "tvm")
    doctor = "aegisrt.backends.tvm.installation:TVMInstallation"
    capabilities = Capabilities(
        devices=("cpu", "cuda"),
        formats=(".so",),
        builds_from=(".onnx",),
        dtypes=frozenset(DataType) - {DataType.BYTES},
        dynamic_shapes=True,
        zero_size=True,
        scalars=True,
        external_data=True,
        native_code=True,
    )

    @classmethod
    def build_note(cls, options: TVMOptions, device: str) -> str | None:
        """Return that the code is slow if nothing tunes it; on a GPU TVM has schedules of its own."""
        if device != "cpu":
            return None
        slow = "untuned: correct, but 20 to 120 times slower than ONNX Runtime; add `tuning` to its backend"
        return None if options.tuning else slow

    def _load(self, path: Path) -> TVMLibrary:
        _refuse_source(path)
        package = require(self.requirement)
        if self.device.kind == "cuda":
            check_cuda(self.device)
        sidecar = read_sidecar(path)
        if sidecar is not None:
            self._check(path, sidecar, package.__version__)
        check_elf(path)
        return self._built(path, sidecar) if sidecar is not None else self._foreign(path)

    def _built(self, path: Path, sidecar: Sidecar) -> TVMLibrary:
        """Return the library that a sidecar describes."""
        module, described, entry = self._opened(path), sidecar.metadata, self.options.entry
        functions = described.get("functions", ())
        has_main = not functions or any(item["name"] == "main" for item in functions)
        variants = {tuple(map(tuple, item["shapes"])): item["name"] for item in functions if item["shapes"]}
        return TVMLibrary(
            module,
            path,
            sidecar.signature,
            find_entry(module, entry, path) if entry or has_main else None,
            {} if entry else variants,
            described.get("computed", []),
            [Bounds(**bound) for bound in described.get("bounds", ())],
            self._threads(),
            self._library_metadata(tuned=described.get("tuned", False)),
            described.get(MODEL_METADATA, {}),
        )

    def _foreign(self, path: Path) -> TVMLibrary:
        """Return a library without a sidecar; another process opens it first, since it may be damaged."""
        declared = self.options.signature
        if declared is None and self.device.kind == "cuda":
            missing = f"{path} has no sidecar ({path.name}.json)"
            message = f"{missing}, and the inputs and outputs of code for a GPU cannot be read from the library"
            hint = "copy the sidecar with it, or declare `signature` in the backend's options"
            raise fail(ErrorCode.FAILED_PRECONDITION, message, hint)
        probed = probe(
            path,
            self.options.entry,
            with_signature=declared is None,
            memory_bytes=self.options.build.memory_bytes,
            environment=self.options.environment,
        )
        signature = _signature(declared) if declared is not None else probed.signature
        assert signature is not None, "the other process was asked for it"
        module, metadata = self._opened(path), self._library_metadata(tuned=False)
        return TVMLibrary(module, path, signature, probed.entry, threads=self._threads(), metadata=metadata)

    def _opened(self, path: Path) -> Any:
        return open_library(path, holds_kernels=self.device.kind == "cuda")

    def _threads(self) -> int | None:
        return self.options.threads or self.device.threads

    def _library_metadata(self, *, tuned: bool) -> dict[str, Any]:
        return {"engine": require(self.requirement).__version__, "tuned": tuned}

    def _check(self, path: Path, sidecar: Sidecar, version: str) -> None:
        """Raise if the file is not the one that was built, or was built for another machine; runs none of its code."""
        recipe = sidecar.recipe
        if recipe["backend"] != self.kind:
            raise fail(ErrorCode.INVALID_ARGUMENT, f"{path} was built for backend kind `{recipe['backend']}`")
        verified_file(path, sidecar)
        if recipe["engine"] != version:
            message = f"{path} was built by TVM {recipe['engine']}, and this is TVM {version}"
            raise fail(ErrorCode.FAILED_PRECONDITION, message, _REBUILD)
        check_runs_here(recipe["target"], self.device, str(path))

    def _signature(self, engine: TVMLibrary) -> Signature:
        return engine.signature

    def _metadata(self, engine: TVMLibrary) -> dict[str, Any]:
        return engine.metadata

    def _model_metadata(self, engine: TVMLibrary) -> dict[str, str]:
        return engine.model_metadata

    def _open(self, engine: TVMLibrary, stream: Any) -> TVMSlot:
        if self.device.kind == "cuda":
            return TVMCudaSlot(engine, self.device, stream, outputs=self.options.outputs)
        return cpu_slot(engine)

    def _close(self, slot: TVMSlot) -> None:
        slot.close()

    def _unload(self, engine: TVMLibrary) -> None:
        if self.device.kind == "cuda":
            release(engine, self.device)

    def _device_view(self, engine: TVMLibrary) -> DeviceView | None:
        return arrays_on(self.device.ordinal) if self.device.kind == "cuda" else None

    def _execute(self, slot: TVMSlot, inputs: dict[str, Array], outputs: tuple[str, ...]) -> Sequence[Any]:
        return slot.call(inputs, outputs)

    def _classify(self, error: Exception) -> ErrorCode | Error | None:
        return classify(error)

    def _recipe(self) -> dict[str, Any]:
        package = require(self.requirement)
        target = target_of(self.options.target, self.device, self._threads())
        if self.options.tuning is not None and self.device.kind == "cuda":
            message = "`tuning` times code on the CPU; on a GPU TVM's own schedules (DLight) are used"
            raise fail(ErrorCode.UNIMPLEMENTED, message, "leave `tuning` out for this device")
        return {
            "backend": self.kind,
            "engine": package.__version__,
            "options": self.options.for_build(),
            "target": target,
        }

    def _build(self, source: Path, target: Path) -> None:
        recipe = self._recipe()
        if self.device.kind == "cuda":
            check_cuda(self.device)
        build_library(
            source,
            target,
            options=self.options,
            recipe=recipe,
            capabilities=self.capabilities,
            progress=self._progress,
        )

    def outdated(self, metadata: Mapping[str, Any]) -> bool:
        """Return whether its constants were folded by another ONNX Runtime than the one that is installed."""
        by, here = metadata.get("folded_by"), installed_version()
        return by is not None and here is not None and by != here


def _refuse_source(path: Path) -> None:
    with path.open("rb") as stream:
        head = stream.read(64)
    if looks_like_onnx(head):
        hint = (
            f"build it first: `TVMBackend().build({path.name!r}, {path.stem + '.so'!r})`; a deployment does it itself"
        )
        raise fail(ErrorCode.INVALID_ARGUMENT, f"{path} is an ONNX model, not a compiled library", hint)


def _signature(declared: LibrarySignature) -> Signature:
    return Signature(_specs(declared.inputs), _specs(declared.outputs))


def _specs(declared: dict[str, TensorDeclaration]) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec(name, item.dtype, item.shape) for name, item in declared.items())
