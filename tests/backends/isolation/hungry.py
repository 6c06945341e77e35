"""`Hungry`: a backend whose engine allocates as much as it is told to, and dies in the ways of native engines."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from aegisrt.backends.base.backend import RuntimeBackend
from aegisrt.core.capabilities import Capabilities
from aegisrt.core.options import BackendOptions
from aegisrt.core.tensor import Array, DataType, Signature, TensorSpec


class HungryOptions(BackendOptions):
    kind: Literal["hungry"] = "hungry"


class Hungry(RuntimeBackend[HungryOptions]):
    """`y` is `x`, after an allocation of `x[0]` MiB that is written; the file says what a refusal of it does."""

    kind = "hungry"
    Options: ClassVar[type[BackendOptions]] = HungryOptions
    capabilities = Capabilities(formats=(".hungry",), dtypes=frozenset(DataType), dynamic_shapes=True)

    def _load(self, path: Path) -> str:
        words = path.read_text().split()
        if words[0] == "load":
            np.ones(int(words[1]) << 20, np.uint8)
        return words[0]

    def _signature(self, engine: Any) -> Signature:
        return Signature((TensorSpec("x", DataType.FP32, ("n",)),), (TensorSpec("y", DataType.FP32, (None,)),))

    def _execute(self, slot: str, inputs: dict[str, Array], outputs: tuple[str, ...]) -> Sequence[Array]:
        mebibytes = int(inputs["x"][0])
        if self._loaded.engine == "wide":
            return [np.zeros(mebibytes << 18, np.float32)]
        try:
            np.ones(mebibytes << 20, np.uint8)
        except MemoryError:
            if self._loaded.engine == "abort":
                sys.stderr.write("terminate called after throwing an instance of 'std::bad_alloc'\n")
                sys.stderr.flush()
                os.abort()
            if self._loaded.engine == "crash":
                os.kill(os.getpid(), 11)
            if self._loaded.engine == "text":
                raise RuntimeError("std::bad_alloc") from None
            raise
        return [inputs["x"]]
