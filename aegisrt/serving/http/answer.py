"""`HttpAnswer`: a status, headers and a body."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from aegisrt.core.result import Error
from aegisrt.serving.protocol.http_answer import json_body
from aegisrt.serving.protocol.status import error_body, http_status

Header = tuple[bytes, bytes]
JSON: Header = (b"content-type", b"application/json")
BINARY: Header = (b"content-type", b"application/octet-stream")
METRICS: Header = (b"content-type", b"text/plain; version=0.0.4; charset=utf-8")
CLOSE: Header = (b"connection", b"close")


@dataclass(slots=True)
class HttpAnswer:
    """The answer of one request; the content's length and encoding are added when it is sent."""

    status: int
    headers: list[Header]
    body: bytes = b""
    error: Error | None = None
    """For the log: what went wrong, with all that its client must not read."""


def json_answer(value: Any, status: int = 200) -> HttpAnswer:
    """Return an answer with a JSON body."""
    return HttpAnswer(status, [JSON], json_body(value))


def error_answer(error: Error, status: int | None = None, *headers: Header) -> HttpAnswer:
    """Return the answer to a request that failed: `{"error", "code", "hint"}`."""
    body = json_body(error_body(error))
    return HttpAnswer(status or http_status(error.code), [JSON, *headers], body, error)
