"""`Service`: what HTTP and gRPC serve: the models of a context, within the limits of its manifest."""

from __future__ import annotations

import asyncio
from typing import Any

from aegisrt import __version__
from aegisrt.core.result import Err, Error, ErrorCode, Ok, Result
from aegisrt.core.suggest import quoted, suggest
from aegisrt.manifest.server import ServerOptions
from aegisrt.runtime.context import ExecutionContext
from aegisrt.serving.endpoint import ModelEndpoint, endpoints
from aegisrt.serving.limits import InFlight
from aegisrt.serving.mailbox import Mailbox
from aegisrt.serving.protocol.description import index_entry, server_metadata
from aegisrt.serving.traffic import Traffic


class Service:
    """The models of one context. It belongs to one event loop; `is_ready` and `context` may be read in any thread."""

    def __init__(
        self, context: ExecutionContext, loop: asyncio.AbstractEventLoop, options: ServerOptions | None = None
    ) -> None:
        """`options` are those of the manifest if left out. Raise ResultError as `endpoints` answers."""
        self.context = context
        self.options: ServerOptions = options or context.graph.manifest.server
        self.in_flight = InFlight(self.options.limits)
        self.traffic = Traffic()
        self.is_draining = False
        """Whether the server is about to end: it is not ready, and still answers."""
        self._endpoints = endpoints(context, Mailbox(loop)).unwrap()

    @property
    def models(self) -> tuple[ModelEndpoint, ...]:
        """The models, each once, in manifest order."""
        return tuple(dict.fromkeys(self._endpoints.values()))

    @property
    def is_ready(self) -> bool:
        """Whether the models that the manifest asks for are loaded, and the server is not about to end."""
        ready = {endpoint.model: endpoint.is_ready for endpoint in self.models}
        wanted = self.options.ready
        if self.is_draining:
            return False
        if wanted == "any":
            return any(ready.values())
        return all(ready.values() if wanted == "all" else (ready.get(name, False) for name in wanted))

    def model(self, name: str, version: str = "") -> Result[ModelEndpoint]:
        """Return a model by its name; an empty version is the one that is served.

        NOT_FOUND: if there is no such model or version.
        """
        endpoint = self._endpoints.get(name)
        if endpoint is None:
            is_secret = self.options.auth is not None and "metadata" in self.options.auth.protect
            hint = None if is_secret else suggest(name, list(self._endpoints), "models")
            return Err(Error(ErrorCode.NOT_FOUND, f"{quoted(name)} is not a model of this server", hint))
        if version not in ("", endpoint.version):
            message = f"model {quoted(name)} has no version {quoted(version)}"
            return Err(Error(ErrorCode.NOT_FOUND, message, f"versions are {endpoint.version}"))
        return Ok(endpoint)

    def metadata(self) -> dict[str, Any]:
        """Return the metadata of the server."""
        return server_metadata(__version__)

    def index(self, *, ready: bool = False) -> list[dict[str, str]]:
        """Return the repository index; with `ready` only models that are loaded."""
        entries = [index_entry(one.name, one.version, ready=one.is_ready) for one in self.models]
        return [entry for entry in entries if entry["state"] == "READY"] if ready else entries

    def statistics(self, name: str = "", version: str = "") -> Result[dict[str, Any]]:
        """Return the statistics of one model, or of all without a name; the errors of `model`."""
        if not name:
            return Ok({"model_stats": [endpoint.statistics() for endpoint in self.models]})
        found = self.model(name, version)
        return found if isinstance(found, Err) else Ok({"model_stats": [found.value.statistics()]})
