"""`Lifecycle`: how a backend loads, replaces and unloads its model.

A call of `execute` is counted in the `Loaded` that it uses; a model that is replaced or unloaded is released when its
count is 0. Loads and unloads exclude each other; calls do not.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter_ns
from typing import Any, cast

from aegisrt.backends.base.description import OptionsT
from aegisrt.backends.base.failures import engine_failure, loaded_before_fork, not_loaded
from aegisrt.backends.base.forked import watch_forks
from aegisrt.backends.base.hooks import EngineT, Hooks, SlotT
from aegisrt.backends.base.loaded import Loaded
from aegisrt.backends.base.undeclared import refuse_undeclared_model
from aegisrt.backends.files.readable import readable_file
from aegisrt.backends.files.snapshot import Snapshot
from aegisrt.core.request import ResultOrigin
from aegisrt.core.result import Err, Error, ErrorCode, Ok, Result, ResultError, fail
from aegisrt.core.shown.log import Log
from aegisrt.core.tensor import Signature
from aegisrt.devices.base import Device
from aegisrt.devices.immortal import immortalize
from aegisrt.devices.shared_stream import SharedStream, owned

_log = Log(__name__)


@dataclass(frozen=True, slots=True)
class Names:
    """The names of the model and its backend in results; `model` is None in direct use."""

    model: str | None = None
    backend: str | None = None


class Lifecycle(Hooks[OptionsT, EngineT, SlotT]):
    """Holds at most one loaded model."""

    def __init__(
        self,
        options: OptionsT | Mapping[str, Any] | None = None,
        *,
        device: Device | str | None = None,
        stream: Any = None,
        instances: int = 1,
        names: Names | None = None,
    ) -> None:
        """Keep the options and open nothing; wrong options raise `ResultError` or pydantic's ValidationError."""
        if options is None or isinstance(options, Mapping):
            options = cast("OptionsT", self.Options.parse(dict(options or {})))
        if not isinstance(options, self.Options):
            message = f"backend `{self.kind}` takes {self.Options.__name__} or a mapping, not {type(options).__name__}"
            raise fail(ErrorCode.INVALID_ARGUMENT, message)
        if not isinstance(instances, int) or isinstance(instances, bool) or instances < 1:
            raise fail(ErrorCode.INVALID_ARGUMENT, f"instances is {instances!r}, not an integer of at least 1")
        if device is not None and not isinstance(device, Device | str):
            raise fail(ErrorCode.INVALID_ARGUMENT, f"device is {device!r}, not a Device or its name, such as `cuda:0`")
        if names is not None and not isinstance(names, Names):
            raise fail(ErrorCode.INVALID_ARGUMENT, f"names is {names!r}, not Names")
        self.options: OptionsT = options
        self.device = device if isinstance(device, Device) else Device.parse(device or "cpu")
        self.stream = owned(stream)
        self.instances = instances
        self._model = names.model if names else None
        self._backend = (names.backend if names else None) or self.kind
        self._loaded: Loaded[EngineT, SlotT] | None = None
        self._is_copy = False
        """Whether a model was loaded when this process was forked, and none has been since."""
        self._new_locks()
        watch_forks(self)

    def _new_locks(self) -> None:
        self._gate = threading.Lock()
        self._changing = threading.Lock()

    @property
    def calls_gate(self) -> threading.Lock:
        """Guards which model is loaded and which slots are free; the queue in front has its state under it too.

        So a call takes and releases one lock when it starts, and when it ends. Only counts and references change under
        it: no hook and no caller's code runs.
        """
        return self._gate

    @property
    def signature(self) -> Signature | None:
        """The loaded model's inputs and outputs; None while nothing is loaded."""
        loaded = self._loaded
        return loaded.signature if loaded else None

    @property
    def metadata(self) -> dict[str, Any] | None:
        """What the engine reports about the loaded model, as in every result; None while nothing is loaded."""
        loaded = self._loaded
        return loaded.metadata.copy() if loaded else None

    @property
    def model_metadata(self) -> dict[str, str] | None:
        """The loaded model's own metadata, such as class names: texts by key; None if nothing is loaded."""
        loaded = self._loaded
        return loaded.model_metadata.copy() if loaded else None

    def load(self, path: str | os.PathLike[str]) -> Result[None]:
        """Load the model at `path`; when this returns Ok, it is ready to serve.

        NOT_FOUND: if there is no such file.
        INVALID_ARGUMENT: if it is a directory or has another format.
        DATA_LOSS: if it is empty, truncated or damaged, or changes meanwhile.
        PERMISSION_DENIED: if it may not be read or is not trusted.
        FAILED_PRECONDITION: if it was built by another engine version or for another device.
        RESOURCE_EXHAUSTED: if memory or file descriptors ran out.
        UNAVAILABLE: if the engine is not installed.
        """
        with self._changing:
            started = perf_counter_ns()
            try:
                self._check_device()
                fresh = self._make(readable_file(path))
            except Exception as error:  # noqa: BLE001  (the contract: an engine's error is a Result)
                return Err(self._error(error, f"loading {path}"))
            problem = self._swap(fresh)
            ms = (perf_counter_ns() - started) / 1e6
            fields = {"model": self._model, "engine": self.kind, "ms": round(ms, 3)}
            _log.info("loaded %s on %s in %.0f ms", path, self.kind, ms, **fields)
            if problem:
                _log.warning("the replaced model was not released cleanly: %s", problem, **fields)
        return Ok(None)

    def unload(self) -> Result[None]:
        """Unload the model, after the calls that are running; does nothing if none is loaded."""
        with self._changing:
            problem = self._swap(None)
        return Err(problem) if problem else Ok(None)

    def _check_device(self) -> None:
        if self.device.kind not in self.capabilities.devices:
            raise fail(
                ErrorCode.UNIMPLEMENTED,
                f"backend `{self.kind}` does not run on a device of kind `{self.device.kind}`",
                f"it runs on {', '.join(self.capabilities.devices)}",
            )

    def _make(self, path: Path) -> Loaded[EngineT, SlotT]:
        files = Snapshot.of(path)
        engine = self._load(path)
        slots: list[SlotT] = []
        try:
            signature = self._signature(engine)
            refuse_undeclared_model(self.capabilities, signature)
            for _ in range(self.instances):
                slots.append(self._open(engine, self.stream))
            view = self._device_view(engine)
            turns = self.stream.turns if isinstance(self.stream, SharedStream) and self.device.kind == "cpu" else None
            files.refuse_change("loaded")
            origin = ResultOrigin(self._model, self._backend, self.device.name, self._metadata(engine))
            own = self._model_metadata(engine)
            return Loaded(
                engine, signature, slots, self.capabilities, files, origin, own, view, turns=turns, gate=self._gate
            )
        except BaseException:
            self._release(engine, slots)
            raise

    def _swap(self, fresh: Loaded[EngineT, SlotT] | None) -> Error | None:
        """Replace the loaded model, wait for the calls in the old one and release it; return any error of that."""
        with self._gate:
            old, self._loaded, self._is_copy = self._loaded, fresh, False
            if old is not None:
                old.is_replaced = True
                while old.is_in_use:
                    old.ended.wait()
        return self._release(old.engine, old.slots) if old is not None else None

    def _become_copy(self) -> None:
        loaded, self._loaded = self._loaded, None
        self._new_locks()  # a thread that is not in this process may hold the old ones
        if isinstance(self.stream, SharedStream):
            self.stream.renew()
        if loaded is not None:
            self._is_copy = True
            immortalize(loaded)

    def _not_loaded(self) -> Err:
        return loaded_before_fork(self._model) if self._is_copy else not_loaded(self._model)

    def _release(self, engine: EngineT, slots: list[SlotT]) -> Error | None:
        problem: Error | None = None
        for slot in reversed(slots):
            try:
                self._close(slot)
            except Exception as error:  # noqa: BLE001
                problem = problem or self._error(error, "closing an instance")
        slots.clear()
        try:
            self._unload(engine)
        except Exception as error:  # noqa: BLE001
            problem = problem or self._error(error, "unloading the model")
        return problem

    def _error(self, error: Exception, doing: str) -> Error:
        """Return the Error for an exception of a hook."""
        if isinstance(error, ResultError):
            return error.error
        _log.debug("%s failed while %s", self.kind, doing, error=error)
        code = self._classify(error)
        return code if isinstance(code, Error) else engine_failure(self.kind, doing, error, code)
