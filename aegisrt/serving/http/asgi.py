"""`asgi`: a running deployment as an ASGI application, to mount or to run under any ASGI server."""

from __future__ import annotations

import asyncio
from typing import Any

from aegisrt.core.optional import require
from aegisrt.core.result import Err, ResultError
from aegisrt.runtime.context import ExecutionContext
from aegisrt.serving.requirements import SERVER


def asgi(context: ExecutionContext) -> AsgiApplication:
    """Return an ASGI application that serves the context: the Open Inference Protocol and `/metrics`.

    Tokens, limits and origins are those of the manifest's `server` section; its listeners and `hosts` are not used: the
    server that runs the application checks `Host`, since it knows its names. The
    application's lifespan closes the context when the server ends; mounted in another application, which keeps the
    lifespan to itself, close the context yourself.

        from aegisrt import asgi, deploy
        app = asgi(deploy("deploy.yaml").unwrap())

    UNAVAILABLE: if the extra `serve` is not installed.
    """
    require(SERVER[0])
    return AsgiApplication(context)


class AsgiApplication:
    """Serves one context in the event loop of its first request."""

    def __init__(self, context: ExecutionContext) -> None:
        self._context = context
        self._application: Any = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer an HTTP request, or follow the lifespan; refuse a WebSocket."""
        if scope["type"] == "http":
            await self._served()(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._live(receive, send)
        else:
            await receive()
            await send({"type": "websocket.close", "code": 1003})

    def _served(self) -> Any:
        if self._application is None:
            from aegisrt.serving.http.application import HttpApplication
            from aegisrt.serving.service import Service

            service = Service(self._context, asyncio.get_running_loop())
            self._application = HttpApplication(service, mounted=True)
        return self._application

    async def _live(self, receive: Any, send: Any) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                try:
                    self._served()
                except ResultError as failure:
                    await send({"type": "lifespan.startup.failed", "message": str(failure)})
                    return
                await send({"type": "lifespan.startup.complete"})
            else:
                closed = await asyncio.to_thread(self._context.close)
                text = str(closed.error) if isinstance(closed, Err) else ""
                failed = {"type": "lifespan.shutdown.failed", "message": text}
                await send(failed if text else {"type": "lifespan.shutdown.complete"})
                return
