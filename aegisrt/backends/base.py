"""`RuntimeBackend`: one loaded model on one engine.

A template method class. The public calls hold the contract once: state, checks, time, deadlines, errors as Results.
An engine's file writes the hooks at the end, which may raise anything.
"""

from __future__ import annotations

import logging
import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import perf_counter_ns
from typing import Any, ClassVar, Generic, TypeVar, cast

from aegisrt.backends.declared import refuse_undeclared_call, refuse_undeclared_model
from aegisrt.backends.loaded import Loaded
from aegisrt.backends.model_file import readable_file
from aegisrt.core.capabilities import Capabilities
from aegisrt.core.deadline import deadline_ns, late
from aegisrt.core.optional import Requirement, require
from aegisrt.core.options import BackendOptions
from aegisrt.core.request import ExecutionRequest, ExecutionResult
from aegisrt.core.result import Err, Error, ErrorCode, Ok, Result, ResultError, fail
from aegisrt.core.tensor import Array, DeviceView, Signature
from aegisrt.core.timing import StepTimes
from aegisrt.devices.base import Device

OptionsT = TypeVar("OptionsT", bound=BackendOptions)
_log = logging.getLogger(__name__)
_NOT_LOADED = Err(Error(ErrorCode.NOT_LOADED, "no model is loaded", "call `load(path)` first"))


@dataclass(frozen=True, slots=True)
class Availability:
    """Whether a backend's engine can be used in this process, and if not, why and what to run."""

    available: bool
    version: str | None = None
    reason: str | None = None
    install: str | None = None


@dataclass(frozen=True, slots=True)
class Names:
    """What results call the model and its backend; in direct use there is no model name."""

    model: str | None = None
    backend: str | None = None


class RuntimeBackend(ABC, Generic[OptionsT]):
    """One loaded model. Public calls are thread-safe and answer a Result, whatever a user or an engine does wrong.

    `load` of a loaded backend replaces the model: the old one serves until the new one is ready, and stays if that
    fails. `unload` waits for the calls that are running. At most `instances` calls run at once, the others wait.
    """

    kind: ClassVar[str]
    """The name of its entry point."""
    capabilities: ClassVar[Capabilities]
    Options: ClassVar[type[BackendOptions]]
    conformance_options: ClassVar[Mapping[str, Any]] = {}
    """Options with which the conformance kit judges it, unless told others: where its defaults limit what it serves."""
    requirement: ClassVar[Requirement | None] = None
    """The package that its engine needs; None where numpy is enough."""

    def __init__(
        self,
        options: OptionsT | Mapping[str, Any] | None = None,
        *,
        device: Device | str | None = None,
        stream: Any = None,
        instances: int = 1,
        names: Names | None = None,
    ) -> None:
        """Hold the options and open nothing; wrong options raise `ResultError` or pydantic's ValidationError."""
        if not isinstance(options, BackendOptions):
            options = cast("OptionsT", self.Options.parse(dict(options or {})))
        if not isinstance(options, self.Options):
            message = f"backend `{self.kind}` takes {self.Options.__name__}, not {type(options).__name__}"
            raise fail(ErrorCode.INVALID_ARGUMENT, message)
        if not isinstance(instances, int) or instances < 1:
            raise fail(ErrorCode.INVALID_ARGUMENT, f"instances is {instances!r}, not a number from 1 on")
        self.options: OptionsT = options
        self.device = device if isinstance(device, Device) else Device.parse(device or "cpu")
        self.stream = stream
        self.instances = instances
        self._model = names.model if names else None
        self._backend = (names.backend if names else None) or self.kind
        self._progress: Callable[[str], None] | None = None
        self._loaded: Loaded | None = None
        self._gate = threading.Lock()
        self._idle = threading.Condition(self._gate)
        self._lifecycle = threading.Lock()

    # -- public ------------------------------------------------------------------------------------------------

    @classmethod
    def availability(cls, *, probe: bool = False) -> Availability:
        """Return whether the engine's package is installed; with `probe` (which takes longer), whether it imports."""
        need = cls.requirement
        if need is None:
            return Availability(True)
        reason = need.missing()
        if probe and reason is None:
            try:
                require(need)
            except ResultError as failure:
                reason = f"{failure.error.message}: {failure.error.cause}"
        return Availability(reason is None, need.version(), reason, need.install if reason else None)

    @classmethod
    def conformance_model(cls, name: str, folder: Path) -> Path | None:
        """Return this backend's own file of the conformance kit's reference model `name`, or None if it has none.

        `folder` holds the models as `NAME.onnx`; a backend with `.onnx` in `builds_from` builds what it is not given
        here. Override it for a format that the kit does not ship, and for files of your own package.
        """
        files = (folder / f"{name}{ending}" for ending in cls.capabilities.formats)
        return next((file for file in files if file.is_file()), None)

    @classmethod
    def build_note(cls, options: OptionsT, device: str) -> str | None:  # noqa: ARG003
        """Return what a user should know of files built with these options for this kind of device, or None."""
        return None

    @property
    def signature(self) -> Signature | None:
        """The loaded model's inputs and outputs; None while nothing is loaded."""
        loaded = self._loaded
        return loaded.signature if loaded else None

    def load(self, path: str | os.PathLike[str]) -> Result[None]:
        """Return Ok when the model at `path` is ready to serve.

        NOT_FOUND, INVALID_ARGUMENT (a directory, another format), DATA_LOSS (empty, truncated, damaged),
        PERMISSION_DENIED, FAILED_PRECONDITION (another engine version or device), UNAVAILABLE (no engine here).
        """
        with self._lifecycle:
            try:
                self._check_device()
                fresh = self._make(readable_file(path))
            except Exception as error:  # noqa: BLE001  (the contract: an engine's error is a Result)
                return Err(self._error(error, f"loading {path}"))
            problem = self._swap(fresh)
            if problem:
                _log.warning("the replaced model was not released cleanly: %s", problem)
        return Ok(None)

    def execute(self, request: ExecutionRequest) -> Result[ExecutionResult]:
        """Return the outputs of one call, and where its time went.

        NOT_LOADED, INVALID_ARGUMENT (inputs, outputs, timeout), DEADLINE_EXCEEDED, or the engine's own error.
        """
        entered = perf_counter_ns()
        if not isinstance(request, ExecutionRequest):
            return not_a_request(request)
        with self._gate:
            loaded = self._loaded
            if loaded is None:
                return self._not_loaded()
            loaded.users += 1
        try:
            return self._run(loaded, request, entered)
        except ResultError as known:
            return Err(known.error)
        except Exception as error:  # noqa: BLE001
            return Err(self._error(error, "executing the model"))
        finally:
            with self._gate:
                loaded.users -= 1
                if not loaded.users and loaded is not self._loaded:
                    self._idle.notify_all()

    def check(self, request: ExecutionRequest) -> Result[dict[str, Array]]:
        """Return a request's inputs as the engine would be given them; the errors of `execute` before the engine."""
        loaded = self._loaded
        if loaded is None:
            return self._not_loaded()
        try:
            inputs, _ = self._checked(loaded, request)
            return Ok(inputs)
        except Exception as error:  # noqa: BLE001
            return Err(self._error(error, "checking a request"))

    def unload(self) -> Result[None]:
        """Return Ok when nothing is loaded, at once if nothing was; waits for the calls that are running."""
        with self._lifecycle:
            problem = self._swap(None)
        return Err(problem) if problem else Ok(None)

    def build(
        self,
        source: str | os.PathLike[str],
        target: str | os.PathLike[str],
        *,
        progress: Callable[[str], None] | None = None,
    ) -> Result[None]:
        """Return Ok when `target` holds an engine file made from `source`; UNIMPLEMENTED where nothing is built.

        `progress` is told what is being done, from this thread. One build of one backend at a time.
        """
        self._progress = progress
        try:
            self._check_device()
            self._build(readable_file(source), Path(target))
        except Exception as error:  # noqa: BLE001
            return Err(self._error(error, f"building from {source}"))
        return Ok(None)

    def recipe(self) -> Result[dict[str, Any]]:
        """Return all that decides an engine file beside its source, in plain values; UNIMPLEMENTED as `build`.

        `backend`, `engine` (its version), `options` (those that count) and `target` (what it is built for).
        """
        try:
            self._check_device()
            return Ok(self._recipe())
        except Exception as error:  # noqa: BLE001
            return Err(self._error(error, "describing a build"))

    def memory(self) -> Result[int]:
        """Return the bytes that the loaded model holds on its device; UNIMPLEMENTED where the engine does not tell."""
        with self._gate:
            if self._loaded is None:
                return self._not_loaded()
        try:
            return Ok(self._memory())
        except Exception as error:  # noqa: BLE001
            return Err(self._error(error, "measuring memory"))

    def bare(self, request: ExecutionRequest) -> Result[Callable[[], Sequence[Any]]]:
        """Return the engine's own call of a request, with its inputs checked once and nothing of ours around it.

        For measuring: it uses the first instance without asking, so no other call of this backend may run meanwhile.
        """
        loaded = self._loaded
        if loaded is None:
            return self._not_loaded()
        try:
            inputs, wanted = self._checked(loaded, request)
        except Exception as error:  # noqa: BLE001
            return Err(self._error(error, "checking a request"))
        return Ok(partial(self._execute, loaded.slots[0], inputs, wanted))

    # -- the template ------------------------------------------------------------------------------------------

    def _check_device(self) -> None:
        if self.device.kind not in self.capabilities.devices:
            raise fail(
                ErrorCode.UNIMPLEMENTED,
                f"backend `{self.kind}` does not run on a device of kind `{self.device.kind}`",
                f"it runs on {', '.join(self.capabilities.devices)}",
            )

    def _not_loaded(self) -> Err:
        if self._model is None:
            return _NOT_LOADED
        message = f"model `{self._model}` is unloaded: its deployment is closed"
        return Err(Error(ErrorCode.NOT_LOADED, message, "deploy the manifest again"))

    def _run(self, loaded: Loaded, request: ExecutionRequest, entered: int) -> Result[ExecutionResult]:
        deadline = None if request.timeout_ms is None else deadline_ns(request.timeout_ms, entered)
        inputs, wanted = self._checked(loaded, request)
        checked = perf_counter_ns()
        slot = loaded.take(deadline)
        try:
            started = perf_counter_ns()
            if deadline is not None and started >= deadline:
                return late("before the engine started")
            values = self._execute(slot, inputs, wanted)
            done = perf_counter_ns()
        finally:
            loaded.free.put(slot)
        if deadline is not None and done >= deadline:
            return late("while the engine ran")
        outputs = dict(zip(wanted, values, strict=True))
        metadata = loaded.metadata.copy()
        if request.id is not None:
            metadata["request_id"] = request.id
        end = perf_counter_ns()
        times = StepTimes(started - checked, checked - entered, done - started, end - done)
        return Ok(ExecutionResult(outputs, times, self._model, self._backend, self.device.name, metadata))

    def _checked(self, loaded: Loaded, request: ExecutionRequest) -> tuple[dict[str, Array], tuple[str, ...]]:
        inputs = loaded.check(request.inputs)
        wanted = loaded.output_names if request.outputs is None else loaded.select(request.outputs)
        refuse_undeclared_call(self.capabilities, inputs, wanted, loaded.output_names)
        return inputs, wanted

    def _make(self, path: Path) -> Loaded:
        engine = self._load(path)
        slots: list[Any] = []
        try:
            signature = self._signature(engine)
            refuse_undeclared_model(self.capabilities, signature)
            for _ in range(self.instances):
                slots.append(self._open(engine, self.stream))
            return Loaded(engine, signature, slots, self._metadata(engine), self._device_view(engine))
        except BaseException:
            self._release(engine, slots)
            raise

    def _swap(self, fresh: Loaded | None) -> Error | None:
        """Put `fresh` in place, wait for the calls in the old one, release it; return what went wrong in that."""
        with self._gate:
            old, self._loaded = self._loaded, fresh
            while old is not None and old.users:
                self._idle.wait()
        return self._release(old.engine, old.slots) if old is not None else None

    def _release(self, engine: Any, slots: list[Any]) -> Error | None:
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
        """Return the one Error that stands for whatever a hook raised."""
        if isinstance(error, ResultError):
            return error.error
        _log.debug("%s failed while %s", self.kind, doing, exc_info=error)
        code = self._classify(error) or _code(error)
        if isinstance(code, Error):
            return code
        text = _words(error)
        first = text.splitlines()[0] if text else type(error).__name__
        return Error(code, f"{self.kind} failed while {doing}: {first}", cause=f"{type(error).__name__}: {text}")

    # -- hooks: what an engine's file writes --------------------------------------------------------------------

    @abstractmethod
    def _load(self, path: Path) -> Any:
        """Return the engine's object for the model file at `path`: the weights, once for all instances."""

    @abstractmethod
    def _signature(self, engine: Any) -> Signature:
        """Return the inputs and outputs of the loaded model, in its own order."""

    @abstractmethod
    def _execute(self, slot: Any, inputs: dict[str, Array], outputs: tuple[str, ...]) -> Sequence[Any]:
        """Return the values of `outputs`, in that order, in memory that the caller will own.

        `inputs` are checked: native byte order, C-contiguous, aligned; they may be read-only and are never written.
        A slot is in one thread at a time.
        """

    def _open(self, engine: Any, stream: Any) -> Any:
        """Return a slot: what one call at a time needs beside the engine's object."""
        return engine

    def _close(self, slot: Any) -> None:
        """Give back what `_open` took."""

    def _unload(self, engine: Any) -> None:
        """Give back what `_load` took; all slots are closed by then."""

    def _metadata(self, engine: Any) -> dict[str, Any]:
        """Return what every result's `metadata` says of the loaded model."""
        return {}

    def _device_view(self, engine: Any) -> DeviceView | None:
        """Return what tells inputs on the engine's own device, which `_execute` then gets as they are; None: none."""
        return None

    def _classify(self, error: Exception) -> ErrorCode | Error | None:
        """Return the code of an engine's exception, or the whole error; None leaves it to the base class."""
        return None

    def _build(self, source: Path, target: Path) -> None:
        """Write an engine file made from `source` to `target`, and what is known of it beside it (core/sidecar.py)."""
        raise self._builds_nothing()

    def _recipe(self) -> dict[str, Any]:
        """Return what `recipe` says."""
        raise self._builds_nothing()

    def _builds_nothing(self) -> ResultError:
        message = f"backend `{self.kind}` builds no engine files: it loads {', '.join(self.capabilities.formats)}"
        return fail(ErrorCode.UNIMPLEMENTED, message)

    def _memory(self) -> int:
        raise fail(ErrorCode.UNIMPLEMENTED, f"backend `{self.kind}` does not tell its memory")


def _words(error: Exception) -> str:
    try:
        return str(error).strip()
    except Exception:  # noqa: BLE001  (an engine's exception may be broken itself)
        return ""


def not_a_request(value: object) -> Err:
    """Return the error of something else that was given where a request belongs."""
    message = f"execute takes an ExecutionRequest, not a {type(value).__name__}"
    return Err(Error(ErrorCode.INVALID_ARGUMENT, message, "wrap it: `ExecutionRequest(inputs={...})`"))


_CODES: tuple[tuple[type[Exception], ErrorCode], ...] = (
    (FileNotFoundError, ErrorCode.NOT_FOUND),
    (PermissionError, ErrorCode.PERMISSION_DENIED),
    (MemoryError, ErrorCode.RESOURCE_EXHAUSTED),
    (NotImplementedError, ErrorCode.UNIMPLEMENTED),
    (TimeoutError, ErrorCode.DEADLINE_EXCEEDED),
)


def _code(error: Exception) -> ErrorCode:
    return next((code for kind, code in _CODES if isinstance(error, kind)), ErrorCode.INTERNAL)
