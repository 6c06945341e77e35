"""`ExecuteSteps`: how a backend runs a call: the request is checked once, and then runs in a slot."""

from __future__ import annotations

from time import perf_counter_ns
from typing import Any

from aegisrt.backends.base.call import Call, late_waiting
from aegisrt.backends.base.description import OptionsT
from aegisrt.backends.base.failures import of_overwritten
from aegisrt.backends.base.hooks import EngineT, SlotT
from aegisrt.backends.base.lifecycle import Lifecycle
from aegisrt.backends.base.loaded import Loaded
from aegisrt.backends.base.undeclared import refuse_empty
from aegisrt.core.deadline import deadline_ns, late
from aegisrt.core.priority import priority_level
from aegisrt.core.request import (
    MODEL_METADATA,
    ExecutionRequest,
    ExecutionResult,
    answer_of,
    wants_model_metadata,
)
from aegisrt.core.result import Err, ErrorCode, Result, ResultError, fail
from aegisrt.devices.turns import Turns


class ExecuteSteps(Lifecycle[OptionsT, EngineT, SlotT]):
    """The steps of `execute`, for the layers above: a queue may lie between them. Thread-safe."""

    def prepare_call(
        self, request: ExecutionRequest, entered_ns: int, default_timeout_ms: float | None = None
    ) -> Call[EngineT, SlotT]:
        """Check everything about a request, once; return what `run_call` and `run_in_slot` run.

        The deadline counts from `entered_ns`; `default_timeout_ms` is for a request without a timeout. Raise
        `ResultError`, with the error that `execute` answers.
        """
        loaded = self._loaded
        if loaded is None:
            raise ResultError(self._not_loaded().error)
        call: Call[EngineT, SlotT] = Call()
        call.request = request
        call.entered_ns = entered_ns
        call.waited_ns = 0
        call.has_slot = False
        try:
            if request.priority != "normal":
                priority_level(request.priority)
            timeout_ms = request.timeout_ms
            if timeout_ms is None:
                timeout_ms = default_timeout_ms
            call.deadline_ns = None if timeout_ms is None else deadline_ns(timeout_ms, entered_ns)
            call.loaded = loaded
            call.inputs = loaded.check(request.inputs)
            if loaded.refuses_empty:
                refuse_empty(call.inputs)
            call.outputs = loaded.output_names if request.outputs is None else loaded.select(request.outputs)
        except Exception as error:
            raise ResultError(self._error(error, "checking a request")) from error
        return call

    def run_in_slot(self, call: Call[EngineT, SlotT], *, has_turn: bool = False) -> Result[ExecutionResult]:
        """Return the answer of a call that holds a slot; whoever made it enter frees the slot.

        `has_turn`: whether it is the call's turn on a shared stream.
        """
        loaded, deadline = call.loaded, call.deadline_ns
        try:
            if loaded.turns is not None and not has_turn:
                return self._run_in_turn(call, loaded.turns)
            started = perf_counter_ns()
            if deadline is not None and started >= deadline:
                return late("before the engine started")
            wanted = call.outputs
            values = self._execute(call.slot, call.inputs, wanted)
            done = perf_counter_ns()
            if deadline is not None and done >= deadline:
                return late("while the engine ran")
            if len(values) != len(wanted):
                raise fail(ErrorCode.INTERNAL, f"{self.kind} returned {len(values)} outputs, not {len(wanted)}")
            outputs = {wanted[0]: values[0]} if len(wanted) == 1 else dict(zip(wanted, values, strict=True))
            call.moments = moments = (call.entered_ns, call.waited_ns, started, done)
            answer = answer_of(outputs, moments, loaded.origin)
            if call.request.id is not None or call.request.parameters:
                answer.value.metadata = _metadata(loaded, call.request)
            return answer
        except ResultError as known:
            return Err(known.error)
        except Exception as error:  # noqa: BLE001  (the contract: an engine's error is a Result)
            return Err(of_overwritten(self._error(error, "executing the model"), loaded.files))

    def _run(self, call: Call[EngineT, SlotT]) -> Result[ExecutionResult]:
        """Return the answer of a prepared call: wait for a slot, run there, free it.

        If the model has been replaced since, the request is checked again, for the new one.
        """
        try:
            try:
                while not self._enter(call):
                    self._check_again(call)
                return self.run_in_slot(call)
            except ResultError as refused:
                return Err(refused.error)
            finally:
                with self._gate:
                    call.leave()
        except BaseException:
            with self._gate:
                call.leave()  # if an interrupt came before the other `leave`, or in it
            raise

    def _enter(self, call: Call[EngineT, SlotT]) -> bool:
        with self._gate:
            return call.enter()

    def _check_again(self, call: Call[EngineT, SlotT]) -> None:
        fresh = self.prepare_call(call.request, call.entered_ns)
        call.loaded, call.inputs, call.outputs = fresh.loaded, fresh.inputs, fresh.outputs

    def _run_in_turn(self, call: Call[EngineT, SlotT], turns: Turns) -> Result[ExecutionResult]:
        since_ns = perf_counter_ns()
        if not turns.take(call.deadline_ns):
            raise late_waiting("for its turn on a shared stream", "give the model its own stream")
        try:
            call.waited_ns += perf_counter_ns() - since_ns
            return self.run_in_slot(call, has_turn=True)
        finally:
            turns.give()


def _metadata(loaded: Loaded[Any, Any], request: ExecutionRequest) -> dict[str, Any]:
    metadata = loaded.metadata.copy()
    if request.id is not None:
        metadata["request_id"] = request.id
    if wants_model_metadata(request):
        metadata[MODEL_METADATA] = loaded.model_metadata.copy()
    return metadata
