"""The options of a device and of a stream in a manifest."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, TypeAlias

from pydantic import Field

from aegisrt.core.options import Name, StrictModel


class CpuOptions(StrictModel):
    """The host's processor."""

    nicknames: ClassVar[tuple[str, ...]] = ("host",)
    kind: Literal["cpu"]
    threads: Annotated[int, Field(ge=1, le=4096)] | None = None
    """Threads that an engine uses inside one call, unless the backend's own options set them. Default: the engine
    decides."""


class CudaOptions(StrictModel):
    """One NVIDIA GPU."""

    nicknames: ClassVar[tuple[str, ...]] = ("gpu", "nvidia")
    kind: Literal["cuda"]
    ordinal: Annotated[int, Field(ge=0, le=255)] = 0
    """Which GPU, as CUDA counts them (CUDA_VISIBLE_DEVICES applies)."""


DeviceOptions: TypeAlias = Annotated[CpuOptions | CudaOptions, Field(discriminator="kind")]


class StreamOptions(StrictModel):
    """An ordered queue of work on one device. It is a template: each instance opens a queue of its own."""

    device: Name
    """The name of a device under `devices`."""
    priority: Literal["low", "normal", "high"] = "normal"
    """Which stream runs first on a busy GPU. Most GPUs have no priority below `normal`. No effect on a CPU."""
    shared: bool = False
    """One queue for all models that name this stream, instead of one for each instance: they run one call after the
    other."""
