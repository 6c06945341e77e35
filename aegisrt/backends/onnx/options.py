"""`ONNXOptions`: the options of ONNX Runtime in a manifest, and the session options that follow from them.

Names and defaults are ONNX Runtime's own (https://onnxruntime.ai/docs/api/python/api_summary.html#sessionoptions,
https://github.com/microsoft/onnxruntime/blob/main/include/onnxruntime/core/session/onnxruntime_session_options_config_keys.h).
Custom operator libraries have no option: they are native code, and data never chooses code.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection
from pathlib import Path
from shlex import quote
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field, field_validator

from aegisrt.backends.onnx.allowed import PROVIDER_OPTIONS, SESSION_KEYS
from aegisrt.core.options import BackendOptions
from aegisrt.core.result import ErrorCode, fail
from aegisrt.core.suggest import nearest
from aegisrt.devices.base import Device

Threads: TypeAlias = Annotated[int, Field(ge=1, le=4096)] | None
Setting: TypeAlias = str | int | float | bool
ConfigKey: TypeAlias = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*(\.[A-Za-z0-9_-]+)+$", max_length=1024)]

_OWN_OPTION = {
    "session.intra_op.allow_spinning": "allow_spinning",
    "session.inter_op.allow_spinning": "allow_spinning",
    "session.set_denormal_as_zero": "flush_denormals",
    "session.disable_prepacking": "prepack",
    "session.disable_cpu_ep_fallback": "fallback",
}
_OF_A_STREAM = ("user_compute_stream", "has_user_compute_stream")


class ONNXOptions(BackendOptions):
    """Options of ONNX Runtime."""

    nicknames = ("ort",)
    kind: Literal["onnx"] = "onnx"
    """Always `onnx`."""
    providers: dict[str, dict[str, Setting]] | None = None
    """Execution providers by name, the preferred one first, each with its own options, except those that name a file,
    a library or an address. Default: the device's own
    providers; on a GPU, nodes without a kernel there then run on the CPU, and results list them under `cpu_nodes`."""
    fallback: Literal["forbid", "allow"] = "forbid"
    """What happens if a provider is not available, or leaves nodes to a CPU provider that is not named: an error
    (`forbid`), or the next provider is used (`allow`)."""
    intra_op_threads: Threads = None
    """Threads inside one operator. Default: the device's `threads`, else one for each core."""
    inter_op_threads: Threads = None
    """Threads across operators, with `execution_mode: parallel`. Default: the device's `threads`, else one for
    each core."""
    execution_mode: Literal["sequential", "parallel"] = "sequential"
    """Whether operators that do not depend on each other run at the same time."""
    allow_spinning: bool = True
    """Idle threads spin for a while: faster, but they use a core. Turn it off if models share cores."""
    cuda_graph: bool = False
    """On a GPU: record a call once for each set of shapes and replay it. If a model cannot be recorded, the result's
    metadata has the reason."""
    cuda_graph_limit: Annotated[int, Field(ge=1, le=1024)] = 8
    """Sets of shapes that each instance records. ONNX Runtime never releases a recording, so later sets run without
    one, and the result's metadata shows it."""
    memory_limit_bytes: Annotated[int, Field(ge=2**20, le=2**50)] | None = None
    """On a GPU: memory that each instance may use besides its inputs and outputs. Default: no limit."""
    outputs: Literal["host", "device"] = "host"
    """On a GPU: results are numpy arrays (`host`), or arrays on the GPU with `__cuda_array_interface__` (`device`)."""
    graph_optimization: Literal["disabled", "basic", "extended", "layout", "all"] = "all"
    """How far ONNX Runtime rewrites the graph at load."""
    cpu_memory_arena: bool = True
    """Keep freed CPU memory for the next call. If off, memory is returned to the system after each call."""
    memory_pattern: bool = True
    """Plan one block of memory for calls of equal shapes."""
    memory_reuse: bool = True
    """Let tensors of one call share memory when their lifetimes do not overlap."""
    prepack: bool = True
    """Rearrange constant weights at load: faster calls, more memory."""
    deterministic: bool = False
    """Use kernels that compute the same bits each time."""
    flush_denormals: bool = False
    """Treat denormal floats as zero."""
    free_dimensions: dict[str, Annotated[int, Field(ge=1)]] = Field(default_factory=dict)
    """Sizes for dynamic dimensions, by their names in the model."""
    optimized_folder: Path | None = None
    """An existing folder; the optimized model is written there as `NAME.optimized.onnx`. A file that AegisRT did not
    write is never replaced."""
    profile_folder: Path | None = None
    """An existing folder; a Chrome trace of all calls is written there when the model is unloaded, under a new name."""
    log_severity: Literal["verbose", "info", "warning", "error", "fatal"] = "fatal"
    """What ONNX Runtime logs to stderr; errors are returned as results at any level."""
    session_config: dict[ConfigKey, Setting] = Field(default_factory=dict)
    """Session configuration entries without an option here, by key, such as `session.dynamic_block_base`. Entries that
    name a file or a library are refused."""

    @field_validator("session_config")
    @classmethod
    def _not_owned(cls, entries: dict[str, Setting]) -> dict[str, Setting]:
        for key in entries:
            if key in _OWN_OPTION:
                raise ValueError(f"`{key}` has an option of its own: `{_OWN_OPTION[key]}`")
            if key not in SESSION_KEYS:
                raise ValueError(_not_allowed(f"`{key}`", key, SESSION_KEYS))
        return entries

    @field_validator("providers")
    @classmethod
    def _harmless(cls, providers: dict[str, dict[str, Setting]] | None) -> dict[str, dict[str, Setting]] | None:
        for name, options in (providers or {}).items():
            if name == "CPUExecutionProvider" and options:
                raise ValueError(
                    "`CPUExecutionProvider` takes no options: set `cpu_memory_arena` and the others beside `providers`"
                )
            allowed = PROVIDER_OPTIONS.get(name, frozenset())
            for key in options:
                if key in _OF_A_STREAM:
                    raise ValueError(f"`{key}` of `{name}` is an address: name a stream of the manifest under `stream`")
                if key not in allowed:
                    raise ValueError(_not_allowed(f"option `{key}` of `{name}`", key, allowed))
        return providers


def _not_allowed(what: str, key: str, allowed: Collection[str]) -> str:
    """Return why a setting is refused, with the most similar allowed one."""
    near = nearest(key, allowed)
    hint = f"; did you mean `{near}`?" if near else ""
    return f"{what} is not allowed in a manifest, which names no files, libraries or addresses of an engine{hint}"


def session_options(ort: Any, options: ONNXOptions, device: Device, model: Path, *, cpu_is_named: bool) -> Any:
    """Return the `onnxruntime.SessionOptions` for one model.

    NOT_FOUND: if a folder that the options name does not exist.
    """
    native = ort.SessionOptions()
    native.intra_op_num_threads = options.intra_op_threads or device.threads or 0
    native.inter_op_num_threads = options.inter_op_threads or device.threads or 0
    native.execution_mode = getattr(ort.ExecutionMode, f"ORT_{options.execution_mode.upper()}")
    native.graph_optimization_level = _optimization(ort, options.graph_optimization)
    native.enable_cpu_mem_arena = options.cpu_memory_arena
    native.enable_mem_pattern = options.memory_pattern
    native.enable_mem_reuse = options.memory_reuse
    native.use_deterministic_compute = options.deterministic
    native.log_severity_level = ("verbose", "info", "warning", "error", "fatal").index(options.log_severity)
    native.logid = model.name
    for name, size in options.free_dimensions.items():
        native.add_free_dimension_override_by_name(name, size)
    if options.profile_folder is not None:
        native.enable_profiling = True
        # ONNX Runtime appends the time, and follows a link of that name: so the name must not be guessed.
        prefix = f"{model.stem}.{secrets.token_hex(8)}"
        native.profile_file_prefix = str(_folder("profile_folder", options.profile_folder) / prefix)
    if device.kind == "cuda":
        native.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    for key, value in _entries(options, cpu_is_named).items():
        native.add_session_config_entry(key, value)
    return native


def optimized_path(options: ONNXOptions, model: Path) -> Path | None:
    """Return where to keep the optimized model, or None if the options do not ask for it.

    NOT_FOUND: if the folder does not exist.
    """
    if options.optimized_folder is None:
        return None
    return _folder("optimized_folder", options.optimized_folder) / f"{model.stem}.optimized.onnx"


def setting_text(value: Setting) -> str:
    """Return a setting as ONNX Runtime reads it: `1` and `0` for booleans."""
    return str(int(value)) if isinstance(value, bool) else str(value)


def _entries(options: ONNXOptions, cpu_is_named: bool) -> dict[str, str]:
    entries = {
        "session.intra_op.allow_spinning": setting_text(options.allow_spinning),
        "session.inter_op.allow_spinning": setting_text(options.allow_spinning),
        "session.set_denormal_as_zero": setting_text(options.flush_denormals),
        "session.disable_prepacking": setting_text(not options.prepack),
    }
    if options.fallback == "forbid" and not cpu_is_named:
        entries["session.disable_cpu_ep_fallback"] = "1"
    return {**entries, **{key: setting_text(value) for key, value in options.session_config.items()}}


def _optimization(ort: Any, level: str) -> Any:
    name = "ORT_DISABLE_ALL" if level == "disabled" else f"ORT_ENABLE_{level.upper()}"
    value = getattr(ort.GraphOptimizationLevel, name, None)
    if value is None:
        message = f"onnxruntime {ort.__version__} has no graph optimization level `{level}`"
        raise fail(
            ErrorCode.FAILED_PRECONDITION, message, "use `extended` or `all`, or run: pip install -U onnxruntime"
        )
    return value


def _folder(option: str, folder: Path) -> Path:
    if not folder.is_dir():
        raise fail(
            ErrorCode.NOT_FOUND,
            f"`{option}` names a folder that does not exist: {folder}",
            f"mkdir -p {quote(str(folder))}",
        )
    return folder
