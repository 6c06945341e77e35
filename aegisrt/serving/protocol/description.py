"""What the server reports of itself and its models: bodies of HTTP, and the same mappings for `messages.encode`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from aegisrt.core.tensor import DataType, Signature, TensorSpec

EXTENSIONS = ("binary_tensor_data", "model_configuration", "model_repository", "parameters", "statistics")
"""Triton's names of the implemented extensions."""


def server_metadata(version: str) -> dict[str, Any]:
    """Return the body of `GET /v2`."""
    return {"name": "aegisrt", "version": version, "extensions": list(EXTENSIONS)}


def model_metadata(name: str, versions: Sequence[str], platform: str, signature: Signature) -> dict[str, Any]:
    """Return the body of `GET /v2/models/NAME`; a dynamic dimension is -1, and so is the shape of an unknown rank."""
    return {
        "name": name,
        "versions": list(versions),
        "platform": platform,
        "inputs": [_tensor(spec) for spec in signature.inputs],
        "outputs": [_tensor(spec) for spec in signature.outputs],
    }


def _tensor(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "datatype": str(spec.dtype), "shape": _sizes(spec)}


def _sizes(spec: TensorSpec) -> list[int]:
    return [-1] if spec.shape is None else [dim if isinstance(dim, int) else -1 for dim in spec.shape]


@dataclass(frozen=True, slots=True)
class ServedAs:
    """How a model is served, as far as its configuration shows it."""

    name: str
    platform: str
    """The kind of the backend."""
    signature: Signature
    instances: int = 1
    gpu: int | None = None
    """The ordinal of its GPU; None on a CPU."""
    max_batch_size: int = 0
    """0 without dynamic batching."""
    preferred_batch_sizes: tuple[int, ...] = ()
    max_queue_delay_us: int = 0


def model_config(served: ServedAs) -> dict[str, Any]:
    """Return the body of `GET /v2/models/NAME/config`: Triton's model configuration in its JSON form.

    With dynamic batching, dims leave out the dimension of the batch, and clients such as perf_analyzer add it; without
    it `max_batch_size` is 0, and dims are those of the metadata.
    """
    skipped = 1 if served.max_batch_size else 0
    inputs = [_config_tensor(spec, skipped) | {"optional": spec.optional} for spec in served.signature.inputs]
    config: dict[str, Any] = {
        "name": served.name,
        "platform": served.platform,
        "backend": served.platform,
        "max_batch_size": served.max_batch_size,
        "input": inputs,
        "output": [_config_tensor(spec, skipped) for spec in served.signature.outputs],
        "instance_group": [_instances(served)],
        "model_transaction_policy": {"decoupled": False},
    }
    if served.max_batch_size:
        config["dynamic_batching"] = {
            "preferred_batch_size": list(served.preferred_batch_sizes),
            "max_queue_delay_microseconds": served.max_queue_delay_us,
        }
    return config


def _config_tensor(spec: TensorSpec, skipped: int) -> dict[str, Any]:
    kind = "STRING" if spec.dtype is DataType.BYTES else str(spec.dtype)
    return {"name": spec.name, "data_type": f"TYPE_{kind}", "dims": _sizes(spec)[skipped:]}


def _instances(served: ServedAs) -> dict[str, Any]:
    group = {"name": f"{served.name}_0", "count": served.instances, "gpus": list[int]()}
    if served.gpu is None:
        return group | {"kind": "KIND_CPU"}
    return group | {"kind": "KIND_GPU", "gpus": [served.gpu]}


@dataclass(frozen=True, slots=True)
class Duration:
    """How often something happened, and how long it took in all."""

    count: int = 0
    ns: int = 0

    def to_json(self) -> dict[str, int]:
        """Return plain values."""
        return {"count": self.count, "ns": self.ns}


@dataclass(frozen=True, slots=True)
class Statistics:
    """A model's counts since it was loaded."""

    last_inference_ms: int = 0
    """Milliseconds since the epoch; 0 before the first."""
    inferences: int = 0
    """Requests answered with success, times their rows with dynamic batching."""
    executions: int = 0
    """Calls of the engine."""
    success: Duration = Duration()
    failure: Duration = Duration()
    queue: Duration = Duration()
    compute_input: Duration = Duration()
    compute: Duration = Duration()
    compute_output: Duration = Duration()


def statistics(name: str, version: str, counts: Statistics) -> dict[str, Any]:
    """Return the entry of a model in `model_stats`."""
    durations = {
        "success": counts.success,
        "fail": counts.failure,
        "queue": counts.queue,
        "compute_input": counts.compute_input,
        "compute_infer": counts.compute,
        "compute_output": counts.compute_output,
        "cache_hit": Duration(),
        "cache_miss": Duration(),
    }
    return {
        "name": name,
        "version": version,
        "last_inference": counts.last_inference_ms,
        "inference_count": counts.inferences,
        "execution_count": counts.executions,
        "inference_stats": {key: value.to_json() for key, value in durations.items()},
        "batch_stats": [],  # the engine's time is counted over all sizes of batches
    }


def index_entry(name: str, version: str, *, ready: bool, reason: str = "") -> dict[str, str]:
    """Return the entry of a model in the repository index."""
    return {"name": name, "version": version, "state": "READY" if ready else "UNAVAILABLE", "reason": reason}
