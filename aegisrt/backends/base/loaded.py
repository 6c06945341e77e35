"""`Loaded`: one loaded model of a backend, with its slots and the count of its running calls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any, Generic

from aegisrt.backends.base.hooks import EngineT, SlotT
from aegisrt.backends.files.snapshot import Snapshot
from aegisrt.backends.files.unserved import unserved
from aegisrt.core.capabilities import Capabilities
from aegisrt.core.deadline import left_s
from aegisrt.core.inputs import InputCheck
from aegisrt.core.result import ErrorCode, ResultError, fail
from aegisrt.core.suggest import suggest
from aegisrt.core.tensor import DeviceView, Signature
from aegisrt.devices.turns import Turns


@dataclass(slots=True, eq=False)
class Loaded(Generic[EngineT, SlotT]):
    """The engine's object, and what the base class needs at each call."""

    engine: EngineT
    signature: Signature
    slots: list[SlotT]
    """One for each instance: an execution context, a VM, a session binding."""
    metadata: dict[str, Any]
    capabilities: Capabilities
    files: Snapshot
    """What it was loaded from."""
    model_metadata: dict[str, str] = field(default_factory=dict)
    device_view: DeviceView | None = None
    """Recognizes inputs on the engine's own device."""
    turns: Turns | None = None
    """The turns of the shared stream that the model's calls use; None if they need not wait for each other."""
    check: InputCheck = field(init=False)
    output_names: tuple[str, ...] = field(init=False)
    refuses_empty: bool = field(init=False)
    """Whether the backend does not declare tensors without elements."""
    free: SimpleQueue[SlotT] = field(init=False)
    """Slots that no call uses at the moment."""
    release: Callable[[SlotT], None] = field(init=False)
    """Returns a slot for the next call."""
    users: int = 0
    """Running calls; guarded by the backend's gate."""
    interrupted: bool = False
    """Whether a call was interrupted (by a signal, say) since all slots were last known to be free."""

    def __post_init__(self) -> None:
        self.check = InputCheck(self.signature.inputs, self.device_view, self.signature.defaults_fixed)
        self.output_names = tuple(spec.name for spec in self.signature.outputs)
        self.refuses_empty = not self.capabilities.zero_size
        self.free = SimpleQueue()
        for slot in self.slots:
            self.free.put(slot)
        self.release = self.free.put if self.turns is None else self._end_turn

    def take(self, deadline_ns: int | None) -> SlotT:
        """Return a free slot; wait for one until the deadline.

        DEADLINE_EXCEEDED: if none is free by then.
        """
        if deadline_ns is None and self.turns is None:
            return self.free.get()
        slot = self._free_slot(deadline_ns)
        try:
            if self.turns is not None and not self.turns.take(deadline_ns):
                raise _late("for its turn on a shared stream", "give the model its own stream")
        except BaseException:
            self.free.put(slot)
            raise
        return slot

    def free_all(self) -> None:
        """Make every slot free, while no call runs.

        An exception from outside, such as KeyboardInterrupt, may hit a call after the queue has handed out a slot and
        before a variable holds it: that call cannot return it, and the instance would be lost for good.
        """
        self.interrupted = False
        while not self.free.empty():
            self.free.get()
        for slot in self.slots:
            self.free.put(slot)

    def _free_slot(self, deadline_ns: int | None) -> SlotT:
        try:
            return self.free.get(timeout=None if deadline_ns is None else left_s(deadline_ns))
        except Empty:
            raise _late("for a free instance", "declare more `instances`") from None

    def _end_turn(self, slot: SlotT) -> None:
        assert self.turns is not None
        self.turns.give()
        self.free.put(slot)

    def select(self, outputs: Sequence[str]) -> tuple[str, ...]:
        """Return the requested output names.

        INVALID_ARGUMENT: if there is none, or one is unknown or repeated.
        UNIMPLEMENTED: if one has a type that is not served, or some are left out without `output_subset`.
        """
        if isinstance(outputs, str) or not isinstance(outputs, Sequence) or not outputs:
            message = f"outputs is {outputs!r}, not a sequence of output names"
            raise fail(ErrorCode.INVALID_ARGUMENT, message, "leave it out to get all outputs")
        for name in outputs:
            if name not in self.output_names:
                self._refuse_omitted(name)
                hint = suggest(str(name), self.output_names, "outputs")
                raise fail(ErrorCode.INVALID_ARGUMENT, f"`{name}` is not an output of the model", hint)
        if len(set(outputs)) != len(outputs):
            raise fail(ErrorCode.INVALID_ARGUMENT, f"outputs names one output twice: {', '.join(outputs)}")
        if len(outputs) < len(self.output_names) and not self.capabilities.output_subset:
            message = "this backend does not declare output_subset: it always returns all outputs"
            raise fail(ErrorCode.UNIMPLEMENTED, message, "leave `outputs` out of the request")
        return tuple(outputs)

    def _refuse_omitted(self, name: object) -> None:
        for omitted, kind in self.signature.omitted:
            if name == omitted:
                reason, hint = unserved(kind)
                raise fail(ErrorCode.UNIMPLEMENTED, f"output `{omitted}` is {reason}", hint)


def _late(what: str, hint: str) -> ResultError:
    message = f"the deadline passed while the request waited {what}"
    return fail(ErrorCode.DEADLINE_EXCEEDED, message, f"allow a longer timeout_ms, or {hint}")
