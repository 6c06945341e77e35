"""`HttpApplication`: the Open Inference Protocol as a raw ASGI application."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from time import perf_counter_ns
from typing import Any

from aegisrt.core.result import Err, Error, ErrorCode, ResultError
from aegisrt.core.system_error import system_error
from aegisrt.serving.access_log import AccessLog
from aegisrt.serving.endpoint import ModelEndpoint
from aegisrt.serving.http.answer import BINARY, CLOSE, JSON, Header, HttpAnswer, error_answer
from aegisrt.serving.http.body import SMALL_BYTES, DisconnectedError, Receive, declared_size, read_body, too_many
from aegisrt.serving.http.gate import Gate
from aegisrt.serving.http.handlers import Handlers
from aegisrt.serving.http.routes import Route, find_route
from aegisrt.serving.http.watch import ClientWatch
from aegisrt.serving.limits import Held
from aegisrt.serving.off_loop import off_loop
from aegisrt.serving.protocol.compression import accepted, compressed
from aegisrt.serving.protocol.http_answer import infer_answer
from aegisrt.serving.protocol.http_request import HEADER_LENGTH, read_infer
from aegisrt.serving.protocol.status import HTTP_GONE
from aegisrt.serving.protocol.timeouts import TIMEOUT_HEADER, shortest_ms
from aegisrt.serving.service import Service

Send = Callable[[Any], Awaitable[None]]
_HEADER_LENGTH = HEADER_LENGTH.encode()
_TIMEOUT = TIMEOUT_HEADER.encode()
_COMPRESSED_ABOVE = 1024
_LARGE_BYTES = 1 << 20
"""Larger bodies are decoded and encoded in a thread, so that other requests pass meanwhile."""

_WRITTEN_BYTES = 1 << 16
"""An answer with a larger body ends when its client has read the most of it."""
_CUT = "the server ended before the request was answered"


class HttpApplication:
    """Serves one service. Every request gets one answer, and no exception leaves it."""

    def __init__(self, service: Service, *, mounted: bool = False) -> None:
        """A `mounted` application is part of another one, and serves `/metrics` too.

        Raise ResultError if a file of tokens cannot be read.
        """
        self._mounted = mounted
        self._service = service
        self._options = service.options
        self._gate = Gate(service.options, mounted=mounted)
        self._handlers = Handlers(service)
        self._log = AccessLog(service.options.log)

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """Answer one HTTP request."""
        since_ns = perf_counter_ns()
        headers: dict[bytes, bytes] = dict(scope["headers"])
        route = find_route(scope["path"].removeprefix(scope.get("root_path", "")))
        held = Held(self._service.in_flight)
        try:
            answer = await self._answer(scope["method"], route, headers, receive, held)
        except ResultError as failure:
            answer = error_answer(failure.error)
        except DisconnectedError:
            error = Error(ErrorCode.CANCELLED, "the client went away")
            held.leave()
            self._done(scope, route, error_answer(error, HTTP_GONE), headers, held.received, since_ns)
            return
        except asyncio.CancelledError:
            answer = error_answer(Error(ErrorCode.UNAVAILABLE, _CUT, "send it again"), None, CLOSE)
        except Exception as failure:  # noqa: BLE001  (a bug; the client gets an answer, and the log the traceback)
            answer = error_answer(_internal(failure))
        try:
            await self._send(send, scope["method"], answer, headers)
        except (Exception, asyncio.CancelledError) as failure:  # noqa: BLE001  (the client went away)
            gone = Error(ErrorCode.CANCELLED, "the answer was cut off", cause=repr(failure))
            answer = error_answer(gone, HTTP_GONE)
        finally:
            held.leave()
        self._done(scope, route, answer, headers, held.received, since_ns)

    def _done(
        self,
        scope: Any,
        route: Route | None,
        answer: HttpAnswer,
        headers: dict[bytes, bytes],
        received: int,
        since_ns: int,
    ) -> None:
        """Count and log a request that has ended, and whose body had `received` bytes."""
        size = (received, len(answer.body))
        action = "unknown" if route is None else route.action
        elapsed_ns = perf_counter_ns() - since_ns
        self._service.traffic.answered("http", action, answer.status, elapsed_ns, size)
        model = "" if route is None else route.model
        trace = headers.get(b"traceparent")
        self._log.http(scope, model, answer.status, answer.error, size[1], elapsed_ns, trace)

    async def _answer(
        self, method: str, route: Route | None, headers: dict[bytes, bytes], receive: Receive, held: Held
    ) -> HttpAnswer:
        if route is None or (route.action == "metrics" and not self._mounted):
            return error_answer(Error(ErrorCode.NOT_FOUND, "the protocol has no such path", "see GET /v2"))
        if method == "OPTIONS":
            return self._gate.preflight(headers)
        if method not in route.methods:
            allowed = ", ".join(route.methods)
            error = Error(ErrorCode.INVALID_ARGUMENT, f"{method} is not a method of this path", f"use {allowed}")
            return error_answer(error, 405, (b"allow", allowed.encode()))
        refused = self._gate.refusal(route, headers)
        if refused is not None:
            return refused
        if route.group == "health":  # a full server is alive
            return self._handlers(route, b"")
        limit = self._options.http.max_body_bytes
        if route.action != "infer":
            limit = min(limit, SMALL_BYTES)
        full = held.enter(min(declared_size(headers), limit))
        if full is not None:
            return too_many(full, 1)
        body = await read_body(receive, headers, limit, held)
        if isinstance(body, HttpAnswer):
            return body
        if route.action == "infer":
            return await self._infer(route, headers, body, receive)
        return await self._handlers.change(route, body) if route.group == "admin" else self._handlers(route, body)

    async def _infer(self, route: Route, headers: dict[bytes, bytes], body: bytes, receive: Receive) -> HttpAnswer:
        endpoint = self._service.model(route.model, route.version).unwrap()
        length = headers.get(_HEADER_LENGTH)
        text = None if length is None else length.decode("latin-1")
        request = await off_loop(len(body) > _LARGE_BYTES, read_infer, body, text)
        limit = headers.get(_TIMEOUT)
        timeout_ms = shortest_ms(
            parameter_us=request.timeout_us, header=None if limit is None else limit.decode("latin-1")
        )
        watch = ClientWatch(receive)
        try:
            result = await endpoint.infer(request, timeout_ms, watch)
        except asyncio.CancelledError:
            if watch.is_gone:
                raise DisconnectedError from None
            raise
        if isinstance(result, Err):
            return _failed(result.error, endpoint)
        outputs = result.value.outputs
        arguments = (request, route.model, endpoint.version, outputs, request.parameters)
        large = sum(value.nbytes for value in outputs.values()) > _LARGE_BYTES
        content, json_length = await off_loop(large, infer_answer, *arguments)
        if json_length is None:
            return HttpAnswer(200, [JSON], content)
        return HttpAnswer(200, [BINARY, (_HEADER_LENGTH, b"%d" % json_length)], content)

    async def _send(self, send: Send, method: str, answer: HttpAnswer, headers: dict[bytes, bytes]) -> None:
        body, extra = answer.body, self._gate.cors_headers(headers)
        if len(body) > _COMPRESSED_ABOVE and b"accept-encoding" in headers:
            encoding = accepted(headers[b"accept-encoding"].decode("latin-1"))
            if encoding is not None:
                body = await off_loop(len(body) > _LARGE_BYTES, compressed, body, encoding)
                extra.append((b"content-encoding", encoding.encode()))
        length: list[Header] = [] if answer.status == 204 else [(b"content-length", b"%d" % len(body))]
        start = {"type": "http.response.start", "status": answer.status, "headers": [*answer.headers, *extra, *length]}
        await send(start)
        if len(body) > _WRITTEN_BYTES and method != "HEAD":
            await send({"type": "http.response.body", "body": body, "more_body": True})
            body = b""
        await send({"type": "http.response.body", "body": b"" if method == "HEAD" else body})


def _failed(error: Error, endpoint: ModelEndpoint) -> HttpAnswer:
    """Return the answer of a request that the model did not answer."""
    if error.code is ErrorCode.RESOURCE_EXHAUSTED and error.retry:
        return too_many(error, endpoint.retry_after_s())
    if error.code is ErrorCode.NOT_LOADED:
        return error_answer(error, None, (b"retry-after", b"1"))
    return error_answer(error)


def _internal(failure: Exception) -> Error:
    if isinstance(failure, MemoryError | OSError):
        return system_error(failure, "the request cannot be answered").error
    import traceback

    return Error(ErrorCode.INTERNAL, repr(failure), cause=traceback.format_exc())
