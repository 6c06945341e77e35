"""`Probe`: a backend whose hooks tests can watch, block and break."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from aegisrt.backends.base.backend import RuntimeBackend
from aegisrt.core.capabilities import Capabilities
from aegisrt.core.options import BackendOptions
from aegisrt.core.tensor import Array, DataType, Signature, TensorSpec


class ProbeOptions(BackendOptions):
    kind: Literal["probe"] = "probe"


class Engine:
    def __init__(self, name: str) -> None:
        self.name = name
        self.opened = 0


class Slot:
    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.thread: int | None = None


class Probe(RuntimeBackend[ProbeOptions]):
    """`y` is `x` doubled, `z` is `x` negated; `log` has the hooks in the order of their calls."""

    kind = "probe"
    Options: ClassVar[type[BackendOptions]] = ProbeOptions
    capabilities = Capabilities(formats=(".probe",), dtypes=frozenset({DataType.FP32}), dynamic_shapes=True)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.log: list[str] = []
        self.fail: dict[str, Callable[[], Exception]] = {}
        self.gate = threading.Event()
        self.gate.set()
        self.running = threading.Semaphore(0)
        self.shared_slots = 0

    def _step(self, hook: str, what: str) -> None:
        self.log.append(f"{hook} {what}")
        if hook in self.fail:
            raise self.fail[hook]()

    def _load(self, path: Path) -> Engine:
        self._step("load", path.stem)
        return Engine(path.stem)

    def _signature(self, engine: Engine) -> Signature:
        self._step("signature", engine.name)
        x, y, z = (TensorSpec(name, DataType.FP32, ("n",)) for name in "xyz")
        return Signature((x,), (y, z), (("pairs", "map(int64,float)"),))

    def _open(self, engine: Engine, stream: Any) -> Slot:
        engine.opened += 1
        self._step("open-second" if engine.opened == 2 else "open", engine.name)
        return Slot(engine)

    def _execute(self, slot: Slot, inputs: dict[str, Array], outputs: tuple[str, ...]) -> Sequence[Any]:
        if slot.thread is not None:
            self.shared_slots += 1
        slot.thread = threading.get_ident()
        try:
            self.running.release()
            if not self.gate.is_set():
                self.gate.wait(10)
            if "execute" in self.fail:
                raise self.fail["execute"]()
            time.sleep(0)
            made = {"y": inputs["x"] * np.float32(2), "z": -inputs["x"]}
            return [made[name] for name in outputs]
        finally:
            slot.thread = None

    def _close(self, slot: Slot) -> None:
        self._step("close", slot.engine.name)

    def _unload(self, engine: Engine) -> None:
        self._step("unload", engine.name)

    def _metadata(self, engine: Engine) -> dict[str, Any]:
        return {"name": engine.name}
