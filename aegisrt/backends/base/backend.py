"""`RuntimeBackend`: one loaded model on one engine.

A template method class. The public calls implement the contract once: state, checks, times, deadlines, errors.

    description.py  class attributes: kind, capabilities, options, availability
    hooks.py        the methods that an engine's file implements
    lifecycle.py    load, replace, unload
    steps.py        a call: checked once, run in a slot; call.py is what is handed from one to the other
    backend.py      the public calls: execute, check, build, memory
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from time import perf_counter_ns
from typing import Any, ClassVar

from aegisrt.backends.base.call import Call
from aegisrt.backends.base.description import Availability, OptionsT
from aegisrt.backends.base.failures import not_a_request, refuse_other_source
from aegisrt.backends.base.hooks import EngineT, SlotT
from aegisrt.backends.base.lifecycle import Names
from aegisrt.backends.base.steps import ExecuteSteps
from aegisrt.backends.files.readable import as_path, readable_file
from aegisrt.backends.files.snapshot import Snapshot
from aegisrt.core.request import ExecutionRequest, ExecutionResult
from aegisrt.core.result import Err, Ok, Result, ResultError
from aegisrt.core.tensor import Array

__all__ = ["Availability", "Names", "RuntimeBackend", "not_a_request"]


class RuntimeBackend(ExecuteSteps[OptionsT, EngineT, SlotT]):
    """One loaded model. Public calls are thread-safe and answer a Result, whatever a user or an engine does wrong.

    `load` of a loaded backend replaces the model: the old one serves until the new one is ready, and stays if that
    fails. `unload` waits for the calls that are running. At most `instances` calls run at once; others wait.
    """

    overrides_execute: ClassVar[bool] = False
    """Whether the class has an `execute` of its own: such a backend is called by that alone, from a worker's thread."""

    def __init_subclass__(cls, **more: Any) -> None:
        super().__init_subclass__(**more)
        cls.overrides_execute = cls.execute is not RuntimeBackend.execute

    def execute(self, request: ExecutionRequest) -> Result[ExecutionResult]:
        """Return the outputs of one call, and how long each step took.

        NOT_LOADED: if no model is loaded.
        INVALID_ARGUMENT: if an input, `outputs` or the timeout is wrong.
        DEADLINE_EXCEEDED: if the timeout passes before the outputs are there.
        Or the engine's own error.
        """
        entered_ns = perf_counter_ns()
        if not isinstance(request, ExecutionRequest):
            return not_a_request(request)
        try:
            call = self.prepare_call(request, entered_ns)
        except ResultError as refused:
            return Err(refused.error)
        return self._run(call)

    def run_call(self, call: Call[EngineT, SlotT]) -> Result[ExecutionResult]:
        """Return the answer of a call of `prepare_call`: wait for an instance, and run it there. For the layers above.

        A class that overrides `execute` is called by that, with the time that is left.
        """
        if not self.overrides_execute:
            return self._run(call)
        left_ms = None if call.deadline_ns is None else (call.deadline_ns - perf_counter_ns()) / 1e6
        result = self.execute(replace(call.request, timeout_ms=left_ms))
        if type(result) is Ok:
            times = result.value.timings
            result.value.timings = times._replace(queue=times.queue + call.waited_ns)
            ended = perf_counter_ns()
            call.moments = (call.entered_ns, call.waited_ns, ended - times.compute, ended)
        return result

    def check(self, request: ExecutionRequest) -> Result[dict[str, Array]]:
        """Return a request's inputs as the engine would get them; the errors of `execute` before the engine runs."""
        if not isinstance(request, ExecutionRequest):
            return not_a_request(request)
        try:
            return Ok(self.prepare_call(request, perf_counter_ns()).inputs)
        except ResultError as refused:
            return Err(refused.error)

    def bare(self, request: ExecutionRequest) -> Result[Callable[[], Sequence[Any]]]:
        """Return the engine's own call of a request, with its inputs checked once, without the overhead of `execute`.

        For benchmarks: it uses the first instance without reserving it, so no other call of this backend may run.
        """
        if not isinstance(request, ExecutionRequest):
            return not_a_request(request)
        try:
            call = self.prepare_call(request, perf_counter_ns())
        except ResultError as refused:
            return Err(refused.error)
        return Ok(partial(self._execute, call.loaded.slots[0], call.inputs, call.outputs))

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
