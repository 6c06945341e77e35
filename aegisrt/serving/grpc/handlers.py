"""`service_handlers`: the methods of the gRPC services, with errors as statuses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from time import perf_counter_ns
from typing import Any, Literal

import grpc
import grpc.aio

from aegisrt.core.result import Error, ErrorCode, ResultError, fail
from aegisrt.serving.access_log import AccessLog
from aegisrt.serving.grpc.calls import GrpcCalls, OverloadError, internal, read_small
from aegisrt.serving.grpc.stream import InferStream
from aegisrt.serving.protocol.messages import encode
from aegisrt.serving.protocol.status import GRPC_CANCELLED, grpc_status, public
from aegisrt.serving.protocol.timeouts import TIMEOUT_HEADER
from aegisrt.serving.tokens import NO_ADMIN, TokenFile

_SERVICE = "inference.GRPCInferenceService"
_HEALTH = "grpc.health.v1.Health"
_SERVING, _NOT_SERVING, _SERVICE_UNKNOWN = 1, 2, 3
_WATCH_EVERY_S = 0.25
_MOST_WATCHES = 64
_STATUS = {status.value[0]: status for status in grpc.StatusCode}

Context = grpc.aio.ServicerContext[bytes, bytes]
Answer = Callable[[bytes, Context], Awaitable[bytes]]


def service_handlers(calls: GrpcCalls) -> tuple[grpc.GenericRpcHandler, ...]:
    """Return the handlers of the inference service and of gRPC's health service, over raw bytes.

    Raise ResultError if the file of tokens cannot be read.
    """
    methods = _Methods(calls)
    return (
        grpc.method_handlers_generic_handler(_SERVICE, methods.inference()),
        grpc.method_handlers_generic_handler(_HEALTH, methods.health()),
    )


class _Methods:
    def __init__(self, calls: GrpcCalls) -> None:
        options = calls.service.options
        self._calls = calls
        self._auth = options.auth
        self._tokens = TokenFile(options.auth.token_file) if options.auth else None
        self._admin = TokenFile(options.admin.token_file) if options.admin.token_file else None
        self._log = AccessLog(options.log)
        self._watches = 0

    def inference(self) -> dict[str, grpc.RpcMethodHandler[Any, Any]]:
        """Return the methods of the inference service."""
        calls = self._calls
        small: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
            "ServerLive": ("health", calls.server_live),
            "ServerReady": ("health", calls.server_ready),
            "ModelReady": ("health", calls.model_ready),
            "ServerMetadata": ("metadata", calls.server_metadata),
            "ModelMetadata": ("metadata", calls.model_metadata),
            "ModelConfig": ("metadata", calls.model_config),
            "ModelStatistics": ("metadata", calls.model_statistics),
            "RepositoryIndex": ("metadata", calls.repository_index),
        }
        for memory in ("System", "Cuda"):
            small[f"{memory}SharedMemoryStatus"] = ("metadata", calls.no_regions)
            small[f"{memory}SharedMemoryUnregister"] = ("metadata", calls.no_regions)
        unary: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
            name: grpc.unary_unary_rpc_method_handler(partial(self._small, name, group, answer))
            for name, (group, answer) in small.items()
        }
        return {
            **unary,
            "RepositoryModelLoad": grpc.unary_unary_rpc_method_handler(partial(self._change, "load")),
            "RepositoryModelUnload": grpc.unary_unary_rpc_method_handler(partial(self._change, "unload")),
            "ModelInfer": grpc.unary_unary_rpc_method_handler(self._infer),
            "ModelStreamInfer": grpc.stream_stream_rpc_method_handler(self._stream),
        }

    def health(self) -> dict[str, grpc.RpcMethodHandler[Any, Any]]:
        """Return the methods of gRPC's health service."""
        return {
            "Check": grpc.unary_unary_rpc_method_handler(self._check),
            "Watch": grpc.unary_stream_rpc_method_handler(self._watch),
        }

    async def _small(
        self, name: str, group: str, answer: Callable[[bytes], bytes], message: bytes, context: Context
    ) -> bytes:
        async def run() -> bytes:
            return answer(message)

        return await self._answered(name, group, len(message), run(), context)

    async def _change(self, change: Literal["load", "unload"], message: bytes, context: Context) -> bytes:
        work = self._calls.change(change, message)
        return await self._answered(f"RepositoryModel{change.title()}", "admin", len(message), work, context)

    async def _infer(self, message: bytes, context: Context) -> bytes:
        work = self._calls.infer(message, left_ms(context), _header(context, TIMEOUT_HEADER))
        return await self._answered("ModelInfer", "infer", len(message), work, context)

    async def _answered(self, name: str, group: str, size: int, work: Awaitable[bytes], context: Context) -> bytes:
        """Return the answer of a call, or end the call with the status of its error; count and log either."""
        since_ns = perf_counter_ns()
        error: Error | None = None
        content, after_s = b"", 0
        try:
            self._require_token(group, context)
            content = await work
        except ResultError as failure:
            error = failure.error
        except OverloadError as full:
            error, after_s = full.error, full.after_s
        except asyncio.CancelledError:
            self._done(name, context, _GONE, (size, 0), since_ns)
            raise
        except Exception as failure:  # noqa: BLE001  (a bug; the client gets a status, and the log the cause)
            error = internal(failure)
        finally:
            if hasattr(work, "close"):
                work.close()
        self._done(name, context, error, (size, len(content)), since_ns)
        if error is not None:
            await _abort(context, error, after_s)
        return content

    async def _stream(self, messages: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
        done = partial(self._done, "ModelStreamInfer", context)
        try:
            self._require_token("infer", context)
        except ResultError as failure:
            done(failure.error, (0, 0), perf_counter_ns())
            await _abort(context, failure.error, 0)
        stream = InferStream(self._calls, lambda: left_ms(context), _header(context, TIMEOUT_HEADER), done)
        async for answer in stream.answers(messages):
            yield answer

    async def _check(self, message: bytes, context: Context) -> bytes:
        async def run() -> bytes:
            status = self._health_of(read_small("HealthCheckRequest", message)["service"])
            if status == _SERVICE_UNKNOWN:
                raise fail(ErrorCode.NOT_FOUND, "unknown service")
            return encode("HealthCheckResponse", {"status": status})

        return await self._answered("HealthCheck", "health", len(message), run(), context)

    async def _watch(self, message: bytes, context: Context) -> AsyncIterator[bytes]:
        """Send the status of a service now, and whenever it changes, until the server drains."""

        async def run() -> bytes:
            if self._watches >= _MOST_WATCHES:
                hint = "end one of them, or call `Check`"
                raise fail(ErrorCode.RESOURCE_EXHAUSTED, f"{self._watches} clients watch, the most accepted", hint)
            return str(read_small("HealthCheckRequest", message)["service"]).encode()

        service = (await self._answered("HealthWatch", "health", len(message), run(), context)).decode()
        self._watches += 1
        last = None
        try:
            while not context.cancelled():
                is_last = self._calls.service.is_draining
                status = self._health_of(service)
                if status != last:
                    yield encode("HealthCheckResponse", {"status": status})
                    last = status
                if is_last:
                    return
                await asyncio.sleep(_WATCH_EVERY_S)
        finally:
            self._watches -= 1

    def _health_of(self, service: str) -> int:
        if service not in ("", _SERVICE):
            found = self._calls.service.model(service)
            if found.is_err():
                return _SERVICE_UNKNOWN
            return _SERVING if found.unwrap().is_ready and not self._calls.service.is_draining else _NOT_SERVING
        return _SERVING if self._calls.service.is_ready else _NOT_SERVING

    def _require_token(self, group: str, context: Context) -> None:
        if group == "admin":
            if self._admin is None:
                raise ResultError(NO_ADMIN)
            tokens = self._admin
        elif self._auth is None or self._tokens is None or group not in self._auth.protect:
            return
        else:
            tokens = self._tokens
        authorization = _header(context, "authorization")
        if not tokens.accepts(authorization.encode("latin-1", "replace") if authorization else None):
            raise ResultError(_NO_TOKEN)

    def _done(self, name: str, context: Context, error: Error | None, size: tuple[int, int], since_ns: int) -> None:
        """Count and log an answer; `size` is the bytes of the request and of the answer."""
        status = GRPC_CANCELLED if error is _GONE else 0 if error is None else grpc_status(error.code)
        elapsed_ns = perf_counter_ns() - since_ns
        self._calls.service.traffic.answered("grpc", name, status, elapsed_ns, size)
        self._log.grpc(name, context.peer, status, error, size[1], elapsed_ns, partial(_header, context, "traceparent"))


_NO_TOKEN = Error(ErrorCode.PERMISSION_DENIED, "a valid token is missing", "send `authorization: Bearer TOKEN`")
_GONE = Error(ErrorCode.CANCELLED, "the client went away")


def left_ms(context: Context) -> float | None:
    """Return how much time the deadline of a call leaves; None without one."""
    left_s = context.time_remaining()
    return None if left_s is None else max(left_s * 1e3, 0.001)


def _header(context: Context, name: str) -> str | None:
    for key, value in context.invocation_metadata() or ():
        if key == name:
            return value if isinstance(value, str) else value.decode("latin-1")
    return None


async def _abort(context: Context, error: Error, after_s: int) -> None:
    shown = public(error)
    text = shown.message if shown.hint is None else f"{shown.message} ({shown.hint})"
    metadata = (("grpc-retry-pushback-ms", str(after_s * 1000)),) if after_s else ()
    status = grpc.StatusCode.UNAUTHENTICATED if error is _NO_TOKEN else _STATUS[grpc_status(error.code)]
    await context.abort(status, text, metadata)
