"""`AccessLog`: a line for each request, or for each that failed, to stderr."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from aegisrt.core.result import Error
from aegisrt.core.suggest import escaped
from aegisrt.manifest.server import ServerLogOptions

_TRACE = re.compile(rb"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")
"""https://www.w3.org/TR/trace-context/#traceparent-header"""
_LONGEST = 256
_LONGEST_ERROR = 1024


class AccessLog:
    """Writes what the options ask for; a closed stderr ends nothing."""

    def __init__(self, options: ServerLogOptions) -> None:
        self._access = options.access
        self._json = options.format == "json"

    def http(
        self, scope: Any, model: str, status: int, error: Error | None, size: int, elapsed_ns: int, trace: bytes | None
    ) -> None:
        """Write the line of one HTTP request; `scope` is ASGI's, and `trace` its header `traceparent`."""
        if not self._wants(failed=status >= 400):
            return
        client = scope.get("client")
        entry = {"protocol": "http", "method": scope["method"], "path": scope["path"][:_LONGEST], "model": model}
        entry["client"] = client[0] if client else ""
        self._emit(entry, status, error, size, elapsed_ns, trace)

    def grpc(
        self,
        method: str,
        peer: Callable[[], str],
        status: int,
        error: Error | None,
        size: int,
        elapsed_ns: int,
        trace: Callable[[], str | None],
    ) -> None:
        """Write the line of one gRPC call."""
        if not self._wants(failed=status != 0):
            return
        traced = trace()
        entry = {"protocol": "grpc", "method": method, "client": peer()}
        self._emit(entry, status, error, size, elapsed_ns, traced.encode() if traced else None)

    def _wants(self, *, failed: bool) -> bool:
        return self._access == "all" or (failed and self._access == "errors")

    def _emit(
        self, request: dict[str, str], status: int, error: Error | None, size: int, elapsed_ns: int, trace: bytes | None
    ) -> None:
        traced = _TRACE.fullmatch(trace or b"")
        entry: dict[str, Any] = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            **{key: value[:_LONGEST] for key, value in request.items() if value},
            "status": status,
            "code": "OK" if error is None else str(error.code),
            "bytes": size,
            "ms": round(elapsed_ns / 1e6, 3),
        }
        if traced is not None:
            entry["trace_id"] = traced[1].decode()
        if error is not None:
            entry["error"] = error.message[:_LONGEST_ERROR]
            if error.cause:
                entry["cause"] = error.cause[:_LONGEST_ERROR]
        self._write(entry)

    def _write(self, entry: dict[str, Any]) -> None:
        if self._json:
            line = json.dumps(entry)
        else:
            line = " ".join(f"{key}={_word(str(value))}" for key, value in entry.items() if value is not None)
        try:
            sys.stderr.write(line + "\n")
        except (OSError, ValueError):  # closed
            return


def _word(text: str) -> str:
    """Return a value as one word: in quotes, as JSON writes it, if a reader could take it for several fields."""
    is_plain = text and not any(char.isspace() or char in '="' for char in text)
    return escaped(text) if is_plain else json.dumps(text)
