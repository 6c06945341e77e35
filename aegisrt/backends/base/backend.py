"""`RuntimeBackend`: one loaded model on one engine.

A template method class. The public calls implement the contract once: state, checks, times, deadlines, errors.

    description.py  class attributes: kind, capabilities, options, availability
    hooks.py        the methods that an engine's file implements
    lifecycle.py    load, replace, unload
    backend.py      a call; and building, memory
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from time import perf_counter_ns
from typing import Any, TypeAlias

from aegisrt.backends.base.description import Availability, OptionsT
from aegisrt.backends.base.failures import not_a_request, of_overwritten, refuse_other_source
from aegisrt.backends.base.hooks import EngineT, SlotT
from aegisrt.backends.base.lifecycle import Lifecycle, Names
from aegisrt.backends.base.loaded import Loaded
from aegisrt.backends.base.undeclared import refuse_empty
from aegisrt.backends.files.readable import as_path, readable_file
from aegisrt.backends.files.snapshot import Snapshot
from aegisrt.core.deadline import deadline_ns, late
from aegisrt.core.priority import priority_level
from aegisrt.core.request import MODEL_METADATA, ExecutionRequest, ExecutionResult, wants_model_metadata
from aegisrt.core.result import Err, ErrorCode, Ok, Result, ResultError, fail
from aegisrt.core.tensor import Array
from aegisrt.core.timing import step_times

__all__ = ["Availability", "Names", "RuntimeBackend", "not_a_request"]

_Checked: TypeAlias = tuple[dict[str, Array], tuple[str, ...]]
"""A request's inputs as an engine gets them, and the names of the outputs to return."""


class RuntimeBackend(Lifecycle[OptionsT, EngineT, SlotT]):
    """One loaded model. Public calls are thread-safe and answer a Result, whatever a user or an engine does wrong.

    `load` of a loaded backend replaces the model: the old one serves until the new one is ready, and stays if that
    fails. `unload` waits for the calls that are running. At most `instances` calls run at once; others wait.
    """

    def execute(self, request: ExecutionRequest) -> Result[ExecutionResult]:
        """Return the outputs of one call, and how long each step took.

        NOT_LOADED: if no model is loaded.
        INVALID_ARGUMENT: if an input, `outputs` or the timeout is wrong.
        DEADLINE_EXCEEDED: if the timeout passes before the outputs are there.
        Or the engine's own error.
        """
        entered = perf_counter_ns()
        if not isinstance(request, ExecutionRequest):
            return not_a_request(request)
        used = None
        try:
            with self._gate:
                loaded = self._loaded
                if loaded is None:
                    return self._not_loaded()
                loaded.users += 1
                used = loaded  # Python handles no signal between these two statements, so the count is always undone
            return self._run(loaded, request, entered)
        except ResultError as known:
            return Err(known.error)
        except Exception as error:  # noqa: BLE001
            failure = self._error(error, "executing the model")
            return Err(failure if used is None else of_overwritten(failure, used.files))
        except BaseException:
            if used is not None:
                used.interrupted = True
            raise
        finally:
            if used is not None:
                with self._gate:
                    used.users -= 1
                    if used.interrupted and not used.users:
                        used.free_all()
                    if used is not self._loaded and not used.users:
                        self._idle.notify_all()

    def check(self, request: ExecutionRequest) -> Result[dict[str, Array]]:
        """Return a request's inputs as the engine would get them; the errors of `execute` before the engine runs."""
        if not isinstance(request, ExecutionRequest):
            return not_a_request(request)
        loaded = self._loaded
        if loaded is None:
            return self._not_loaded()
        try:
            inputs, _ = self._checked(loaded, request)
            return Ok(inputs)
        except Exception as error:  # noqa: BLE001
            return Err(self._error(error, "checking a request"))

    def bare(self, request: ExecutionRequest) -> Result[Callable[[], Sequence[Any]]]:
        """Return the engine's own call of a request, with its inputs checked once, without the overhead of `execute`.

        For benchmarks: it uses the first instance without reserving it, so no other call of this backend may run.
        """
        if not isinstance(request, ExecutionRequest):
            return not_a_request(request)
        loaded = self._loaded
        if loaded is None:
            return self._not_loaded()
        try:
            inputs, wanted = self._checked(loaded, request)
        except Exception as error:  # noqa: BLE001
            return Err(self._error(error, "checking a request"))
        return Ok(partial(self._execute, loaded.slots[0], inputs, wanted))

    def build(
        self,
        source: str | os.PathLike[str],
        target: str | os.PathLike[str],
        *,
        progress: Callable[[str], None] | None = None,
    ) -> Result[None]:
        """Build an engine file from `source` at `target`. One build of one backend at a time.

        `progress` is called with each step, from this thread.
        UNIMPLEMENTED: if the backend builds nothing.
        INVALID_ARGUMENT: if `source` or `target` is not a path.
        FAILED_PRECONDITION: if `source` changes meanwhile.
        """
        self._progress = progress
        try:
            self._check_device()
            file = readable_file(source)
            files = Snapshot.of(file)
            destination = as_path(target)
            self._build(file, destination)
            refuse_other_source(files, destination)
        except Exception as error:  # noqa: BLE001
            return Err(self._error(error, f"building from {source}"))
        return Ok(None)

    def recipe(self) -> Result[dict[str, Any]]:
        """Return everything that determines an engine file besides its source, in plain values.

        `backend`, `engine` (its version), `options` (those that matter) and `target` (what it is built for).
        UNIMPLEMENTED: if the backend builds nothing.
        """
        try:
            self._check_device()
            return Ok(self._recipe())
        except Exception as error:  # noqa: BLE001
            return Err(self._error(error, "describing a build"))

    def outdated(self, metadata: Mapping[str, Any]) -> bool:
        """Return whether building now would give another engine file than one with this `metadata` in its sidecar.

        For what determines the files of some models only, and so is not part of `recipe`.
        """
        return False

    def memory(self) -> Result[int]:
        """Return the bytes that the loaded model holds on its device.

        UNIMPLEMENTED: if the engine does not report them.
        """
        if self._loaded is None:
            return self._not_loaded()
        try:
            return Ok(self._memory())
        except Exception as error:  # noqa: BLE001
            return Err(self._error(error, "measuring memory"))

    def _run(self, loaded: Loaded[EngineT, SlotT], request: ExecutionRequest, entered: int) -> Result[ExecutionResult]:
        if request.priority != "normal":
            priority_level(request.priority)
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
            loaded.release(slot)
        if deadline is not None and done >= deadline:
            return late("while the engine ran")
        if len(values) != len(wanted):
            raise fail(ErrorCode.INTERNAL, f"{self.kind} returned {len(values)} outputs, not {len(wanted)}")
        outputs = {}
        for index, name in enumerate(wanted):
            outputs[name] = values[index]
        metadata = loaded.metadata.copy()
        if request.id is not None:
            metadata["request_id"] = request.id
        if request.parameters and wants_model_metadata(request):
            metadata[MODEL_METADATA] = loaded.model_metadata.copy()
        end = perf_counter_ns()
        times = step_times((started - checked, checked - entered, done - started, end - done))
        return Ok(ExecutionResult(outputs, times, self._model, self._backend, self.device.name, metadata))

    def _checked(
        self, loaded: Loaded[EngineT, SlotT], request: ExecutionRequest
    ) -> tuple[dict[str, Array], tuple[str, ...]]:
        inputs = loaded.check(request.inputs)
        if loaded.refuses_empty:
            refuse_empty(inputs)
        return inputs, loaded.output_names if request.outputs is None else loaded.select(request.outputs)
