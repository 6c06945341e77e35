"""`MonitoringServer`: metrics and health, on a loop in a thread of its own that a blocked server does not block."""

from __future__ import annotations

import asyncio
import threading
from time import monotonic
from typing import Any

from aegisrt.core.result import Error, ErrorCode
from aegisrt.manifest.server import HttpOptions, ServerOptions
from aegisrt.serving.http.answer import METRICS, HttpAnswer, error_answer, json_answer
from aegisrt.serving.http.gate import Gate
from aegisrt.serving.http.listener import HttpListener, listen
from aegisrt.serving.metrics import metrics_text
from aegisrt.serving.service import Service
from aegisrt.serving.tokens import TokenFile

_BEAT_S = 1.0
STUCK_S = 10.0
"""A loop that has not run for this long is blocked, for example by an engine that does not return."""
_CONNECTIONS = 64


class Heart:
    """Beats in the server's loop; any thread may ask whether it does."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._beaten = monotonic()
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Beat once a second from now on."""
        self._beaten = monotonic()
        self._timer = self._loop.call_later(_BEAT_S, self.start)

    def stop(self) -> None:
        """Beat no more."""
        if self._timer is not None:
            self._timer.cancel()

    @property
    def is_alive(self) -> bool:
        """Whether the loop ran within the last seconds."""
        return monotonic() - self._beaten < STUCK_S


class MonitoringServer:
    """Serves `/metrics`, `/v2/health/live` and `/v2/health/ready` in a thread of its own."""

    def __init__(self, service: Service, heart: Heart) -> None:
        """Raise ResultError if the file of tokens cannot be read."""
        options: ServerOptions = service.options
        self._service = service
        self._heart = heart
        protected = options.auth is not None and "metrics" in options.auth.protect
        self._tokens = TokenFile(options.auth.token_file) if options.auth and protected else None
        self._gate = Gate(options, listen=options.metrics.listen)
        self._options = HttpOptions(listen=options.metrics.listen, max_connections=_CONNECTIONS)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._listener: HttpListener | None = None

    def start(self) -> str:
        """Listen, and return the address; raise ResultError as `listen` does."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="aegisrt-monitor", daemon=True)
        self._thread.start()
        listening = asyncio.run_coroutine_threadsafe(listen(self._application, self._options), self._loop)
        try:
            self._listener = listening.result()
        except BaseException:
            self.stop()
            raise
        return self._listener.address

    def stop(self) -> None:
        """Close the listener, and end the thread; do nothing if it does not run."""
        if self._loop is None or self._thread is None:
            return
        if self._listener is not None:
            asyncio.run_coroutine_threadsafe(self._close(self._listener), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._loop = None

    @staticmethod
    async def _close(listener: HttpListener) -> None:
        listener.stop_accepting()
        await listener.drain(1.0)

    async def _application(self, scope: Any, receive: Any, send: Any) -> None:
        answer = self._answer(scope["method"], scope["path"], dict(scope["headers"]))
        headers = [*answer.headers, (b"content-length", b"%d" % len(answer.body))]
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else answer.body})

    def _answer(self, method: str, path: str, headers: dict[bytes, bytes]) -> HttpAnswer:
        if method not in ("GET", "HEAD"):
            error = Error(ErrorCode.INVALID_ARGUMENT, f"{method} is not a method of this path")
            return error_answer(error, 405, (b"allow", b"GET, HEAD"))
        refused = self._gate.wrong_site(headers)
        if refused is not None:
            return refused
        if path == "/v2/health/live":
            return json_answer({"live": self._heart.is_alive}, 200 if self._heart.is_alive else 503)
        if path == "/v2/health/ready":
            ready = self._heart.is_alive and self._service.is_ready
            return json_answer({"ready": ready}, 200 if ready else 503)
        if path == "/metrics":
            if self._tokens is not None and not self._tokens.accepts(headers.get(b"authorization")):
                error = Error(ErrorCode.PERMISSION_DENIED, "a valid token is missing")
                return error_answer(error, 401, (b"www-authenticate", b"Bearer"))
            return HttpAnswer(200, [METRICS], metrics_text(self._service))
        return error_answer(Error(ErrorCode.NOT_FOUND, "there is no such path", "see /metrics and /v2/health/live"))
