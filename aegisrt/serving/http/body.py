"""`read_body`: the body of a request, within the limits of the server."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from aegisrt.core.result import Error, ErrorCode
from aegisrt.serving.http.answer import CLOSE, HttpAnswer, error_answer
from aegisrt.serving.protocol.compression import BodyTooLargeError, decompressed

Receive = Callable[[], Awaitable[Any]]


class DisconnectedError(Exception):
    """The client went away before its request was complete."""


async def read_body(receive: Receive, headers: Mapping[bytes, bytes], limit: int) -> bytes | HttpAnswer:
    """Return the body of a request, decompressed and of at most `limit` bytes, or why it is refused.

    Raise DisconnectedError if the client goes away. ResultError: INVALID_ARGUMENT, if the body cannot be decompressed.
    """
    if _declared(headers) > limit:
        return _too_large(limit)
    message = await receive()
    if message["type"] != "http.request":
        raise DisconnectedError
    body: bytes = message.get("body", b"")
    if message.get("more_body", False):
        chunks = [body]
        size = len(body)
        while message.get("more_body", False):
            message = await receive()
            if message["type"] != "http.request":
                raise DisconnectedError
            chunks.append(message.get("body", b""))
            size += len(chunks[-1])
            if size > limit:
                return _too_large(limit)
        body = b"".join(chunks)
    encoding = headers.get(b"content-encoding")
    if encoding is None:
        return body if len(body) <= limit else _too_large(limit)
    try:
        return decompressed(body, encoding.decode("latin-1"), limit)
    except BodyTooLargeError:
        return _too_large(limit)


def reserved_size(headers: Mapping[bytes, bytes], limit: int) -> int:
    """Return how many bytes the body of a request may become: its length, or `limit` if that is not known."""
    if b"transfer-encoding" in headers or b"content-encoding" in headers:
        return limit
    return min(_declared(headers), limit)


def _declared(headers: Mapping[bytes, bytes]) -> int:
    text = headers.get(b"content-length", b"0")
    return int(text) if text.isdigit() and len(text) < 20 else 0


def _too_large(limit: int) -> HttpAnswer:
    message = f"the body is larger than {limit} bytes"
    error = Error(ErrorCode.RESOURCE_EXHAUSTED, message, "send less at once, or raise `server.http.max_body_bytes`")
    return error_answer(error, 413, CLOSE)
