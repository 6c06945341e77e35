"""`Loaded`: one loaded model of a backend, with its slots and the count of its running calls."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import InitVar, dataclass, field
from typing import Any, Generic

from aegisrt.backends.base.hooks import EngineT, SlotT
from aegisrt.backends.files.snapshot import Snapshot
from aegisrt.backends.files.unserved import unserved
from aegisrt.core.capabilities import Capabilities
from aegisrt.core.inputs import InputCheck
from aegisrt.core.request import ResultOrigin
from aegisrt.core.result import ErrorCode, fail
from aegisrt.core.suggest import suggest
from aegisrt.core.tensor import Array, DeviceView, Signature, TensorSpec
from aegisrt.devices.turns import Turns


@dataclass(slots=True, eq=False)
class Loaded(Generic[EngineT, SlotT]):
    """The engine's object, and what the base class needs at each call."""

    engine: EngineT
    signature: Signature
    slots: list[SlotT]
    """One for each instance: an execution context, a VM, a session binding."""
    capabilities: Capabilities
    files: Snapshot
    """What it was loaded from."""
    origin: ResultOrigin
    model_metadata: dict[str, str] = field(default_factory=dict)
    device_view: DeviceView | None = None
    """Recognizes inputs on the engine's own device."""
    gate: InitVar[threading.Lock] = field(kw_only=True)
    """The backend's lock."""
    turns: Turns | None = None
    """The turns of the shared stream that the model's calls use; None if they need not wait for each other."""
    check: Callable[[Mapping[str, Any]], dict[str, Array]] = field(init=False)
    """As `InputCheck.__call__`."""
    output_names: tuple[str, ...] = field(init=False)
    refuses_empty: bool = field(init=False)
    """Whether the backend does not declare tensors without elements, and an input may have none."""
    free: list[SlotT] = field(init=False)
    """Slots that no call uses at the moment; each call takes the first, so that all are used in turns.

    This and what follows is guarded by the backend's gate.
    """
    waiting: int = 0
    """Calls that wait for a slot."""
    is_replaced: bool = False
    """Whether the backend has loaded another model since, or none: then no further call enters this one."""
    freed: threading.Condition = field(init=False)
    """Notified when a slot becomes free, if calls wait."""
    ended: threading.Condition = field(init=False)
    """Notified when a call ends, once this model is replaced."""
    _selected: tuple[str, ...] = field(init=False)
    """The outputs that were requested last: most requests want the same."""

    def __post_init__(self, gate: threading.Lock) -> None:
        check = InputCheck(self.signature.inputs, self.device_view, self.signature.defaults_fixed)
        self.check = check.__call__  # a bound method: calling an instance takes longer
        self.output_names = self._selected = tuple(spec.name for spec in self.signature.outputs)
        self.refuses_empty = not self.capabilities.zero_size and any(map(_may_be_empty, self.signature.inputs))
        self.free = list(self.slots)
        self.freed = threading.Condition(gate)
        self.ended = threading.Condition(gate)

    @property
    def metadata(self) -> dict[str, Any]:
        """The `metadata` of every result."""
        return self.origin.metadata

    @property
    def is_in_use(self) -> bool:
        """Whether calls run, or wait for a slot; read it with the gate held."""
        return len(self.free) < len(self.slots) or self.waiting > 0

    def slot_freed(self) -> None:
        """Wake those that wait for a free slot, or for the end of this model; the gate is held."""
        if self.waiting:
            self.freed.notify()
        if self.is_replaced:
            self.ended.notify_all()

    def select(self, outputs: Sequence[str]) -> tuple[str, ...]:
        """Return the requested output names. Thread-safe.

        INVALID_ARGUMENT: if there is none, or one is unknown or repeated.
        UNIMPLEMENTED: if one has a type that is not served, or some are left out without `output_subset`.
        """
        last = self._selected
        if (type(outputs) is list or type(outputs) is tuple) and outputs and (*outputs,) == last:
            return last
        if isinstance(outputs, str) or not isinstance(outputs, Sequence) or not outputs:
            message = f"outputs is {outputs!r}, not a sequence of output names"
            raise fail(ErrorCode.INVALID_ARGUMENT, message, "leave it out to get all outputs")
        known, wanted = self.output_names, []
        for name in outputs:
            if name not in known:
                self._refuse_omitted(name)
                hint = suggest(str(name), known, "outputs")
                raise fail(ErrorCode.INVALID_ARGUMENT, f"`{name}` is not an output of the model", hint)
            wanted.append(known[known.index(name)])
        if len(set(wanted)) != len(wanted):
            raise fail(ErrorCode.INVALID_ARGUMENT, f"outputs names one output twice: {', '.join(wanted)}")
        if len(wanted) < len(known) and not self.capabilities.output_subset:
            message = "this backend does not declare output_subset: it always returns all outputs"
            raise fail(ErrorCode.UNIMPLEMENTED, message, "leave `outputs` out of the request")
        self._selected = selected = tuple(wanted)
        return selected

    def _refuse_omitted(self, name: object) -> None:
        for omitted, kind in self.signature.omitted:
            if name == omitted:
                reason, hint = unserved(kind)
                raise fail(ErrorCode.UNIMPLEMENTED, f"output `{omitted}` is {reason}", hint)


def _may_be_empty(spec: TensorSpec) -> bool:
    return spec.shape is None or any(not isinstance(dim, int) or dim == 0 for dim in spec.shape)
