"""ONNX to an engine file; run as a child process, since a builder can crash, hang and keep GPU memory.

The order of calls is that of https://docs.nvidia.com/deeplearning/tensorrt/latest/inference-library/python-api-docs.html
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from aegisrt.backends.process.child import child_main, report_progress
from aegisrt.backends.tensorrt.build.configure import configure
from aegisrt.backends.tensorrt.build.memory import out_of_memory
from aegisrt.backends.tensorrt.build.parse import parse
from aegisrt.backends.tensorrt.build.precision import converted, is_strongly_typed, set_precision
from aegisrt.backends.tensorrt.build.progress import progress_monitor
from aegisrt.backends.tensorrt.build.refusals import refuse_options
from aegisrt.backends.tensorrt.build.timing_cache import TimingCache
from aegisrt.backends.tensorrt.distribution import TensorRT, load_tensorrt
from aegisrt.backends.tensorrt.log import is_driver_too_old, is_out_of_memory, no_gpu, sentence
from aegisrt.backends.tensorrt.options import InputRange
from aegisrt.backends.tensorrt.profiles import NetworkInput, plain, profiles_for
from aegisrt.core.result import ErrorCode, ResultError, fail
from aegisrt.devices.cuda.context import cuda_context

_FLOATS = ("FLOAT", "HALF", "BF16")


def build(job: dict[str, Any]) -> dict[str, Any]:
    """Build the engine of `job["source"]` into `job["file"]`; return its description for the sidecar."""
    warnings.simplefilter("ignore", DeprecationWarning)
    report_progress("loading TensorRT")
    try:
        trt = load_tensorrt([job["distribution"]])
    except ResultError as failure:
        if job["memory_limit"] is None:
            raise
        # The parent has imported the same distribution without a limit, so the limit is the reason.
        message = f"`{job['distribution']}` does not import within the limit of memory"
        raise out_of_memory(message, job["memory_limit"], failure.error.message) from None
    if not job["ordinal"]:
        return build_engine(trt, job)
    with cuda_context(job["ordinal"]):
        return build_engine(trt, job)


def build_engine(trt: TensorRT, job: dict[str, Any]) -> dict[str, Any]:
    """Build with one imported distribution; errors as of `parse`, `profiles_for` and the builder."""
    options = job["options"]
    refuse_options(trt, options, job["compute_capabilities"])
    with trt.log.errors() as lines:
        builder = trt.create("Builder")
    if builder is None:
        raise _no_builder(trt, lines, job["memory_limit"])
    strong = is_strongly_typed(trt, options)
    network = builder.create_network(_creation_flags(trt, strong))
    report_progress("parsing the model")
    source = Path(job["source"])
    if strong:
        source = converted(source, Path(job["folder"]), options["precision"])
    parser = parse(trt, source, network, native_norm=options["version_compatible"])
    _require_linear(trt, network)
    config = builder.create_builder_config()
    configure(trt, config, options, job["compute_capabilities"])
    set_precision(trt, network, config, options["precision"], strong=strong)
    profiles = _add_profiles(trt, builder, config, network, job)
    cache = TimingCache(trt, config, job["timing_cache"])
    monitor = progress_monitor(trt, config)
    with trt.log.errors() as lines:
        serialized = builder.build_serialized_network(network, config)
    if serialized is None:
        raise _not_built(trt, lines, job["memory_limit"])
    with Path(job["file"]).open("wb") as stream:
        stream.write(serialized)
    cache.write()
    inputs = [spec.name for spec in _inputs(network)]
    del serialized, parser, monitor
    return {
        "distribution": trt.distribution,
        "version": list(trt.version),
        "strongly_typed": strong,
        "profiles": [plain(profile) for profile in profiles],
        "inputs": inputs,
        "version_compatible": options["version_compatible"],
    }


def _creation_flags(trt: TensorRT, strong: bool) -> int:
    """Return the flags of the network. Up to TensorRT 9 explicit batch must be set; from 10 on it does nothing."""
    flag = trt.package.NetworkDefinitionCreationFlag
    flags = 1 << int(flag.EXPLICIT_BATCH) if trt.version[0] < 10 and not trt.is_rtx else 0
    return flags | (1 << int(flag.STRONGLY_TYPED) if strong else 0)


def _require_linear(trt: TensorRT, network: Any) -> None:
    """Have inputs and outputs in C order; by default the builder may choose any (`ITensor::setAllowedFormats`)."""
    linear = 1 << int(trt.package.TensorFormat.LINEAR)
    inputs = [network.get_input(index) for index in range(network.num_inputs)]
    outputs = [network.get_output(index) for index in range(network.num_outputs)]
    for tensor in (*inputs, *outputs):
        tensor.allowed_formats = linear


def _inputs(network: Any) -> list[NetworkInput]:
    tensors = [network.get_input(index) for index in range(network.num_inputs)]
    return [
        NetworkInput(item.name, tuple(item.shape), bool(item.is_shape_tensor), item.dtype.name in _FLOATS)
        for item in tensors
    ]


def _add_profiles(
    trt: TensorRT, builder: Any, config: Any, network: Any, job: Mapping[str, Any]
) -> list[dict[str, InputRange]]:
    """Add the declared or derived profiles to `config`, and return them."""
    inputs, options = _inputs(network), job["options"]
    declared = [
        {name: InputRange.model_validate_json(json.dumps(span)) for name, span in profile.items()}
        for profile in job["profiles"]
    ]
    declared = _by_engine_name(declared, job["inputs"], inputs)
    profiles = profiles_for(inputs, declared, options.get("max_batch_size"), options.get("max_dynamic_size"))
    for profile in profiles:
        _add_profile(trt, builder, config, profile, {spec.name: spec for spec in inputs})
    return profiles


def _by_engine_name(
    declared: Sequence[Mapping[str, InputRange]], names: Sequence[str], inputs: Sequence[NetworkInput]
) -> list[dict[str, InputRange]]:
    """Return profiles by the engine's names: the parser renames an input that is also an output."""
    known = {name: spec.name for name, spec in zip(names, inputs, strict=False)}
    return [{known.get(name, name): span for name, span in profile.items()} for profile in declared]


def _add_profile(
    trt: TensorRT, builder: Any, config: Any, spans: Mapping[str, InputRange], inputs: Mapping[str, NetworkInput]
) -> None:
    profile = builder.create_optimization_profile()
    with trt.log.errors() as lines:
        try:
            for name, span in spans.items():
                set_range = profile.set_shape_input if inputs[name].holds_sizes else profile.set_shape
                set_range(name, span.min, span.opt, span.max)
            index = config.add_optimization_profile(profile)
        except RuntimeError as error:  # the bindings raise it if the library returns false
            lines.append(str(error))
            index = -1
    if index < 0:
        raise fail(ErrorCode.INVALID_ARGUMENT, f"{trt.display_name} refuses the profile: {sentence(lines)}")


def _no_builder(trt: TensorRT, lines: list[str], limit: int | None) -> ResultError:
    # Under a limit CUDA reports several errors for memory that it did not get, "no device" among them; the parent
    # process has found the GPU.
    if is_out_of_memory(lines) or (limit is not None and not is_driver_too_old(lines)):
        return _out_of_memory(trt, lines, limit)
    message = f"{trt.display_name} cannot build here: {no_gpu(lines) or sentence(lines)}"
    return fail(ErrorCode.UNAVAILABLE, message, "see `aegisrt devices`")


def _not_built(trt: TensorRT, lines: list[str], limit: int | None) -> ResultError:
    cause = "\n".join(lines) or None
    if is_out_of_memory(lines):
        return _out_of_memory(trt, lines, limit)
    missing = no_gpu(lines)
    if missing:
        return fail(ErrorCode.UNAVAILABLE, f"{trt.display_name} cannot build here: {missing}", "see `aegisrt devices`")
    message = f"{trt.display_name} cannot build the model: {sentence(lines)}"
    hint = "see its log; try another `precision`, or backend `onnx`"
    return fail(ErrorCode.UNIMPLEMENTED, message, hint, cause=cause)


def _out_of_memory(trt: TensorRT, lines: list[str], limit: int | None) -> ResultError:
    return out_of_memory(f"{trt.display_name} ran out of memory while building", limit, "\n".join(lines) or None)


if __name__ == "__main__":
    child_main(build)
