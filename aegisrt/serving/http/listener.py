"""`listen`: a socket that accepts connections of HTTP."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aegisrt.core.result import ErrorCode, fail
from aegisrt.core.system_error import system_error
from aegisrt.manifest.server import HttpOptions, split_address
from aegisrt.serving.http.connection import Connections, HttpConnection, uvicorn_config

_BACKLOG = 2048


@dataclass(slots=True)
class HttpListener:
    """A running listener."""

    address: str
    """As clients write it: `http://127.0.0.1:8000` or `unix:/path`."""
    server: asyncio.AbstractServer
    connections: Connections

    def stop_accepting(self) -> None:
        """Accept no connections any more, and close each one after its current answer."""
        self.server.close()
        for connection in list(self.connections.state.connections):
            connection.shutdown()

    async def drain(self, timeout_s: float) -> None:
        """Wait until all requests are answered, at most `timeout_s`; then cancel and close what is left."""
        tasks = set(self.connections.state.tasks)
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=timeout_s)
            for task in late:
                task.cancel()
        for connection in list(self.connections.state.connections):
            if isinstance(connection, HttpConnection) and not connection.transport.is_closing():
                connection.transport.close()
        await asyncio.sleep(0)


async def listen(app: Any, options: HttpOptions, tls: ssl.SSLContext | None = None) -> HttpListener:
    """Return a listener of an ASGI application; `options.listen` is not None.

    ALREADY_EXISTS: if the port or the socket is in use.
    PERMISSION_DENIED: if this process may not listen there.
    UNAVAILABLE: if the address is not one of this machine.
    """
    assert options.listen is not None
    connections = Connections(options, uvicorn_config(app, options))
    sock = open_socket(options.listen)
    loop = asyncio.get_running_loop()
    if sock.family == socket.AF_UNIX:
        server = await loop.create_unix_server(connections.factory(), sock=sock, ssl=tls, backlog=_BACKLOG)
        return HttpListener(options.listen, server, connections)
    server = await loop.create_server(connections.factory(), sock=sock, ssl=tls, backlog=_BACKLOG)
    host, port = sock.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    return HttpListener(f"{'http' if tls is None else 'https'}://{shown}:{port}", server, connections)


def open_socket(listen: str) -> socket.socket:
    """Return a bound socket of `host:port` or `unix:/path`; the errors of `listen`."""
    try:
        return _unix_socket(Path(listen.removeprefix("unix:"))) if listen.startswith("unix:") else _tcp_socket(listen)
    except OSError as error:
        if error.errno in (98, 48):  # EADDRINUSE on Linux and on macOS
            message = f"{listen} is in use"
            hint = "end the program that listens there, or listen elsewhere: server.http.listen=127.0.0.1:0"
            raise fail(ErrorCode.ALREADY_EXISTS, message, hint) from None
        raise system_error(error, f"cannot listen on {listen}", otherwise=ErrorCode.UNAVAILABLE) from None


def _tcp_socket(listen: str) -> socket.socket:
    host, port = split_address(listen)
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.bind(address)
    except OSError:
        sock.close()
        raise
    return sock


def _unix_socket(path: Path) -> socket.socket:
    """Bind a Unix socket that this user alone may use; a socket that nothing listens on any more is replaced."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if path.exists() and stat.S_ISSOCK(path.lstat().st_mode) and not is_answered(path):
            path.unlink()
        before = os.umask(0o177)
        try:
            sock.bind(str(path))
        finally:
            os.umask(before)
    except OSError:
        sock.close()
        raise
    return sock


def is_answered(path: Path) -> bool:
    """Return whether a program listens on a Unix socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        return True
