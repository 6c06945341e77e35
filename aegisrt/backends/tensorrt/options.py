"""`TensorRTOptions`: the options of TensorRT in a manifest: how an engine is built, and how it runs.

Names follow https://docs.nvidia.com/deeplearning/tensorrt/latest/_static/python-api/infer/Core/BuilderConfig.html.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field, model_validator

from aegisrt.core.options import BackendOptions, Name, StrictModel

Distribution: TypeAlias = Literal["tensorrt", "tensorrt_lean", "tensorrt_dispatch", "tensorrt_rtx"]
Precision: TypeAlias = Literal["fp32", "tf32", "fp16", "bf16", "int8", "fp8"]
Size: TypeAlias = Annotated[int, Field(ge=0, le=2**31 - 1)]
Capability: TypeAlias = Annotated[str, Field(pattern=r"^[0-9]{1,2}\.[0-9]$")]


class InputRange(StrictModel):
    """The shapes of one input that an engine serves; for a shape tensor (one that contains sizes), its values."""

    min: tuple[Size, ...]
    """The smallest shape."""
    opt: tuple[Size, ...]
    """The shape that the engine is optimized for."""
    max: tuple[Size, ...]
    """The largest shape."""

    @model_validator(mode="after")
    def _ordered(self) -> InputRange:
        if not len(self.min) == len(self.opt) == len(self.max):
            raise ValueError(f"min, opt and max have {len(self.min)}, {len(self.opt)} and {len(self.max)} dimensions")
        for axis, (low, middle, high) in enumerate(zip(self.min, self.opt, self.max, strict=True)):
            if not low <= middle <= high:
                raise ValueError(f"dimension {axis} is not min <= opt <= max: {low}, {middle}, {high}")
        return self


Profile: TypeAlias = Annotated[dict[str, InputRange], Field(min_length=1)]


class EngineBuild(StrictModel):
    """Limits of the builder. None of them changes what the engine computes."""

    timeout_s: Annotated[float, Field(gt=0, le=7 * 86_400)] = 3600.0
    """Seconds that one build may take."""
    memory_bytes: Annotated[int, Field(ge=2**30, le=2**50)] | None = None
    """Host memory that the builder may allocate; left out: no limit."""
    timing_cache: Path | None = None
    """A file for the builder's measurements, which make the next build fast; it is created if it is missing. A file
    that TensorRT does not accept as a timing cache is not overwritten."""


class TensorRTOptions(BackendOptions):
    """Options of TensorRT."""

    nicknames = ("trt",)
    kind: Literal["tensorrt"] = "tensorrt"
    """Always `tensorrt`."""
    distribution: Literal["auto"] | Distribution = "auto"
    """Which of the four TensorRT packages; `auto` is the installed one that fits the engine file or the build."""
    precision: Precision = "fp32"
    """The arithmetic of the engine. `tf32` lets matrix products round FP32 inputs to 10 bits of mantissa; `int8` and
    `fp8` need a model with QuantizeLinear and DequantizeLinear. Inputs and outputs keep their dtypes."""
    profiles: Profile | None = None
    """Served shapes by input name: `{image: {min: [1, 3, 8, 8], opt: [8, 3, 8, 8], max: [32, 3, 8, 8]}}`; left out,
    the batch goes from 1 to `max_batch_size`."""
    more_profiles: dict[Name, Profile] = Field(default_factory=dict)
    """Further profiles, by names of your choice; a call uses the first one that fits its shapes."""
    max_batch_size: Annotated[int, Field(ge=1, le=2**20)] | None = None
    """The largest batch if `profiles` is left out, and the one that the engine is optimized for; the batch is a
    dynamic first dimension. Left out: 32, or up to 1024 if a row has few numbers; optimized for 32."""
    max_dynamic_size: Annotated[int, Field(ge=1, le=65_536)] | None = None
    """The largest size of every other dynamic dimension if `profiles` is left out; without it, a model that has
    such dimensions needs `profiles`."""
    workspace_bytes: Annotated[int, Field(ge=2**20, le=2**50)] | None = None
    """GPU memory that one layer may use as scratch space; left out: the whole device."""
    optimization_level: Annotated[int, Field(ge=0, le=5)] = 3
    """How much the builder searches for fast kernels, 0 to 5."""
    version_compatible: bool = False
    """Build an engine that later versions load too; it is slower, and contains code that runs only with
    `engine_host_code_allowed`."""
    hardware_compatibility: Literal["none", "ampere_plus", "same_compute_capability"] = "none"
    """Which other GPUs may load the engine; an engine for the builder's own GPU alone is the fastest."""
    compute_capabilities: tuple[Capability, ...] = ()
    """`tensorrt_rtx` only: the GPUs that the engine is built for, such as `["8.9"]`; left out: this machine's GPU."""
    refit: bool = False
    """Build an engine whose weights TensorRT's own `Refitter` can replace. AegisRT does not refit: a model with other
    weights is built again, which a timing cache makes quick."""
    external_tactics: bool = False
    """Let TensorRT 8 and 10 use cuBLAS and cuDNN, which must then be installed; some plugins need them."""
    strongly_typed: bool | None = None
    """Take each tensor's dtype from the model alone; left out: from TensorRT 10 on, except for `precision: fp16`
    and `bf16` on 10, which has flags for them."""
    engine_host_code_allowed: bool = False
    """Let an engine file run machine code of its own in this process; only for files from sources that you trust."""
    cuda_graph: bool = False
    """Record a call once for each shape and replay it: less time on the CPU. If a model cannot be recorded, the
    result's metadata contains the reason."""
    cuda_graph_limit: Annotated[int, Field(ge=1, le=1024)] = 8
    """Recordings that each instance keeps; the least recently used is dropped first."""
    outputs: Literal["host", "device"] = "host"
    """Where results are: numpy arrays, or arrays on the GPU with `__cuda_array_interface__`."""
    build: EngineBuild = EngineBuild()
    """Limits of the builder."""

    @model_validator(mode="after")
    def _profiles_name_the_same_inputs(self) -> TensorRTOptions:
        if self.more_profiles and self.profiles is None:
            raise ValueError("`more_profiles` needs `profiles`, which is missing")
        for name, profile in self.more_profiles.items():
            if set(profile) != set(self.profiles or ()):
                raise ValueError(f"`more_profiles.{name}` must name the inputs that `profiles` names")
        return self

    @property
    def declared_profiles(self) -> tuple[dict[str, InputRange], ...]:
        """The profiles that the manifest declares, in order; empty if they are derived from the model."""
        return () if self.profiles is None else (self.profiles, *self.more_profiles.values())

    def for_build(self) -> dict[str, Any]:
        """Return the options that decide the content of the engine, as JSON values; limits are left out."""
        names = {
            "precision", "profiles", "more_profiles", "workspace_bytes", "optimization_level", "version_compatible",
            "hardware_compatibility", "refit", "external_tactics", "strongly_typed",
        }  # fmt: skip
        plain = self.model_dump(mode="json", include=names)
        if self.profiles is None:
            plain["max_batch_size"] = self.max_batch_size
            plain["max_dynamic_size"] = self.max_dynamic_size
        return plain
