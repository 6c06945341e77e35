"""`read_body`: the body of a request, within the limits of the server."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from aegisrt.core.result import Error, ErrorCode
from aegisrt.serving.http.answer import CLOSE, HttpAnswer, error_answer
from aegisrt.serving.limits import Held
from aegisrt.serving.off_loop import off_loop
from aegisrt.serving.protocol.compression import BodyTooLargeError, decompressed
from aegisrt.serving.protocol.status import TOO_MANY_REQUESTS

Receive = Callable[[], Awaitable[Any]]
SMALL_BYTES = 1 << 16
"""The limit of all bodies that have no tensors."""
_IN_LOOP_BYTES = 4096
"""Larger bodies are decompressed in a thread."""


class DisconnectedError(Exception):
    """The client went away before its request was complete."""


async def read_body(receive: Receive, headers: Mapping[bytes, bytes], limit: int, held: Held) -> bytes | HttpAnswer:
    """Return the body of a request, decompressed and of at most `limit` bytes, or why it is refused.

    `held` grows with what arrives, and to the decompressed size. Raise DisconnectedError if the client goes away.
    ResultError: INVALID_ARGUMENT, if the body cannot be decompressed.
    """
    if declared_size(headers) > limit:
        return _too_large(limit)
    body = await _received(receive, limit, held)
    encoding = headers.get(b"content-encoding")
    if encoding is None or isinstance(body, HttpAnswer):
        return body
    arguments = (body, encoding.decode("latin-1"), limit)
    try:
        in_loop = len(body) <= _IN_LOOP_BYTES
        content = await off_loop(not in_loop, decompressed, *arguments)
    except BodyTooLargeError:
        return _too_large(limit)
    full = held.grow(len(content))
    return content if full is None else too_many(full, 1)


async def _received(receive: Receive, limit: int, held: Held) -> bytes | HttpAnswer:
    chunks: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise DisconnectedError
        chunk: bytes = message.get("body", b"")
        held.received += len(chunk)
        if held.received > limit:
            return _too_large(limit)
        full = held.grow(held.received)
        if full is not None:
            return too_many(full, 1)
        chunks.append(chunk)
        if not message.get("more_body", False):
            return chunk if len(chunks) == 1 else b"".join(chunks)


def too_many(error: Error, after_s: int) -> HttpAnswer:
    """Return the answer to a request that comes too early."""
    return error_answer(error, TOO_MANY_REQUESTS, (b"retry-after", b"%d" % after_s))


def declared_size(headers: Mapping[bytes, bytes]) -> int:
    """Return the length of a body as its client sends it; 0 if it is not known."""
    text = headers.get(b"content-length", b"0")
    return int(text) if text.isdigit() and len(text) < 20 else 0


def _too_large(limit: int) -> HttpAnswer:
    message = f"the body is larger than {limit} bytes"
    hint = "send less at once, or raise `server.http.max_body_bytes`" if limit > SMALL_BYTES else "send less"
    error = Error(ErrorCode.RESOURCE_EXHAUSTED, message, hint)
    return error_answer(error, 413, CLOSE)
