"""`http_status`, `grpc_status`, `error_body`: an error as each protocol reports it."""

from __future__ import annotations

from typing import Any

from aegisrt.core.result import Error, ErrorCode

_HTTP = {
    ErrorCode.INVALID_ARGUMENT: 400,
    ErrorCode.PERMISSION_DENIED: 403,
    ErrorCode.NOT_FOUND: 404,
    ErrorCode.ALREADY_EXISTS: 409,
    ErrorCode.FAILED_PRECONDITION: 409,
    ErrorCode.RESOURCE_EXHAUSTED: 503,
    ErrorCode.CANCELLED: 503,
    ErrorCode.DATA_LOSS: 500,
    ErrorCode.INTERNAL: 500,
    ErrorCode.UNIMPLEMENTED: 501,
    ErrorCode.NOT_LOADED: 503,
    ErrorCode.UNAVAILABLE: 503,
    ErrorCode.DEADLINE_EXCEEDED: 504,
}
"""CANCELLED is a request that a closing model withdraws: its client is there, and may send it again."""

HTTP_GONE = 499
"""nginx's code for a client that went away; it is only ever logged."""

GRPC_CANCELLED = 1
"""What is logged of a call whose client went away."""

_GRPC = {
    ErrorCode.INVALID_ARGUMENT: 3,
    ErrorCode.DEADLINE_EXCEEDED: 4,
    ErrorCode.NOT_FOUND: 5,
    ErrorCode.ALREADY_EXISTS: 6,
    ErrorCode.PERMISSION_DENIED: 7,
    ErrorCode.RESOURCE_EXHAUSTED: 8,
    ErrorCode.FAILED_PRECONDITION: 9,
    ErrorCode.UNIMPLEMENTED: 12,
    ErrorCode.INTERNAL: 13,
    ErrorCode.CANCELLED: 14,
    ErrorCode.UNAVAILABLE: 14,
    ErrorCode.NOT_LOADED: 14,
    ErrorCode.DATA_LOSS: 15,
}
"""https://grpc.github.io/grpc/core/md_doc_statuscodes.html

CANCELLED is a request that a closing model withdraws: its client is there, and may send it again."""

TOO_MANY_REQUESTS = 429
"""The status of RESOURCE_EXHAUSTED if a queue or a limit is full: the same request succeeds later."""

_PRIVATE = frozenset({ErrorCode.INTERNAL, ErrorCode.DATA_LOSS})
"""Their messages name files of the server, and are for its log."""
_PRIVATE_MESSAGE = "the server failed to answer this request; its log has the cause"


_LONGEST_BYTES = 1024
"""Of a message and of a hint: gRPC's clients refuse a status of more than 8 KiB, and percent-encoding triples it."""


def http_status(code: ErrorCode) -> int:
    """Return the HTTP status of an error code."""
    return _HTTP[code]


def grpc_status(code: ErrorCode) -> int:
    """Return the gRPC status code of an error code."""
    return _GRPC[code]


def public(error: Error) -> Error:
    """Return the error as a client may read it: without the paths and the causes that are for the server's log.

    A message or a hint of more than 1 KiB, because of a name in it, lacks its middle.
    """
    if error.code in _PRIVATE:
        return Error(error.code, _PRIVATE_MESSAGE)
    return Error(error.code, _cut(error.message), None if error.hint is None else _cut(error.hint))


def _cut(message: str) -> str:
    """Return a text of at most 1 KiB in UTF-8; the start and the end of a longer one."""
    encoded = message.encode("utf-8", "replace")
    if len(encoded) <= _LONGEST_BYTES:
        return message
    half = (_LONGEST_BYTES - 8) // 2
    return f"{encoded[:half].decode('utf-8', 'ignore')} ... {encoded[-half:].decode('utf-8', 'ignore')}"


def error_body(error: Error) -> dict[str, Any]:
    """Return the JSON body of an error: `error`, which clients of the protocol read, `code` and `hint`."""
    shown = public(error)
    body: dict[str, Any] = {"error": shown.message, "code": str(shown.code)}
    return body if shown.hint is None else {**body, "hint": shown.hint}
