"""`decompressed`, `compressed`: bodies in gzip and deflate, within a limit.

`deflate` is a zlib stream (https://www.rfc-editor.org/rfc/rfc9110#name-deflate-coding); a raw one, which some clients
send, is accepted too.
"""

from __future__ import annotations

import zlib

from aegisrt.core.result import ErrorCode, fail
from aegisrt.core.suggest import quoted

_GZIP, _ZLIB, _RAW = 31, 15, -15
"""zlib's `wbits`."""
MOST_LEVEL = 1
"""Tensors gain little from a higher level, and it costs much more time."""


class BodyTooLargeError(Exception):
    """A body is larger than the limit once it is decompressed."""


def decompressed(body: bytes, encoding: str, limit: int) -> bytes:
    """Return a body without its `Content-Encoding`; at most `limit` bytes are made, whatever the body claims.

    INVALID_ARGUMENT: if it is cut short or damaged, has anything behind its end, or the encoding is another one.
    BodyTooLargeError: if it is larger than `limit`.
    """
    name = encoding.strip().lower()
    if name in ("", "identity"):
        return body
    if name not in ("gzip", "x-gzip", "deflate"):
        message = f"the body has the encoding {quoted(encoding)}"
        raise fail(ErrorCode.INVALID_ARGUMENT, message, "send it in gzip or deflate, or without an encoding")
    window = _GZIP if name != "deflate" else _ZLIB if _is_zlib(body) else _RAW
    reader = zlib.decompressobj(window)
    try:
        content = reader.decompress(body, limit + 1)
    except zlib.error as error:
        raise fail(ErrorCode.INVALID_ARGUMENT, f"the body is not {name}: {error}") from None
    if len(content) > limit:
        raise BodyTooLargeError
    if not reader.eof or reader.unused_data:
        problem = "has bytes behind its end" if reader.eof else "is cut short"
        raise fail(ErrorCode.INVALID_ARGUMENT, f"the {name} body {problem}")
    return content


def _is_zlib(body: bytes) -> bool:
    return len(body) >= 2 and body[0] & 0x0F == 8 and (body[0] << 8 | body[1]) % 31 == 0


def accepted(header: str) -> str | None:
    """Return the encoding of an answer that an `Accept-Encoding` header prefers: gzip, deflate or None."""
    weights: dict[str, float] = {}
    for item in header.split(","):
        name, _, parameter = item.strip().partition(";")
        try:
            weights[name.strip().lower()] = float(parameter.strip().removeprefix("q=") or 1)
        except ValueError:
            continue
    best = max(("gzip", "deflate"), key=lambda name: weights.get(name, weights.get("*", 0)))
    return best if weights.get(best, weights.get("*", 0)) > 0 else None


def compressed(body: bytes, encoding: str) -> bytes:
    """Return a body in gzip or deflate."""
    writer = zlib.compressobj(MOST_LEVEL, wbits=_GZIP if encoding == "gzip" else _ZLIB)
    return writer.compress(body) + writer.flush()
