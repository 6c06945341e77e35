"""`listen_grpc`: a server of gRPC; the only importer of grpcio beside `handlers`."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from pathlib import Path

import grpc
import grpc.aio

from aegisrt.core.result import ErrorCode, fail
from aegisrt.manifest.server import GrpcOptions, ServerOptions, split_address
from aegisrt.serving.grpc.calls import GrpcCalls
from aegisrt.serving.grpc.handlers import service_handlers
from aegisrt.serving.http.listener import is_answered
from aegisrt.serving.service import Service
from aegisrt.serving.tls import TlsFiles

_MS = 1000
_AGE_GRACE_S = 30
_MOST_OTHER_CALLS = 128
"""Beside twice the requests in flight, so that `InFlight` refuses first, with a time, and probes are answered."""


@dataclass(slots=True)
class GrpcListener:
    """A running server."""

    address: str
    """As clients write it: `127.0.0.1:8001` or `unix:/path`."""
    server: grpc.aio.Server

    async def drain(self, timeout_s: float) -> None:
        """Accept no calls any more (GOAWAY), and wait for the accepted ones, at most `timeout_s`."""
        await self.server.stop(timeout_s)


async def listen_grpc(service: Service, options: ServerOptions, tls: TlsFiles | None) -> GrpcListener:
    """Return a server of a service; `options.grpc.listen` is not None.

    ALREADY_EXISTS: if the port is in use.
    UNAVAILABLE: if it cannot listen there.
    """
    listen = options.grpc.listen
    assert listen is not None
    if listen.startswith("unix:") and _in_use(listen):  # gRPC would take the socket of a server that runs
        raise _not_listening(listen, "a server answers there")
    handlers = service_handlers(GrpcCalls(service))
    most = 2 * options.limits.requests_in_flight + _MOST_OTHER_CALLS
    server = grpc.aio.server(options=_channel_options(options.grpc), maximum_concurrent_rpcs=most)
    server.add_generic_rpc_handlers(handlers)
    try:
        port = _add_port(server, listen, tls)
        if not listen.startswith("unix:") and not port:
            raise RuntimeError("the port cannot be bound")
        await server.start()
    except RuntimeError as error:
        await server.stop(0)
        raise _not_listening(listen, str(error)) from None
    if listen.startswith("unix:"):
        return GrpcListener(listen, server)
    host = split_address(listen)[0]
    return GrpcListener(f"[{host}]:{port}" if ":" in host else f"{host}:{port}", server)


def _add_port(server: grpc.aio.Server, listen: str, tls: TlsFiles | None) -> int:
    """Bind; a Unix socket is this user's alone."""
    before = os.umask(0o177) if listen.startswith("unix:") else None
    try:
        return server.add_insecure_port(listen) if tls is None else server.add_secure_port(listen, _credentials(tls))
    finally:
        if before is not None:
            os.umask(before)


def _channel_options(options: GrpcOptions) -> list[tuple[str, int]]:
    """Return the options of https://grpc.github.io/grpc/core/group__grpc__arg__keys.html."""
    found = {
        "grpc.max_receive_message_length": options.max_message_bytes,
        "grpc.max_send_message_length": -1,
        "grpc.max_concurrent_streams": options.max_streams,
        "grpc.so_reuseport": 0,
        "grpc.keepalive_time_ms": int(options.keepalive_time_s * _MS),
        "grpc.http2.min_recv_ping_interval_without_data_ms": int(options.min_ping_interval_s * _MS),
    }
    if options.max_connection_age_s is not None:
        found["grpc.max_connection_age_ms"] = int(options.max_connection_age_s * _MS)
        found["grpc.max_connection_age_grace_ms"] = _AGE_GRACE_S * _MS
    return list(found.items())


def _credentials(tls: TlsFiles) -> grpc.ServerCredentials:
    """Return credentials that read the files again for each connection."""

    def configuration() -> grpc.ServerCertificateConfiguration:
        certificate, key, authorities = tls.content()
        return grpc.ssl_server_certificate_configuration([(key, certificate)], authorities)

    has_clients = tls.content()[2] is not None
    return grpc.dynamic_ssl_server_credentials(configuration(), configuration, has_clients)


def _not_listening(listen: str, cause: str) -> Exception:
    if _in_use(listen):
        hint = "end the program that listens there, or listen elsewhere: server.grpc.listen=127.0.0.1:0"
        return fail(ErrorCode.ALREADY_EXISTS, f"{listen} is in use", hint, cause=cause)
    return fail(ErrorCode.UNAVAILABLE, f"cannot listen on {listen}", cause=cause)


def _in_use(listen: str) -> bool:
    if listen.startswith("unix:"):
        return is_answered(Path(listen.removeprefix("unix:")))
    try:
        with socket.create_connection(split_address(listen), timeout=1):
            return True
    except OSError:
        return False
