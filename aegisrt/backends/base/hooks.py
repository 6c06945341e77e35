"""`Hooks`: the methods that an engine's file implements. They may raise anything: the base class converts it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Generic, cast

from typing_extensions import TypeVar

from aegisrt.backends.base.description import Description, OptionsT
from aegisrt.core.result import Error, ErrorCode, ResultError, fail
from aegisrt.core.tensor import Array, DeviceView, Signature
from aegisrt.devices.base import Device

EngineT = TypeVar("EngineT", default=Any)
"""What `_load` returns: the loaded model, with the weights."""
SlotT = TypeVar("SlotT", default=Any)
"""What `_open` returns: what one call at a time needs."""


class Hooks(ABC, Description[OptionsT], Generic[OptionsT, EngineT, SlotT]):
    """`_load`, `_signature` and `_execute` are abstract; the others have a default."""

    options: OptionsT
    device: Device
    stream: Any
    """A `StreamOptions`; a `SharedStream` if it is shared; a `CudaStream`; or None."""
    instances: int
    _progress: Callable[[str], None] | None = None
    """While `_build` runs: called with a text for each step."""

    @property
    def restarts(self) -> int:
        """How many processes of the engine died and were replaced; 0 for an engine in this process."""
        return 0

    @abstractmethod
    def _load(self, path: Path) -> EngineT:
        """Return the engine's object for the model file at `path`, with the weights that all instances share."""

    @abstractmethod
    def _signature(self, engine: EngineT) -> Signature:
        """Return the inputs and outputs of the loaded model, in its own order."""

    @abstractmethod
    def _execute(self, slot: SlotT, inputs: dict[str, Array], outputs: tuple[str, ...]) -> Sequence[Any]:
        """Return the values of `outputs`, in that order, in memory that the caller will own.

        `inputs` are checked: native byte order, C-contiguous, aligned; they may be read-only and are never written.
        A slot is in one thread at a time.
        """

    def _open(self, engine: EngineT, stream: Any) -> SlotT:
        """Return a slot: what one call at a time needs besides the engine's object; by default that object itself."""
        return cast("SlotT", engine)

    def _close(self, slot: SlotT) -> None:
        """Release what `_open` acquired."""

    def _unload(self, engine: EngineT) -> None:
        """Release what `_load` acquired; all slots are closed before."""

    def _metadata(self, engine: EngineT) -> dict[str, Any]:
        """Return the `metadata` of every result of the loaded model."""
        return {}

    def _model_metadata(self, engine: EngineT) -> dict[str, str]:
        """Return what the model's author wrote into the file, such as class names: texts by key.

        Of an ONNX model: its custom metadata (`metadata_props`), and `producer_name`, `domain`, `doc_string` and
        `model_version` if they are set.
        """
        return {}

    def _device_view(self, engine: EngineT) -> DeviceView | None:
        """Return a function that recognizes inputs on the engine's own device, or None if there are none.

        `_execute` gets those without a copy.
        """
        return None

    def _classify(self, error: Exception) -> ErrorCode | Error | None:
        """Return the code for an engine's exception, or the whole error; None leaves it to the base class."""
        return None

    def _build(self, source: Path, target: Path) -> None:
        """Write an engine file built from `source` to `target`, and its sidecar (core/sidecar.py) beside it."""
        raise self._builds_nothing()

    def _recipe(self) -> dict[str, Any]:
        """Return the value of `recipe`."""
        raise self._builds_nothing()

    def _builds_nothing(self) -> ResultError:
        message = f"backend `{self.kind}` builds no engine files: it loads {', '.join(self.capabilities.formats)}"
        return fail(ErrorCode.UNIMPLEMENTED, message)

    def _memory(self) -> int:
        """Return the bytes that the loaded model holds on its device."""
        raise fail(ErrorCode.UNIMPLEMENTED, f"backend `{self.kind}` does not report its memory")
