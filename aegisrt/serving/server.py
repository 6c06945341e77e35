"""`Server`: the listeners of one deployment, from the first request to the last."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine
from typing import Any

from aegisrt.core.result import ResultError
from aegisrt.manifest.server import ServerOptions
from aegisrt.runtime.context import ExecutionContext
from aegisrt.serving.grpc.listener import GrpcListener, listen_grpc
from aegisrt.serving.http.application import HttpApplication
from aegisrt.serving.http.listener import HttpListener, listen
from aegisrt.serving.monitoring import Heart, MonitoringServer
from aegisrt.serving.service import Service
from aegisrt.serving.tls import TlsFiles

_TLS_CHECK_S = 1.0
Report = Callable[[str], None]
"""Prints one line."""


class Server:
    """Serves a context until a signal or `stop` ends it. All methods belong to the loop's thread."""

    def __init__(self, context: ExecutionContext, report: Report, options: ServerOptions | None = None) -> None:
        """`report` gets one line a listener, and then `ready`; `options` are those of the manifest if left out.

        Raise ResultError if the options cannot be served.
        """
        self._loop = asyncio.get_running_loop()
        self.service = Service(context, self._loop, options)
        self._options: ServerOptions = self.service.options
        self._report = report
        self._tls = TlsFiles(self._options.tls) if self._options.tls else None
        self._heart = Heart(self._loop)
        self._monitor = MonitoringServer(self.service, self._heart) if self._options.metrics.listen else None
        self._http: HttpListener | None = None
        self._grpc: GrpcListener | None = None
        self._stop = asyncio.Event()
        self._signals = 0
        self._tls_timer: asyncio.TimerHandle | None = None

    async def start(self) -> dict[str, str]:
        """Listen, and return the address of each listener by name; on an error nothing listens any more.

        ResultError: the errors of `listen`.
        """
        addresses: dict[str, str] = {}
        try:
            if self._options.http.listen is not None:
                application = HttpApplication(self.service)
                self._http = await listen(application, self._options.http, self._tls.context if self._tls else None)
                addresses["http"] = self._http.address
            if self._options.grpc.listen is not None:
                self._grpc = await listen_grpc(self.service, self._options, self._tls)
                addresses["grpc"] = self._grpc.address
            if self._monitor is not None:
                addresses["metrics"] = self._monitor.start()
        except ResultError:
            await self._close_listeners(0.0)
            raise
        self._heart.start()
        if self._tls is not None:
            self._refresh_tls()
        return addresses

    async def serve(self) -> bool:
        """Serve until SIGTERM or SIGINT, and drain; return whether every request was answered."""
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._signaled)
        self._loop.add_signal_handler(signal.SIGHUP, self._report, "SIGHUP ignored: this server cannot reload")
        try:
            addresses = await self.start()
            for name, address in addresses.items():
                self._report(f"{name} {address}")
            self._report("ready")
            await self._stop.wait()
            return await self._end()
        finally:
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                self._loop.remove_signal_handler(number)

    async def stop(self, timeout_s: float = 0.0) -> None:
        """Accept nothing any more, answer what is there within `timeout_s`, and close the listeners."""
        self.service.is_draining = True
        await self._close_listeners(timeout_s)

    def _signaled(self) -> None:
        """Drain at the first signal; end at the second."""
        self._signals += 1
        self.service.is_draining = True
        self._stop.set()

    async def _end(self) -> bool:
        shutdown = self._options.shutdown
        await self._wait(shutdown.drain_delay_s)
        closing = asyncio.ensure_future(self._close_listeners(shutdown.timeout_s))
        while self._signals < 2:
            done, _ = await asyncio.wait((closing,), timeout=0.1)
            if done:
                return closing.result() and self.service.in_flight.requests == 0
        closing.cancel()
        await self._close_listeners(0.0)
        return False

    async def _wait(self, seconds: float) -> None:
        """Wait, but not beyond a second signal."""
        until = self._loop.time() + seconds
        while self._loop.time() < until and self._signals < 2:
            await asyncio.sleep(min(0.1, until - self._loop.time()))

    async def _close_listeners(self, timeout_s: float) -> bool:
        """Drain and close all listeners; return whether nothing was cut off."""
        if self._tls_timer is not None:
            self._tls_timer.cancel()
        closing: list[Coroutine[Any, Any, bool | None]] = []
        if self._http is not None:
            self._http.stop_accepting()
            closing.append(self._http.drain(timeout_s))
        if self._grpc is not None:
            closing.append(self._grpc.drain(timeout_s))
        drained = await asyncio.gather(*closing)
        self._heart.stop()
        if self._monitor is not None:
            self._monitor.stop()
            self._monitor = None
        return False not in drained

    def _refresh_tls(self) -> None:
        assert self._tls is not None
        if self._tls.refresh():
            self._report("certificate loaded again")
        self._tls_timer = self._loop.call_later(_TLS_CHECK_S, self._refresh_tls)
