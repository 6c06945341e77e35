"""`Handlers`: the calls of the protocol that need no tensors."""

from __future__ import annotations

from collections.abc import Callable

from aegisrt.core.result import Err, ErrorCode, Result, fail
from aegisrt.serving.endpoint import ModelEndpoint
from aegisrt.serving.http.answer import METRICS, HttpAnswer, error_answer, json_answer
from aegisrt.serving.http.routes import Action, Route
from aegisrt.serving.metrics import metrics_text
from aegisrt.serving.protocol.http_request import json_object
from aegisrt.serving.protocol.parameters import check_change
from aegisrt.serving.service import Service


class Handlers:
    """Answers everything but inference, for one service. It belongs to the loop's thread."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._by_action: dict[Action, Callable[[Route, bytes], HttpAnswer]] = {
            "live": lambda _route, _body: json_answer({"live": True}),
            "ready": self._ready,
            "server": lambda _route, _body: json_answer(service.metadata()),
            "index": self._index,
            "statistics": self._statistics,
            "model_statistics": self._statistics,
            "model": lambda route, _body: json_answer(self._model(route).metadata()),
            "model_ready": self._model_ready,
            "model_config": lambda route, _body: json_answer(self._model(route).config()),
            "regions": lambda _route, _body: json_answer([]),
            "unregister": lambda _route, _body: json_answer({}),
            "register": _no_shared_memory,
            "metrics": lambda _route, _body: HttpAnswer(200, [METRICS], metrics_text(service)),
        }

    def __call__(self, route: Route, body: bytes) -> HttpAnswer:
        """Return the answer; raise ResultError for a request that fails."""
        return self._by_action[route.action](route, body)

    def _model(self, route: Route) -> ModelEndpoint:
        return self._service.model(route.model, route.version).unwrap()

    def _ready(self, _route: Route, _body: bytes) -> HttpAnswer:
        ready = self._service.is_ready
        return json_answer({"ready": ready}, 200 if ready else 503)

    def _model_ready(self, route: Route, _body: bytes) -> HttpAnswer:
        endpoint = self._model(route)
        return json_answer({"name": route.model, "ready": endpoint.is_ready}, 200 if endpoint.is_ready else 503)

    def _index(self, _route: Route, body: bytes) -> HttpAnswer:
        return json_answer(self._service.index(ready=json_object(body).get("ready") is True))

    def _statistics(self, route: Route, _body: bytes) -> HttpAnswer:
        return _json_of(self._service.statistics(route.model, route.version))

    async def change(self, route: Route, body: bytes) -> HttpAnswer:
        """Load or unload a model; raise ResultError if that fails."""
        check_change(json_object(body).get("parameters") or {})
        await self._model(route).change("load" if route.action == "load" else "unload")
        return json_answer({})


def _json_of(result: Result[object]) -> HttpAnswer:
    return error_answer(result.error) if isinstance(result, Err) else json_answer(result.value)


def _no_shared_memory(_route: Route, _body: bytes) -> HttpAnswer:
    raise fail(ErrorCode.UNIMPLEMENTED, "shared memory is not enabled", "send the tensors in the requests")
