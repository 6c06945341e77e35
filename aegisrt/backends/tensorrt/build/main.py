"""ONNX to an engine file; run as a child process, since a builder can crash, hang and keep GPU memory.

The order of calls is that of https://docs.nvidia.com/deeplearning/tensorrt/latest/inference-library/python-api-docs.html
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from aegisrt.backends.process.child import child_main, report_progress
from aegisrt.backends.tensorrt.build.parse import parse
from aegisrt.backends.tensorrt.build.precision import converted, is_strongly_typed, set_precision
from aegisrt.backends.tensorrt.build.progress import progress_monitor
from aegisrt.backends.tensorrt.distribution import TensorRT, load_tensorrt
from aegisrt.backends.tensorrt.log import is_out_of_memory, no_gpu, sentence
from aegisrt.backends.tensorrt.options import InputRange
from aegisrt.backends.tensorrt.profiles import NetworkInput, plain, profiles_for
from aegisrt.core.result import ErrorCode, ResultError, fail
from aegisrt.devices.cuda.context import cuda_context

_FLOATS = ("FLOAT", "HALF", "BF16")


def build(job: dict[str, Any]) -> dict[str, Any]:
    """Return what is known of the engine that was built from `job["source"]` into `job["plan"]`."""
    warnings.simplefilter("ignore", DeprecationWarning)
    report_progress("loading TensorRT")
    engine = load_tensorrt([job["distribution"]])
    if not job["ordinal"]:
        return build_engine(engine, job)
    with cuda_context(job["ordinal"]):
        return build_engine(engine, job)


def build_engine(engine: TensorRT, job: dict[str, Any]) -> dict[str, Any]:
    """Build with one imported distribution; raise as `parse`, `profiles_for` and the builder."""
    options = job["options"]
    with engine.log.errors() as lines:
        builder = engine.make("Builder")
    if builder is None:
        raise _no_builder(engine, lines)
    strong = is_strongly_typed(engine, options)
    network = builder.create_network(_creation_flags(engine, strong))
    report_progress("parsing the model")
    source = (
        converted(Path(job["source"]), Path(job["folder"]), options["precision"]) if strong else Path(job["source"])
    )
    parser = parse(engine, source, network, native_norm=options["version_compatible"])
    _keep_linear(engine, network)
    config = builder.create_builder_config()
    _configure(engine, config, options, job["compute_capabilities"])
    set_precision(engine, network, config, options["precision"], strong=strong)
    inputs = _inputs(network)
    declared = [
        {name: InputRange.model_validate_json(json.dumps(span)) for name, span in item.items()}
        for item in job["profiles"]
    ]
    declared = _by_engine_name(declared, job["inputs"], inputs)
    profiles = profiles_for(inputs, declared, options.get("max_batch_size"), options.get("max_dynamic_size"))
    for profile in profiles:
        _add_profile(engine, builder, config, profile, {spec.name: spec for spec in inputs})
    cache = _TimingCache(engine, config, job["timing_cache"])
    config_monitor = progress_monitor(engine, config)
    with engine.log.errors() as lines:
        serialized = builder.build_serialized_network(network, config)
    if serialized is None:
        raise _not_built(engine, lines)
    with Path(job["plan"]).open("wb") as stream:
        stream.write(serialized)
    cache.save()
    del serialized, parser, config_monitor
    return {
        "distribution": engine.distribution,
        "version": list(engine.version),
        "strongly_typed": strong,
        "profiles": [plain(profile) for profile in profiles],
        "inputs": [spec.name for spec in inputs],
        "version_compatible": options["version_compatible"],
    }


def _creation_flags(engine: TensorRT, strong: bool) -> int:
    """Explicit batch must be asked for up to TensorRT 9, and is a deprecated no-op from 10 on."""
    flag = engine.module.NetworkDefinitionCreationFlag
    flags = 1 << int(flag.EXPLICIT_BATCH) if engine.version[0] < 10 and not engine.is_rtx else 0
    return flags | (1 << int(flag.STRONGLY_TYPED) if strong else 0)


def _keep_linear(engine: TensorRT, network: Any) -> None:
    """Have inputs and outputs in C order; by default the builder may take any format (`ITensor::setAllowedFormats`)."""
    linear = 1 << int(engine.module.TensorFormat.LINEAR)
    inputs = [network.get_input(index) for index in range(network.num_inputs)]
    outputs = [network.get_output(index) for index in range(network.num_outputs)]
    for tensor in (*inputs, *outputs):
        tensor.allowed_formats = linear


def _configure(engine: TensorRT, config: Any, options: Mapping[str, Any], capabilities: Sequence[str]) -> None:
    trt = engine.module
    if options["workspace_bytes"] is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options["workspace_bytes"])
    config.builder_optimization_level = options["optimization_level"]
    for wanted, name in ((options["version_compatible"], "VERSION_COMPATIBLE"), (options["refit"], "REFIT")):
        if wanted:
            config.set_flag(getattr(trt.BuilderFlag, name))
    if options["hardware_compatibility"] != "none":
        name = options["hardware_compatibility"].upper()
        if engine.is_rtx or not engine.has("HardwareCompatibilityLevel", name):
            message = f"{engine.words} has no `hardware_compatibility: {options['hardware_compatibility']}`"
            hint = (
                "name the GPUs in `compute_capabilities`" if engine.is_rtx else "use `ampere_plus`, or update TensorRT"
            )
            raise fail(ErrorCode.FAILED_PRECONDITION, message, hint)
        config.hardware_compatibility_level = getattr(trt.HardwareCompatibilityLevel, name)
    if not options["external_tactics"]:
        config.set_tactic_sources(_without_libraries(engine, config.get_tactic_sources()))
    if engine.version[0] < 10 and engine.has("PreviewFeature", "PROFILE_SHARING_0806"):
        config.set_preview_feature(trt.PreviewFeature.PROFILE_SHARING_0806, True)
    if engine.is_rtx:
        _target(engine, config, capabilities)


def _without_libraries(engine: TensorRT, sources: int) -> int:
    """Return the tactic sources without cuBLAS and cuDNN, which TensorRT 11 no longer has."""
    for name in ("CUBLAS", "CUBLAS_LT", "CUDNN"):
        if engine.has("TacticSource", name):
            sources &= ~(1 << int(getattr(engine.module.TacticSource, name)))
    return sources


def _target(engine: TensorRT, config: Any, capabilities: Sequence[str]) -> None:
    known = engine.module.ComputeCapability.__members__
    config.num_compute_capabilities = len(capabilities)
    for index, capability in enumerate(capabilities):
        member = known.get(f"SM{capability.replace('.', '')}")
        if member is None:
            able = ", ".join(f"{name[2:-1]}.{name[-1]}" for name in known if name.startswith("SM"))
            message = f"{engine.words} builds for no GPU of compute capability {capability}"
            raise fail(ErrorCode.FAILED_PRECONDITION, message, f"it builds for {able}; use `tensorrt` for others")
        config.set_compute_capability(member, index)


def _inputs(network: Any) -> list[NetworkInput]:
    tensors = [network.get_input(index) for index in range(network.num_inputs)]
    return [
        NetworkInput(item.name, tuple(item.shape), bool(item.is_shape_tensor), item.dtype.name in _FLOATS)
        for item in tensors
    ]


def _by_engine_name(
    declared: Sequence[Mapping[str, InputRange]], names: Sequence[str], inputs: Sequence[NetworkInput]
) -> list[dict[str, InputRange]]:
    """Return profiles by the engine's names: the parser renames an input that is an output too."""
    known = {name: spec.name for name, spec in zip(names, inputs, strict=False)}
    return [{known.get(name, name): span for name, span in profile.items()} for profile in declared]


def _add_profile(
    engine: TensorRT, builder: Any, config: Any, spans: Mapping[str, InputRange], inputs: Mapping[str, NetworkInput]
) -> None:
    profile = builder.create_optimization_profile()
    with engine.log.errors() as lines:
        try:
            for name, span in spans.items():
                give = profile.set_shape_input if inputs[name].holds_sizes else profile.set_shape
                give(name, span.min, span.opt, span.max)
            index = config.add_optimization_profile(profile)
        except RuntimeError as error:  # the bindings raise it where the library answers false
            lines.append(str(error))
            index = -1
    if index < 0:
        raise fail(ErrorCode.INVALID_ARGUMENT, f"{engine.words} refuses the profile: {sentence(lines)}")


class _TimingCache:
    """The builder's measurements, kept in a file between builds; TensorRT for RTX has none."""

    def __init__(self, engine: TensorRT, config: Any, path: str | None) -> None:
        self._config = config
        self._path = None if path is None or engine.is_rtx else Path(path)
        if self._path is not None:
            kept = _kept(self._path)
            cache = config.create_timing_cache(kept) or config.create_timing_cache(b"")
            if not config.set_timing_cache(cache, False):
                config.set_timing_cache(config.create_timing_cache(b""), False)

    def save(self) -> None:
        """Write it anew, in one step: other builds may read it meanwhile. The engine does not depend on it."""
        if self._path is None:
            return
        fresh = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        try:
            fresh.write_bytes(self._config.get_timing_cache().serialize())
            fresh.replace(self._path)
        except OSError as error:
            fresh.unlink(missing_ok=True)
            report_progress(f"the timing cache was not written: {error}")


def _kept(path: Path) -> bytes:
    """Return what earlier builds kept; make the folder, and raise PERMISSION_DENIED where that or reading fails."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.read_bytes() if path.is_file() else b""
    except OSError as error:
        message = f"the timing cache {path} cannot be used: {error.strerror}"
        raise fail(ErrorCode.PERMISSION_DENIED, message, "name another file in `build.timing_cache`") from None


def _no_builder(engine: TensorRT, lines: list[str]) -> ResultError:
    said = no_gpu(lines) or sentence(lines)
    return fail(ErrorCode.UNAVAILABLE, f"{engine.words} cannot build here: {said}", "see `aegisrt devices`")


def _not_built(engine: TensorRT, lines: list[str]) -> ResultError:
    cause = "\n".join(lines) or None
    missing = no_gpu(lines)
    if missing:
        return fail(ErrorCode.UNAVAILABLE, f"{engine.words} cannot build here: {missing}", "see `aegisrt devices`")
    if is_out_of_memory(lines):
        hint = "free memory on the GPU, or set `workspace_bytes`"
        return fail(ErrorCode.RESOURCE_EXHAUSTED, f"{engine.words} ran out of memory while building", hint, cause=cause)
    message = f"{engine.words} cannot build the model: {sentence(lines)}"
    return fail(
        ErrorCode.UNIMPLEMENTED, message, "see its log; try another `precision`, or backend `onnx`", cause=cause
    )


if __name__ == "__main__":
    child_main(build)
