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

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from aegisrt.core.result import ErrorCode, fail
from aegisrt.core.system_error import system_error
from aegisrt.manifest.server import HttpOptions, split_address
from aegisrt.serving.http.connection import Connections, HttpConnection

_BACKLOG = 2048
_CUT_S = 1.0
"""How long the clients of requests that are cut off have for reading that."""
_STEP_S = 0.02


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

    async def drain(self, timeout_s: float) -> bool:
        """Wait until all answers are sent, at most `timeout_s`; cut off what is left, and return whether nothing was.

        A request that is cut off is answered 503 if its client reads that within a second.
        """
        loop = asyncio.get_running_loop()
        state = self.connections.state
        until = loop.time() + timeout_s
        while state.tasks and loop.time() < until:
            await asyncio.wait(set(state.tasks), timeout=until - loop.time())
        late = set(state.tasks)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late, timeout=_CUT_S)
        for connection in list(state.connections):
            if isinstance(connection, HttpConnection) and not connection.transport.is_closing():
                connection.transport.close()
        until = max(until, loop.time() + _CUT_S)
        await asyncio.sleep(0)
        while (unread := self._unread()) and loop.time() < until:
            await asyncio.sleep(_STEP_S)
        for connection in list(state.connections):
            connection.transport.abort()  # such as one whose client does not answer the end of TLS
        await asyncio.sleep(0)
        return not late and not unread

    def _unread(self) -> int:
        """Return how many connections have a part of an answer that is not sent."""
        connections = self.connections.state.connections
        return sum(connection.transport.get_write_buffer_size() > 0 for connection in connections)


async def listen(app: Any, options: HttpOptions, tls: ssl.SSLContext | None = None) -> HttpListener:
    """Return a listener of an ASGI application; `options.listen` is not None.

    ALREADY_EXISTS: if the port or the socket is in use.
    PERMISSION_DENIED: if this process may not listen there.
    UNAVAILABLE: if the address is not one of this machine.
    """
    assert options.listen is not None
    connections = Connections(options, _uvicorn_config(app, options))
    sock = open_socket(options.listen)
    loop = asyncio.get_running_loop()
    if sock.family == socket.AF_UNIX:
        server = await loop.create_unix_server(connections.factory(), sock=sock, ssl=tls, backlog=_BACKLOG)
        return HttpListener(options.listen, server, connections)
    server = await loop.create_server(connections.factory(), sock=sock, ssl=tls, backlog=_BACKLOG)
    host, port = sock.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    return HttpListener(f"{'http' if tls is None else 'https'}://{shown}:{port}", server, connections)


def _uvicorn_config(app: Any, options: HttpOptions) -> Config:
    """Return uvicorn's configuration of connections: no logs, no proxies, no WebSockets."""
    config = Config(
        app,
        http=HttpToolsProtocol,
        interface="asgi3",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
    )
    config.timeout_keep_alive = options.idle_timeout_s  # type: ignore[assignment]
    config.load()
    return config


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
