"""`QueueOptions` and `BatchingOptions`: how the requests of a model wait, and how they are joined into batches.

Names and meanings follow Triton's model configuration
(https://docs.nvidia.com/deeplearning/triton-inference-server/user-guide/docs/user_guide/batcher.html).
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from aegisrt.core.options import StrictModel


class QueueOptions(StrictModel):
    """Requests of one model that wait for an instance. High priority goes first, then the oldest."""

    max_queue_size: Annotated[int, Field(ge=1, le=1_000_000)] = 1024
    """How many requests may wait; those that run, or that a free instance is about to take, do not count."""
    when_full: Literal["reject", "wait"] = "reject"
    """`reject` answers RESOURCE_EXHAUSTED at once; `wait` holds the caller until there is room, or its deadline."""
    default_timeout_ms: Annotated[float, Field(gt=0, le=1e9)] | None = None
    """The time limit of a request that has none of its own; if left out, such a request waits as long as it takes."""
    on_close: Literal["drain", "cancel"] = "drain"
    """What `close()` does with waiting requests: run them (`drain`), or answer CANCELLED (`cancel`)."""
    close_timeout_ms: Annotated[float, Field(ge=0, le=1e9)] = 30_000.0
    """How long `close()` waits for requests; the rest are answered CANCELLED."""


class BatchingOptions(StrictModel):
    """Dynamic batching: waiting requests of equal shapes become one call of the engine, along the first dimension.

    The model must be row-wise: dynamic along that dimension in every input and output, each row of an output computed
    from the same row of the inputs alone. It is refused otherwise: joining requests must not change an answer.
    """

    max_batch_size: Annotated[int, Field(ge=1, le=65_536)]
    """The most rows of one call; a request with more is refused."""
    preferred_batch_sizes: tuple[Annotated[int, Field(ge=1)], ...] = ()
    """Rows at which a batch runs without waiting for more; of several possible sizes, the largest."""
    max_queue_delay_us: Annotated[int, Field(ge=0, le=60_000_000)] = 0
    """How long a request may wait for others to join it, in microseconds; 0 joins only what waits already."""
    pad_to_preferred: bool = False
    """Fill a batch up to the next preferred size with copies of its last row; answers never contain them."""

    rows: Literal["check", "trust"] = "check"
    """`check` measures at deployment whether rows affect each other, on the sample or on generated rows; a model whose
    rows do is not batched. `trust` skips that."""
    tolerance: Annotated[float, Field(gt=0, le=1)] | None = None
    """The largest difference that counts as equal, relative to the output's range. If left out: between batch sizes
    1e-5 for FP64, 5e-3 for FP32, 1e-2 for FP16, 5e-2 for BF16; between batches of one size with other rows, a tenth
    of that. Other outputs must be equal."""

    @field_validator("preferred_batch_sizes")
    @classmethod
    def _within_maximum(cls, value: tuple[int, ...], info: ValidationInfo) -> tuple[int, ...]:
        most = info.data.get("max_batch_size")
        if most is not None and any(size > most for size in value):
            raise ValueError(f"no preferred size may be larger than max_batch_size, {most}")
        return tuple(sorted(set(value)))
