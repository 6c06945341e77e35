"""`TVMBackend`: models on Apache TVM, as shared libraries that it builds from ONNX or that were built elsewhere.

On a CPU, and on an NVIDIA GPU with the driver, pycuda and the CUDA runtime; a build for a GPU needs nvcc or NVRTC too.

Written for apache-tvm 0.27 (Relax); a library is loaded by the version that built it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

from aegisrt.backends.base.backend import RuntimeBackend
from aegisrt.backends.base.undeclared import refuse_undeclared_model
from aegisrt.backends.files.elf import check_elf
from aegisrt.backends.files.onnx import looks_like_onnx, read_onnx
from aegisrt.backends.files.source import source_of
from aegisrt.backends.onnxruntime import installed_version
from aegisrt.backends.process.job import Limits, run_child
from aegisrt.backends.tvm.errors import classify
from aegisrt.backends.tvm.index_bounds import Bounds
from aegisrt.backends.tvm.options import LibrarySignature, TensorDeclaration, TVMOptions
from aegisrt.backends.tvm.run.cuda_slot import TVMCudaSlot, check_cuda, release
from aegisrt.backends.tvm.run.library import TVMLibrary, TVMSlot, find_entry, open_library
from aegisrt.backends.tvm.run.probe import probe
from aegisrt.backends.tvm.target import check_runs_here, target_of
from aegisrt.core.capabilities import Capabilities
from aegisrt.core.optional import Requirement, require
from aegisrt.core.options import BackendOptions
from aegisrt.core.result import Error, ErrorCode, fail
from aegisrt.core.sidecar import Sidecar, check_file, read_sidecar, write_sidecar
from aegisrt.core.tensor import Array, DataType, DeviceView, Signature, TensorSpec
from aegisrt.devices.cuda.arrays import arrays_on

_COMPILER = "aegisrt.backends.tvm.build.main"
_REBUILD = "build it again: `aegisrt build`, or `TVMBackend().build(model, library)`"


class TVMBackend(RuntimeBackend[TVMOptions]):
    """Calls a compiled library: a Relax VM executable, or a plain library of operators."""

    kind = "tvm"
    Options: ClassVar[type[BackendOptions]] = TVMOptions
    requirement = Requirement("tvm", ("apache-tvm",), "tvm")
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
        """Return that the code is slow where nothing tunes it; on a GPU TVM has schedules of its own."""
        if device != "cpu":
            return None
        slow = "untuned: right, and 20 to 120 times slower than ONNX Runtime; add `tuning` to its backend"
        return None if options.tuning else slow

    # -- loading -----------------------------------------------------------------------------------------------

    def _load(self, path: Path) -> TVMLibrary:
        _refuse_source(path)
        engine = require(self.requirement)
        if self.device.kind == "cuda":
            check_cuda(self.device)
        sidecar = read_sidecar(path)
        if sidecar is not None:
            self._check(path, sidecar, engine.__version__)
        check_elf(path)
        return self._built(path, sidecar) if sidecar is not None else self._foreign(path)

    def _built(self, path: Path, sidecar: Sidecar) -> TVMLibrary:
        """Return the library that a sidecar tells of."""
        module, described, asked = self._opened(path), sidecar.metadata, self.options.entry
        functions = described.get("functions", ())
        has_main = not functions or any(item["name"] == "main" for item in functions)
        variants = {tuple(map(tuple, item["shapes"])): item["name"] for item in functions if item["shapes"]}
        return TVMLibrary(
            module,
            path,
            sidecar.signature,
            find_entry(module, asked, path) if asked or has_main else None,
            {} if asked else variants,
            described.get("computed", []),
            [Bounds(**known) for known in described.get("bounds", ())],
            self._threads(),
            self._known(tuned=described.get("tuned", False)),
        )

    def _foreign(self, path: Path) -> TVMLibrary:
        """Return a library without sidecar, of which nothing is known: another process opens it first."""
        declared = self.options.signature
        if declared is None and self.device.kind == "cuda":
            lost = f"{path} has no sidecar ({path.name}.json)"
            message = f"{lost}, and code for a GPU does not tell its inputs and outputs"
            hint = "copy the sidecar with it, or declare `signature` in the backend's options"
            raise fail(ErrorCode.FAILED_PRECONDITION, message, hint)
        told = probe(path, self.options.entry, ask=declared is None, memory_bytes=self.options.build.memory_bytes)
        signature = _signature(declared) if declared is not None else told.signature
        assert signature is not None, "the other process was asked for it"
        module, known = self._opened(path), self._known(tuned=False)
        return TVMLibrary(module, path, signature, told.entry, threads=self._threads(), metadata=known)

    def _opened(self, path: Path) -> Any:
        return open_library(path, holds_kernels=self.device.kind == "cuda")

    def _threads(self) -> int | None:
        return self.options.threads or self.device.threads

    def _known(self, *, tuned: bool) -> dict[str, Any]:
        return {"engine": require(self.requirement).__version__, "tuned": tuned}

    def _check(self, path: Path, sidecar: Sidecar, version: str) -> None:
        """Raise where the file is not the one that was built, or was not built for here; nothing runs before."""
        recipe = sidecar.recipe
        if recipe["backend"] != self.kind:
            raise fail(ErrorCode.INVALID_ARGUMENT, f"{path} was built for backend kind `{recipe['backend']}`")
        check_file(path, sidecar)
        if recipe["engine"] != version:
            message = f"{path} was built by TVM {recipe['engine']}, and this is TVM {version}"
            raise fail(ErrorCode.FAILED_PRECONDITION, message, _REBUILD)
        check_runs_here(recipe["target"], self.device, str(path))

    def _signature(self, engine: TVMLibrary) -> Signature:
        return engine.signature

    def _metadata(self, engine: TVMLibrary) -> dict[str, Any]:
        return engine.metadata

    # -- running -----------------------------------------------------------------------------------------------

    def _open(self, engine: TVMLibrary, stream: Any) -> TVMSlot | TVMCudaSlot:
        if self.device.kind == "cuda":
            return TVMCudaSlot(engine, self.device, stream, outputs=self.options.outputs)
        return engine.slot()

    def _close(self, slot: TVMSlot | TVMCudaSlot) -> None:
        if isinstance(slot, TVMCudaSlot):
            slot.close()

    def _unload(self, engine: TVMLibrary) -> None:
        if self.device.kind == "cuda":
            release(engine, self.device)

    def _device_view(self, engine: TVMLibrary) -> DeviceView | None:
        return arrays_on(self.device.ordinal) if self.device.kind == "cuda" else None

    def _execute(
        self, slot: TVMSlot | TVMCudaSlot, inputs: dict[str, Array], outputs: tuple[str, ...]
    ) -> Sequence[Any]:
        return slot.call(inputs, outputs)

    def _classify(self, error: Exception) -> ErrorCode | Error | None:
        return classify(error)

    # -- building ----------------------------------------------------------------------------------------------

    def _recipe(self) -> dict[str, Any]:
        engine = require(self.requirement)
        target = target_of(self.options.target, self.device, self.options.threads or self.device.threads)
        if self.options.tuning is not None and self.device.kind == "cuda":
            message = "`tuning` times code on the CPU; on a GPU TVM's own schedules (DLight) are used"
            raise fail(ErrorCode.UNIMPLEMENTED, message, "leave `tuning` out for this device")
        return {
            "backend": self.kind,
            "engine": engine.__version__,
            "options": self.options.for_build(),
            "target": target,
        }

    def _build(self, source: Path, target: Path) -> None:
        recipe = self._recipe()
        if self.device.kind == "cuda":
            check_cuda(self.device)
        signature = _with_sizes(read_onnx(source).signature, self.options.free_dimensions)
        refuse_undeclared_model(self.capabilities, signature)
        described = source_of(source)
        log = target.with_name(f"{target.name}.log")
        log.unlink(missing_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".build-") as folder:
            library = Path(folder, target.name)
            job = {
                "source": str(source.absolute()),
                "library": str(library.absolute()),
                "records": str(target.with_name(f"{target.name}.records").absolute()),
                "target": recipe["target"],
                "free_dimensions": self.options.free_dimensions,
                "shapes": self.options.variants,
                "tuning": self._tuning(recipe["target"]),
            }
            progress, limits = self._progress, self._limits()
            answer = run_child(_COMPILER, job, Path(folder), limits=limits, log=log, progress=progress)
            library.replace(target)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        write_sidecar(
            target, Sidecar(source=described, recipe=recipe, signature=signature, metadata=answer, created=now)
        )

    def outdated(self, metadata: Mapping[str, Any]) -> bool:
        """Return whether it was folded by another ONNX Runtime than the one that would fold it here."""
        by, here = metadata.get("folded_by"), installed_version()
        return by is not None and here is not None and by != here

    def _limits(self) -> Limits:
        search_s = self.options.tuning.timeout_s if self.options.tuning else 0.0
        return Limits(self.options.build.timeout_s + search_s, self.options.build.memory_bytes)

    def _tuning(self, target: dict[str, Any]) -> dict[str, Any] | None:
        """Return what the search is told, or None where there is none."""
        if self.options.tuning is None:
            return None
        settings = self.options.tuning.model_dump(mode="json")
        return {**settings, "target": target, "memory_bytes": self.options.build.memory_bytes}


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


def _with_sizes(signature: Signature, sizes: dict[str, int]) -> Signature:
    """Return the signature with named dimensions replaced by their sizes."""

    def sized(spec: TensorSpec) -> TensorSpec:
        shape = spec.shape and tuple(sizes.get(dim, dim) if isinstance(dim, str) else dim for dim in spec.shape)
        return replace(spec, shape=shape)

    return replace(signature, inputs=tuple(map(sized, signature.inputs)), outputs=tuple(map(sized, signature.outputs)))
