"""`Crashing`: a backend whose engine takes its process down when it is told to, as native engines do."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal
from unittest.mock import Mock

import numpy as np

from aegisrt.backends.base.backend import RuntimeBackend
from aegisrt.core.capabilities import Capabilities
from aegisrt.core.options import BackendOptions
from aegisrt.core.result import Error, ErrorCode, fail
from aegisrt.core.tensor import Array, DataType, Signature, TensorSpec
from aegisrt.devices.cuda import context as cuda

CRASH, REFUSE, HANG, SLOW, LOSE, WIDE = -1.0, -2.0, -3.0, -4.0, -5.0, -6.0
"""First elements of `x` that end the process, are refused by the engine, take an hour, half a second, or the GPU, or
are answered as FP64."""


class CrashingOptions(BackendOptions):
    kind: Literal["crashing"] = "crashing"


class Crashing(RuntimeBackend[CrashingOptions]):
    """`y` is `x` doubled, `text` is `name`; both FP32 [n] and BYTES [m]."""

    kind = "crashing"
    Options: ClassVar[type[BackendOptions]] = CrashingOptions
    capabilities = Capabilities(
        formats=(".crash",),
        dtypes=frozenset(DataType),
        devices=("cpu", "cuda"),
        dynamic_shapes=True,
        zero_size=True,
        scalars=True,
    )

    def _load(self, path: Path) -> Path:
        content = path.read_text()
        if content == "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        if content == "damaged":
            raise fail(ErrorCode.DATA_LOSS, "the model is damaged", "copy it again")
        return path

    def _signature(self, engine: Any) -> Signature:
        x, name = TensorSpec("x", DataType.FP32, ("n",)), TensorSpec("name", DataType.BYTES, (None,))
        y, text = TensorSpec("y", DataType.FP32, ("n",)), TensorSpec("text", DataType.BYTES, (None,))
        return Signature((x, name), (y, text))

    def _metadata(self, engine: Any) -> dict[str, Any]:
        return {"engine": "crashing 1"}

    def _memory(self) -> int:
        return 1000

    def _execute(self, slot: Any, inputs: dict[str, Array], outputs: tuple[str, ...]) -> Sequence[Array]:
        first = inputs["x"][0] if inputs["x"].size else 0
        if first == CRASH:
            os.kill(os.getpid(), signal.SIGSEGV)
        if first == REFUSE:
            raise fail(ErrorCode.INVALID_ARGUMENT, "the engine refuses it")
        if first in (HANG, SLOW):
            time.sleep(3600 if first == HANG else 0.5)
        if first == LOSE:
            cuda._contexts[self.device.ordinal] = Mock(lost=Error(ErrorCode.UNAVAILABLE, "an illegal address"))
        if self.device.kind == "cuda" and cuda.is_lost(self.device.ordinal):
            raise fail(ErrorCode.UNAVAILABLE, "the GPU is lost to this process")
        made = {"y": inputs["x"] * np.float32(2), "text": inputs["name"]}
        if first == WIDE:
            made["y"] = made["y"].astype(np.float64)
        return [made[name] for name in outputs]
