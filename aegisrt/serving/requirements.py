"""The packages that serving needs: the extra `serve`."""

from __future__ import annotations

from aegisrt.core.optional import Requirement

_EXTRA = "serve"
SERVER = (
    Requirement("msgspec", ("msgspec",), _EXTRA, minimum=(0, 19)),
    Requirement("httptools", ("httptools",), _EXTRA),
    Requirement("uvloop", ("uvloop",), _EXTRA),
    Requirement("uvicorn", ("uvicorn",), _EXTRA),
    Requirement("grpc", ("grpcio",), _EXTRA),
    Requirement("prometheus_client", ("prometheus-client",), _EXTRA),
)
