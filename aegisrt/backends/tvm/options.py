"""`TVMOptions`: how a model is compiled by TVM, and which function of a library is called.

Targets are TVM's own (https://tvm.apache.org/docs/arch/device_target_interactions.html).
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field, field_validator, model_validator

from aegisrt.core.options import BackendOptions, StrictModel
from aegisrt.core.tensor import DataType

Size: TypeAlias = Annotated[int, Field(ge=1, le=2**31 - 1)]
TargetValue: TypeAlias = str | int | bool | tuple[str, ...]

_GIB = 2**30
_PASSES = 6
"""Raised whenever this package builds another library for a model than before, so that cached ones are rebuilt."""


class BuildLimits(StrictModel):
    """Limits of the compiler, which can hang and can take all memory."""

    timeout_s: Annotated[float, Field(gt=0, le=86_400)] = 600.0
    """Seconds that one build may take, tuning not counted."""
    memory_bytes: Annotated[int, Field(ge=256 * 2**20, le=2**50)] = 8 * _GIB
    """Memory that the compiler may allocate."""


class TuningOptions(StrictModel):
    """The search for fast code, by TVM's MetaSchedule; only functions of fixed shape are tuned."""

    trials_per_task: Annotated[int, Field(ge=1, le=100_000)] = 32
    """Candidates that are compiled and timed for each matrix product and each convolution."""
    timeout_s: Annotated[float, Field(gt=0, le=7 * 86_400)] = 600.0
    """Seconds that the whole search may take; the best code found until then is used."""
    trial_timeout_s: Annotated[float, Field(gt=0, le=3600)] = 60.0
    """Seconds without a finished candidate before the worker is killed and another one started."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Seed of the search."""


class TensorDeclaration(StrictModel):
    """Dtype and shape of one input or output."""

    dtype: DataType
    """Element type, by its Open Inference Protocol name."""
    shape: tuple[Annotated[int, Field(ge=0)] | str | None, ...] | None = None
    """One entry for each dimension: a size, a name for a dynamic one, or null; left out: any rank."""


class LibrarySignature(StrictModel):
    """The inputs and outputs of a library that has no sidecar, each in the order of the function's arguments."""

    inputs: dict[str, TensorDeclaration]
    """By input name."""
    outputs: Annotated[dict[str, TensorDeclaration], Field(min_length=1)]
    """By output name."""


class TVMOptions(BackendOptions):
    """Options of Apache TVM."""

    kind: Literal["tvm"] = "tvm"
    """Always `tvm`."""
    entry: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    """The function that is called; left out: the one that was built, else `main`, `default` or `default_function`."""
    signature: LibrarySignature | None = None
    """Inputs and outputs of a library that was built elsewhere and has no sidecar; otherwise the sidecar has them."""
    target: dict[str, TargetValue] | None = None
    """The TVM target that code is compiled for, as its attributes; left out: this machine's processor, or
    the GPU's compute capability."""
    outputs: Literal["host", "device"] = "host"
    """On a GPU, where results are: in numpy arrays, or in arrays on the GPU with `__cuda_array_interface__`."""
    threads: Annotated[int, Field(ge=1, le=4096)] | None = None
    """Threads inside one call of tuned code; left out: the device's `threads`, else TVM's default."""
    free_dimensions: dict[str, Size] = Field(default_factory=dict)
    """Sizes for dynamic dimensions, by their names in the model; fewer dynamic ones compile to faster code, and some
    models compile only without any."""
    shapes: dict[str, Annotated[tuple[tuple[Size, ...], ...], Field(min_length=1)]] = Field(default_factory=dict)
    """Shapes that get a function of their own, by input name: `{image: [[1, 1, 8, 8], [16, 1, 8, 8]]}`. With several
    inputs the lists are paired entry by entry. Other shapes use the dynamic function."""
    tuning: TuningOptions | None = None
    """Search for fast code; left out, the code is correct but slow."""
    build: BuildLimits = BuildLimits()
    """Limits of the compiler."""

    @field_validator("target")
    @classmethod
    def _has_kind(cls, target: dict[str, TargetValue] | None) -> dict[str, TargetValue] | None:
        if target is not None and target.get("kind") not in ("llvm", "cuda"):
            raise ValueError("a target needs `kind: llvm` for a CPU, or `kind: cuda` for a GPU")
        return target

    @model_validator(mode="after")
    def _shapes_go_together(self) -> TVMOptions:
        counts = {name: len(shapes) for name, shapes in self.shapes.items()}
        if len(set(counts.values())) > 1:
            lengths = ", ".join(f"`{name}` has {count}" for name, count in counts.items())
            raise ValueError(f"`shapes` needs the same number of entries for every input, but {lengths}")
        return self

    @property
    def variants(self) -> list[dict[str, tuple[int, ...]]]:
        """Return the declared shapes, one mapping by input name for each function."""
        names = list(self.shapes)
        return [dict(zip(names, shapes, strict=True)) for shapes in zip(*self.shapes.values(), strict=True)]

    def for_build(self) -> dict[str, Any]:
        """Return the options that decide the compiled code as plain values, with the version of our passes."""
        plain = self.model_dump(mode="json", include={"free_dimensions", "shapes", "tuning"})
        if self.tuning is not None:
            plain["tuning"] = {"trials_per_task": self.tuning.trials_per_task, "seed": self.tuning.seed}
        return {**plain, "passes": _PASSES}
