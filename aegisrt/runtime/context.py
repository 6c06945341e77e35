"""`ExecutionContext`: the running models of a deployment."""

from __future__ import annotations

from types import TracebackType
from typing import Any

from aegisrt.backends.base import RuntimeBackend, not_a_request
from aegisrt.core.request import ExecutionRequest, ExecutionResult
from aegisrt.core.result import Err, Error, ErrorCode, Ok, Result
from aegisrt.core.tensor import Signature, did_you_mean
from aegisrt.graph.nodes import Graph


class ExecutionContext:
    """Owns the loaded backends of one graph, and dispatches requests to them. Thread-safe; close it, or use `with`."""

    def __init__(self, graph: Graph, backends: dict[str, RuntimeBackend[Any]]) -> None:
        self.graph = graph
        self._backends = backends
        self._only = next(iter(backends.values())) if len(backends) == 1 else None

    @property
    def models(self) -> tuple[str, ...]:
        """The names of the models, in manifest order."""
        return tuple(self._backends)

    def signature(self, model: str) -> Signature | None:
        """Return the inputs and outputs of a model, or None for one that is unknown or unloaded."""
        backend = self._backends.get(model)
        return backend.signature if backend else None

    def execute(self, request: ExecutionRequest) -> Result[ExecutionResult]:
        """Return the outputs of one call of one model.

        NOT_FOUND for an unknown model; INVALID_ARGUMENT where the request names none and there are several;
        NOT_LOADED after `close()`; else as `RuntimeBackend.execute`.
        """
        try:
            name = request.model
            backend = self._only if name is None else self._backends.get(name)
        except (AttributeError, TypeError):
            return _undispatchable(request)
        if backend is None:
            return self._no_model(name)
        return backend.execute(request)

    def close(self) -> Result[None]:
        """Return Ok when every model is unloaded; waits for the calls that are running, and may be called again."""
        problems = [error for backend in self._backends.values() if isinstance(error := backend.unload(), Err)]
        return problems[0] if problems else Ok(None)

    def __enter__(self) -> ExecutionContext:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _no_model(self, name: str | None) -> Err:
        known = list(self._backends)
        if name is not None:
            hint = did_you_mean(str(name), known, "models")
            return Err(Error(ErrorCode.NOT_FOUND, f"`{name}` is not a model of this deployment", hint))
        if not known:
            return Err(
                Error(ErrorCode.NOT_FOUND, "this deployment has no models", "add one with `+models.NAME.path=...`")
            )
        message = "the request names no model, and this deployment has several"
        return Err(Error(ErrorCode.INVALID_ARGUMENT, message, f"set `model` to one of {', '.join(known)}"))


def _undispatchable(request: Any) -> Err:
    if isinstance(request, ExecutionRequest):
        message = f"`model` of the request is a {type(request.model).__name__}, not the name of a model"
        return Err(Error(ErrorCode.INVALID_ARGUMENT, message, "give it as text"))
    return not_a_request(request)
