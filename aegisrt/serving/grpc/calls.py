"""`GrpcCalls`: the calls of the gRPC service, from message to message."""

from __future__ import annotations

from traceback import format_exception
from typing import Any, Literal

from aegisrt.core.result import Err, Error, ErrorCode, ResultError, fail
from aegisrt.core.suggest import quoted
from aegisrt.core.system_error import system_error
from aegisrt.serving.endpoint import ModelEndpoint
from aegisrt.serving.off_loop import off_loop
from aegisrt.serving.protocol.grpc_answer import final_parameters, infer_message
from aegisrt.serving.protocol.grpc_request import read_infer_message
from aegisrt.serving.protocol.inference import InferRequest
from aegisrt.serving.protocol.messages import decode, encode
from aegisrt.serving.protocol.parameters import check_change
from aegisrt.serving.protocol.timeouts import shortest_ms
from aegisrt.serving.service import Service

_DECODED_HERE_BYTES = 1 << 16
_ENCODED_HERE_BYTES = 1 << 20
"""Larger messages are decoded and encoded in a thread, so that other requests pass meanwhile."""
_MOST_SMALL_BYTES = 1 << 16


class OverloadError(Exception):
    """The server or a model's queue is full; `after_s` is when the client may try again."""

    def __init__(self, error: Error, after_s: int) -> None:
        super().__init__(error)
        self.error = error
        self.after_s = after_s


def internal(failure: Exception) -> Error:
    """Return the error of an exception that no code expects."""
    if isinstance(failure, MemoryError | OSError):
        return system_error(failure, "the request cannot be answered").error
    return Error(ErrorCode.INTERNAL, repr(failure), cause="".join(format_exception(failure)))


def read_small(name: str, message: bytes) -> dict[str, Any]:
    """Return the fields of a message without tensors, which is decoded in the loop.

    INVALID_ARGUMENT: if it has more than 64 KiB, or is not such a message.
    """
    if len(message) > _MOST_SMALL_BYTES:
        size = f"a {name} of {len(message)} bytes"
        raise fail(ErrorCode.INVALID_ARGUMENT, f"{size}; at most {_MOST_SMALL_BYTES} are accepted")
    return decode(name, message)


class GrpcCalls:
    """Answers the calls of one service. It belongs to the loop's thread. Methods raise ResultError or OverloadError."""

    def __init__(self, service: Service) -> None:
        self.service = service

    async def infer(self, message: bytes, left_ms: float | None, header: str | None) -> bytes:
        """Return the answer of a `ModelInferRequest`.

        `left_ms` is what the call's deadline leaves, and `header` the value of `aegisrt-timeout-ms`.
        """
        full = self.service.in_flight.enter(len(message))
        if full is not None:
            raise OverloadError(full, 1)
        try:
            asked = await off_loop(len(message) > _DECODED_HERE_BYTES, read_infer_message, message)
            return await self._answer(*asked, left_ms, header)
        finally:
            self.service.in_flight.leave(len(message))

    async def _answer(
        self, name: str, version: str, request: InferRequest, left_ms: float | None, header: str | None
    ) -> bytes:
        endpoint = self._model(name, version)
        limits = [shortest_ms(parameter_us=request.timeout_us, header=header), left_ms]
        result = await endpoint.infer(request, min((limit for limit in limits if limit is not None), default=None))
        if isinstance(result, Err):
            if result.error.code is ErrorCode.RESOURCE_EXHAUSTED and result.error.retry:
                raise OverloadError(result.error, endpoint.retry_after_s())
            raise ResultError(result.error)
        outputs = result.value.outputs
        parameters = final_parameters(request.parameters) if request.empty_final else request.parameters
        arguments = (request, name, endpoint.version, outputs, parameters)
        large = sum(value.nbytes for value in outputs.values()) > _ENCODED_HERE_BYTES
        return await off_loop(large, infer_message, *arguments)

    def server_live(self, _message: bytes) -> bytes:
        """Answer `ServerLive`."""
        return encode("ServerLiveResponse", {"live": True})

    def server_ready(self, _message: bytes) -> bytes:
        """Answer `ServerReady`."""
        return encode("ServerReadyResponse", {"ready": self.service.is_ready})

    def model_ready(self, message: bytes) -> bytes:
        """Answer `ModelReady`."""
        return encode("ModelReadyResponse", {"ready": self._named(message).is_ready})

    def server_metadata(self, _message: bytes) -> bytes:
        """Answer `ServerMetadata`."""
        return encode("ServerMetadataResponse", self.service.metadata())

    def model_metadata(self, message: bytes) -> bytes:
        """Answer `ModelMetadata`."""
        return encode("ModelMetadataResponse", self._named(message).metadata())

    def model_config(self, message: bytes) -> bytes:
        """Answer `ModelConfig`."""
        return encode("ModelConfigResponse", {"config": self._named(message).config()})

    def model_statistics(self, message: bytes) -> bytes:
        """Answer `ModelStatistics`, of all models without a name."""
        asked = read_small("ModelRequest", message)
        return encode("ModelStatisticsResponse", self.service.statistics(asked["name"], asked["version"]).unwrap())

    def repository_index(self, message: bytes) -> bytes:
        """Answer `RepositoryIndex`."""
        asked = read_small("RepositoryIndexRequest", message)
        return encode("RepositoryIndexResponse", {"models": self.service.index(ready=asked["ready"])})

    async def change(self, change: Literal["load", "unload"], message: bytes) -> bytes:
        """Answer `RepositoryModelLoad` or `RepositoryModelUnload`."""
        asked = read_small("RepositoryModelRequest", message)
        check_change({entry["key"]: None for entry in asked["parameters"]})
        await self._model(asked["model_name"], "").change(change)
        return b""

    def no_regions(self, _message: bytes) -> bytes:
        """Answer the status or the end of shared memory: there is none."""
        return b""

    def _named(self, message: bytes) -> ModelEndpoint:
        asked = read_small("ModelRequest", message)
        return self._model(asked["name"], asked["version"])

    def _model(self, name: str, version: str) -> ModelEndpoint:
        if not name:
            raise fail(ErrorCode.INVALID_ARGUMENT, f"the request names no model ({quoted('model_name')} is empty)")
        return self.service.model(name, version).unwrap()
