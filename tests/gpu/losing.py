"""`Losing`: ONNX Runtime on a GPU that an illegal address takes from its process when it is told to."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from aegisrt import ONNXBackend
from aegisrt.core.tensor import Array

LOSE = 200.0
"""The first pixel of an image that loses the GPU."""


_STORE = b"""
.version 8.0
.target sm_75
.address_size 64
.visible .entry store() {
  .reg .b64 %address;
  .reg .b32 %value;
  mov.u64 %address, 64;
  mov.u32 %value, 1;
  st.global.u32 [%address], %value;
  ret;
}
"""
"""Writes to address 64, which no allocation has."""


def lose(ordinal: int = 0) -> None:
    """Let a kernel write to an illegal address of a device, which answers this process nothing else from then on."""
    import pycuda.driver

    context = pycuda.driver.Device(ordinal).retain_primary_context()
    context.push()
    with suppress(pycuda.driver.Error):
        pycuda.driver.module_from_buffer(_STORE).get_function("store")(block=(1, 1, 1))
        context.synchronize()
    pycuda.driver.Context.pop()


def fail_assertion(ordinal: int = 0) -> None:
    """Let an assertion fail on a device, as torch's do."""
    import torch

    tensor = torch.zeros(4, device=f"cuda:{ordinal}")
    with suppress(RuntimeError):
        tensor[torch.tensor([2**40], device=tensor.device)] = 1
        torch.cuda.synchronize(ordinal)


class Losing(ONNXBackend):
    """Takes digits, as its engine does."""

    def _execute(self, slot: Any, inputs: dict[str, Array], outputs: tuple[str, ...]) -> Sequence[Array]:
        if inputs["image"].size and inputs["image"].flat[0] == LOSE:
            lose(self.device.ordinal)
        return super()._execute(slot, inputs, outputs)
