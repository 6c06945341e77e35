"""`ModelTable`: the models of a context by name; each may be loaded again, or unloaded."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from time import perf_counter_ns
from typing import TypeAlias

from aegisrt.core.result import Err, Error, ErrorCode, Result
from aegisrt.core.suggest import suggest
from aegisrt.graph.nodes import Graph
from aegisrt.runtime.building.built import BuiltBackends
from aegisrt.runtime.executable import Executable
from aegisrt.runtime.scheduling.deadlines import DeadlineWatch
from aegisrt.runtime.served import ServedModel

Rebuild: TypeAlias = Callable[[str], Result[BuiltBackends]]
"""Builds and loads one model of a graph again, by its name."""


class ModelTable:
    """What requests reach by name. Requests read it without a lock; a change replaces one entry."""

    def __init__(self, graph: Graph, backends: BuiltBackends, rebuild: Rebuild | None) -> None:
        self._graph = graph
        self._rebuild = rebuild
        self._changing = threading.Lock()
        """Held while a model is loaded or unloaded."""
        self._ending = threading.RLock()
        """Held for a moment, when an entry is replaced and when `close` begins: no model is added after that."""
        self._earlier_calls: dict[str, int] = {}
        """Calls of the engine before a model was loaded again, by name."""
        self._watch = DeadlineWatch()
        self._served = {name: self._serve(name, backends) for name in backends}
        self._reached: dict[str, Executable] = {name: model.intake for name, model in self._served.items()}
        """What requests may reach, by name: nothing in a forked child."""
        self._only = next(iter(self._reached.values())) if len(backends) == 1 else None
        self._is_copy = False
        self._is_closed = False

    def finder(self, model: str) -> Callable[[], Executable]:
        """Return a function that returns what answers the requests of a model now: `load` replaces it.

        Raise KeyError if the model is unknown, and from the function in a forked process.
        """
        return partial(self._reached.__getitem__, self._served[model].parts.name)

    def load(self, model: str) -> Result[None]:
        """Load a model again, from its file as it is now, beside the running one; then requests go to the new one.

        Requests that the old one accepted end there, and then it is unloaded. If the new one does not load, the old one
        goes on. Blocks meanwhile; may be called in any thread but a callback's.

        NOT_FOUND: if the model is unknown.
        NOT_LOADED: after `close()`.
        FAILED_PRECONDITION: if the context was not made by `deploy`, or in a forked process.
        Otherwise the errors of `deploy`.
        """
        with self._changing:
            refused = self._unchangeable(model)
            if refused is not None:
                return refused
            if self._rebuild is None:
                message = "this context was not made by `deploy`, so it cannot load a model again"
                return Err(Error(ErrorCode.FAILED_PRECONDITION, message))
            built = self._rebuild(model)
            if isinstance(built, Err):
                return built
            replaced = self._replace(model, built.value)
        if replaced is None:
            built.value[model].unload()
            return _CLOSED
        old, counted = replaced
        closed = old.life.close(perf_counter_ns())
        with self._ending:
            self._earlier_calls[model] += _calls(old) - counted
        return closed

    def calls(self, model: str) -> int:
        """Return how often the engine of a model was called, also before it was loaded again; KeyError if unknown."""
        with self._ending:
            return self._earlier_calls.get(model, 0) + _calls(self._served[model])

    def _replace(self, model: str, built: BuiltBackends) -> tuple[ServedModel, int] | None:
        """Let requests go to a new model, and return the old one and its calls; after `close()` do nothing: None."""
        with self._ending:
            if self._is_closed:
                return None
            old, new = self._served[model], self._serve(model, built)
            self._served[model], self._reached[model] = new, new.intake
            self._only = new.intake if len(self._served) == 1 else None
            counted = _calls(old)
            self._earlier_calls[model] = self._earlier_calls.get(model, 0) + counted
            return old, counted

    def unload(self, model: str) -> Result[None]:
        """Unload a model, once the requests that it accepted are answered; later ones are answered NOT_LOADED.

        `load` loads it again. Blocks meanwhile; may be called in any thread but a callback's.

        NOT_FOUND: if the model is unknown.
        NOT_LOADED: after `close()`.
        FAILED_PRECONDITION: in a forked process.
        DEADLINE_EXCEEDED: as `close` answers.
        """
        with self._changing:
            refused = self._unchangeable(model)
            if refused is not None:
                return refused
            served = self._served[model]
        return served.life.close(perf_counter_ns())

    def _serve(self, name: str, backends: BuiltBackends) -> ServedModel:
        options, unbatched = self._graph.manifest.models[name], backends.unbatched.get(name)
        return ServedModel(name, backends[name], options, self._watch, unbatched=unbatched)

    def _unchangeable(self, model: str) -> Err | None:
        if self._is_copy or model not in self._served:
            return self._no_model(model)
        if self._is_closed:
            return _CLOSED
        return None

    def _no_model(self, name: str | None) -> Err:
        if self._is_copy:
            message = "this deployment belongs to the parent of this forked process"
            return Err(Error(ErrorCode.FAILED_PRECONDITION, message, "call `deploy` after the fork, in each process"))
        known = list(self._served)
        if name is not None:
            hint = suggest(str(name), known, "models")
            return Err(Error(ErrorCode.NOT_FOUND, f"`{name}` is not a model of this deployment", hint))
        if not known:
            return Err(
                Error(ErrorCode.NOT_FOUND, "this deployment has no models", "add one with `+models.NAME.path=...`")
            )
        message = "the request names no model, and this deployment has several"
        return Err(Error(ErrorCode.INVALID_ARGUMENT, message, f"set `model` to one of {', '.join(known)}"))


def _calls(served: ServedModel) -> int:
    return served.parts.recorder.snapshot(1, 0, 0, None).compute_us.count


_CLOSED = Err(Error(ErrorCode.NOT_LOADED, "the deployment is closed", "deploy the manifest again"))
