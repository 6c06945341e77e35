"""`encode`, `decode`: the small messages of the gRPC services, as mappings by field name.

Field numbers are those of Triton's grpc_service.proto and model_config.proto
(https://github.com/triton-inference-server/common/tree/main/protobuf), which contain those of the Open Inference
Protocol, and of grpc.health.v1. A mapping is the same as HTTP's JSON body; a name that the message lacks is left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from aegisrt.core.tensor import DataType
from aegisrt.serving.protocol.wire import (
    DELIMITED,
    content,
    fields,
    length_delimited,
    number,
    packed,
    signed,
    text,
    unpacked,
    varint_field,
)

_MODEL = {"name": (1, "string"), "version": (2, "string")}
_DURATION = {"count": (1, "integer"), "ns": (2, "integer")}

_MESSAGES: Mapping[str, Mapping[str, tuple[int, str]]] = {
    "Empty": {},
    "ServerLiveResponse": {"live": (1, "bool")},
    "ServerReadyResponse": {"ready": (1, "bool")},
    "ModelRequest": _MODEL,
    "ModelReadyResponse": {"ready": (1, "bool")},
    "ServerMetadataResponse": {"name": (1, "string"), "version": (2, "string"), "extensions": (3, "[string]")},
    "ModelMetadataResponse": {
        "name": (1, "string"),
        "versions": (2, "[string]"),
        "platform": (3, "string"),
        "inputs": (4, "[TensorMetadata]"),
        "outputs": (5, "[TensorMetadata]"),
    },
    "TensorMetadata": {"name": (1, "string"), "datatype": (2, "string"), "shape": (3, "[integer]")},
    "ModelConfigResponse": {"config": (1, "ModelConfig")},
    "ModelConfig": {
        "name": (1, "string"),
        "platform": (2, "string"),
        "max_batch_size": (4, "integer"),
        "input": (5, "[ModelInput]"),
        "output": (6, "[ModelOutput]"),
        "instance_group": (7, "[InstanceGroup]"),
        "default_model_filename": (8, "string"),
        "dynamic_batching": (11, "DynamicBatching"),
        "backend": (17, "string"),
        "model_transaction_policy": (19, "TransactionPolicy"),
    },
    "ModelInput": {
        "name": (1, "string"),
        "data_type": (2, "data_type"),
        "dims": (4, "[integer]"),
        "optional": (8, "bool"),
    },
    "ModelOutput": {"name": (1, "string"), "data_type": (2, "data_type"), "dims": (3, "[integer]")},
    "InstanceGroup": {"name": (1, "string"), "count": (2, "integer"), "gpus": (3, "[integer]"), "kind": (4, "kind")},
    "DynamicBatching": {"preferred_batch_size": (1, "[integer]"), "max_queue_delay_microseconds": (2, "integer")},
    "TransactionPolicy": {"decoupled": (1, "bool")},
    "ModelStatisticsResponse": {"model_stats": (1, "[ModelStatistics]")},
    "ModelStatistics": {
        **_MODEL,
        "last_inference": (3, "integer"),
        "inference_count": (4, "integer"),
        "execution_count": (5, "integer"),
        "inference_stats": (6, "InferStatistics"),
        "batch_stats": (7, "[BatchStatistics]"),
    },
    "InferStatistics": {
        "success": (1, "Duration"),
        "fail": (2, "Duration"),
        "queue": (3, "Duration"),
        "compute_input": (4, "Duration"),
        "compute_infer": (5, "Duration"),
        "compute_output": (6, "Duration"),
        "cache_hit": (7, "Duration"),
        "cache_miss": (8, "Duration"),
    },
    "Duration": _DURATION,
    "BatchStatistics": {
        "batch_size": (1, "integer"),
        "compute_input": (2, "Duration"),
        "compute_infer": (3, "Duration"),
        "compute_output": (4, "Duration"),
    },
    "RepositoryIndexRequest": {"repository_name": (1, "string"), "ready": (2, "bool")},
    "RepositoryIndexResponse": {"models": (1, "[ModelIndex]")},
    "ModelIndex": {**_MODEL, "state": (3, "string"), "reason": (4, "string")},
    "RepositoryModelRequest": {
        "repository_name": (1, "string"),
        "model_name": (2, "string"),
        "parameters": (3, "[RepositoryParameter]"),
    },
    "RepositoryParameter": {"key": (1, "string"), "value": (2, "RepositoryValue")},
    "RepositoryValue": {
        "bool_param": (1, "bool"),
        "int64_param": (2, "integer"),
        "string_param": (3, "string"),
        "bytes_param": (4, "bytes"),
    },
    "HealthCheckRequest": {"service": (1, "string")},
    "HealthCheckResponse": {"status": (1, "integer")},
}
"""Each field's number and type; a type in brackets is repeated. ModelConfig's names are those of its JSON form."""

_DATA_TYPES = {
    f"TYPE_{'STRING' if dtype is DataType.BYTES else dtype}": index
    for index, dtype in enumerate(
        (
            DataType.BOOL, DataType.UINT8, DataType.UINT16, DataType.UINT32, DataType.UINT64, DataType.INT8,
            DataType.INT16, DataType.INT32, DataType.INT64, DataType.FP16, DataType.FP32, DataType.FP64,
            DataType.BYTES, DataType.BF16,
        ),
        1,
    )
}  # fmt: skip
_KINDS = {"KIND_AUTO": 0, "KIND_GPU": 1, "KIND_CPU": 2, "KIND_MODEL": 3}


def encode(name: str, values: Mapping[str, Any]) -> bytes:
    """Return a message; values that are empty, 0 or False are left out, as proto3 does."""
    known = _MESSAGES[name]
    return b"".join(
        _field(*known[key], value) for key, value in values.items() if key in known and value not in (None, "", 0, [])
    )


def _field(at: int, kind: str, value: Any) -> bytes:
    if kind == "[integer]":
        return packed(at, value)
    if kind.startswith("["):
        return b"".join(_field(at, kind[1:-1], item) for item in value)
    match kind:
        case "string":
            return length_delimited(at, value.encode("utf-8", "replace"))
        case "bytes":
            return length_delimited(at, value)
        case "integer" | "bool":
            return varint_field(at, int(value))
        case "data_type":
            return varint_field(at, _DATA_TYPES[value])
        case "kind":
            return varint_field(at, _KINDS[value])
    return length_delimited(at, encode(kind, value))


def decode(name: str, message: bytes | memoryview) -> dict[str, Any]:
    """Return the fields of a message that are known, by name; those that it does not set have their defaults.

    INVALID_ARGUMENT: if it is not protobuf, or a field has another type.
    """
    by_number = {at: (key, kind) for key, (at, kind) in _MESSAGES[name].items()}
    values: dict[str, Any] = {key: _default(kind) for key, kind in by_number.values()}
    for at, wire, value in fields(memoryview(message)):
        if at not in by_number:
            continue
        key, kind = by_number[at]
        if kind == "[integer]":
            values[key] += map(signed, _integers(wire, value))
        elif kind.startswith("["):
            values[key].append(_value(kind[1:-1], value))
        else:
            values[key] = _value(kind, value)
    return values


def _default(kind: str) -> Any:
    defaults: dict[str, Any] = {"string": "", "bytes": b"", "bool": False, "integer": 0}
    return [] if kind.startswith("[") else defaults.get(kind)


def _integers(wire: int, value: int | memoryview) -> Iterable[int]:
    return unpacked(content(value)).tolist() if wire == DELIMITED else [number(value)]


def _value(kind: str, value: int | memoryview) -> Any:
    match kind:
        case "string":
            return text(value)
        case "bytes":
            return bytes(content(value))
        case "bool":
            return bool(number(value))
        case "integer":
            return signed(number(value))
        case "data_type":
            return next((key for key, code in _DATA_TYPES.items() if code == number(value)), "TYPE_INVALID")
        case "kind":
            return next((key for key, code in _KINDS.items() if code == number(value)), "KIND_AUTO")
    return decode(kind, content(value))
