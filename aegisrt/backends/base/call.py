"""`Call`: one call of a loaded model below `execute`; everything about its request is checked."""

from __future__ import annotations

from time import perf_counter_ns
from typing import Any, Generic

from aegisrt.backends.base.hooks import EngineT, SlotT
from aegisrt.backends.base.loaded import Loaded
from aegisrt.core.deadline import left_s
from aegisrt.core.request import ExecutionRequest
from aegisrt.core.result import ErrorCode, ResultError, fail
from aegisrt.core.tensor import Array
from aegisrt.core.timing import Moments


class Call(Generic[EngineT, SlotT]):
    """Checked inputs, wanted outputs and one absolute deadline; and, while it runs, the slot that it holds.

    Made by `ExecuteSteps.prepare_call`; one thread at a time uses it. `enter` and `leave` are called with the backend's
    gate held. They change `loaded.free` and `has_slot` with no call between them, and Python handles no signal there.
    So after an interrupt, wherever it came, `leave` frees exactly what the call has taken.
    """

    __slots__ = (
        "deadline_ns", "entered_ns", "has_slot", "inputs", "loaded", "moments", "outputs", "request", "slot",
        "waited_ns",
    )  # fmt: skip
    request: ExecutionRequest
    """For its `id` and `parameters`, and to check it again if the model is replaced before the call runs."""
    loaded: Loaded[EngineT, SlotT]
    """The model that it was checked for."""
    inputs: dict[str, Array]
    outputs: tuple[str, ...]
    entered_ns: int
    """When the request entered `execute` or `submit`, as `time.perf_counter_ns`; so are all of these times."""
    deadline_ns: int | None
    waited_ns: int
    """How long it has waited in a queue, for an instance or for its turn."""
    slot: Any
    has_slot: bool
    moments: Moments
    """Of the call's run, if it was answered by outputs."""

    def joined(
        self, request: ExecutionRequest, inputs: dict[str, Array], entered_ns: int, deadline_ns: int | None
    ) -> Call[EngineT, SlotT]:
        """Return a call that takes the place of this one and others: of the same model, with all of their rows."""
        call: Call[EngineT, SlotT] = Call()
        call.request, call.loaded, call.inputs, call.outputs = request, self.loaded, inputs, self.outputs
        call.entered_ns, call.deadline_ns, call.waited_ns = entered_ns, deadline_ns, 0
        call.has_slot = False
        return call

    def enter(self) -> bool:
        """Take a slot, and wait for one until the deadline; return False if the model has been replaced.

        DEADLINE_EXCEEDED: if none is free by then.
        """
        loaded = self.loaded
        if loaded.is_replaced:
            return False
        if not loaded.free:
            self._wait()
        self.slot = loaded.free[0]
        self.has_slot = True
        del loaded.free[0]
        return True

    def leave(self) -> None:
        """Free the slot; only the first call has an effect."""
        loaded = self.loaded
        if self.has_slot:
            self.has_slot = False
            loaded.free += (self.slot,)
        if loaded.waiting or loaded.is_replaced:
            loaded.slot_freed()

    def _wait(self) -> None:
        loaded, deadline_ns, since_ns = self.loaded, self.deadline_ns, perf_counter_ns()
        loaded.waiting += 1
        try:
            while not loaded.free:
                wait_s = None if deadline_ns is None else left_s(deadline_ns)
                if wait_s == 0:
                    raise late_waiting("for a free instance", "declare more `instances`")
                loaded.freed.wait(wait_s)
        except BaseException:
            loaded.freed.notify()  # this call may have used up a notification: pass it on
            raise
        finally:
            loaded.waiting -= 1
            if loaded.is_replaced:
                loaded.ended.notify_all()
        self.waited_ns += perf_counter_ns() - since_ns


def late_waiting(what: str, hint: str) -> ResultError:
    """Return DEADLINE_EXCEEDED: the deadline passed while the request waited for something."""
    message = f"the deadline passed while the request waited {what}"
    return fail(ErrorCode.DEADLINE_EXCEEDED, message, f"allow a longer timeout_ms, or {hint}")
