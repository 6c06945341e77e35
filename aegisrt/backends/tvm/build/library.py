"""`build_library`: an ONNX file to a shared library with its sidecar, by the compiler in a process of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from aegisrt.backends.base.undeclared import refuse_undeclared_model
from aegisrt.backends.files.onnx import read_onnx
from aegisrt.backends.files.source import source_of
from aegisrt.backends.process.built_by import build_in_child
from aegisrt.backends.process.job import Limits
from aegisrt.backends.tvm.options import TVMOptions
from aegisrt.core.capabilities import Capabilities
from aegisrt.core.request import MODEL_METADATA
from aegisrt.core.sidecar import Sidecar
from aegisrt.core.tensor import Signature, TensorSpec

_COMPILER = "aegisrt.backends.tvm.build.main"


def build_library(
    source: Path,
    target: Path,
    *,
    options: TVMOptions,
    recipe: dict[str, Any],
    capabilities: Capabilities,
    progress: Callable[[str], None] | None,
) -> None:
    """Write the library to `target`, and its sidecar, log and tuning records beside it."""
    file = read_onnx(source)
    signature = _with_sizes(file.signature.with_defaults_fixed(), options.free_dimensions)
    refuse_undeclared_model(capabilities, signature)
    metadata = {MODEL_METADATA: file.metadata}
    described = Sidecar(source=source_of(source), recipe=recipe, signature=signature, metadata=metadata)
    job = {
        "records": str(target.with_name(f"{target.name}.records").absolute()),
        "target": recipe["target"],
        "free_dimensions": options.free_dimensions,
        "shapes": options.variants,
        "tuning": _tuning(options, recipe["target"]),
    }
    limits, environment = _limits(options), options.environment
    build_in_child(_COMPILER, job, source, target, described, limits=limits, environment=environment, progress=progress)


def _limits(options: TVMOptions) -> Limits:
    search_s = options.tuning.timeout_s if options.tuning else 0.0
    return Limits(options.build.timeout_s + search_s, options.build.memory_bytes)


def _tuning(options: TVMOptions, target: dict[str, Any]) -> dict[str, Any] | None:
    """Return the settings of the search, or None without one."""
    if options.tuning is None:
        return None
    settings = options.tuning.model_dump(mode="json")
    return {**settings, "target": target, "memory_bytes": options.build.memory_bytes}


def _with_sizes(signature: Signature, sizes: Mapping[str, int]) -> Signature:
    """Return the signature with named dimensions replaced by their sizes."""

    def sized(spec: TensorSpec) -> TensorSpec:
        shape = spec.shape and tuple(sizes.get(dim, dim) if isinstance(dim, str) else dim for dim in spec.shape)
        return replace(spec, shape=shape)

    return replace(signature, inputs=tuple(map(sized, signature.inputs)), outputs=tuple(map(sized, signature.outputs)))
