"""`Device`: the device that a backend runs on."""

from __future__ import annotations

from dataclasses import dataclass

from aegisrt.core.result import ErrorCode, fail
from aegisrt.devices.options import CpuOptions, CudaOptions

KINDS = ("cpu", "cuda")


@dataclass(frozen=True, slots=True)
class Device:
    """A device of one machine; plain data, opens nothing."""

    name: str = "cpu"
    """Its name in the manifest; in direct use `cpu`, `cuda:0`."""
    kind: str = "cpu"
    ordinal: int = 0
    """Its number among the devices of its kind."""
    threads: int | None = None
    """CPU only: threads inside one call; None: the engine decides."""

    @staticmethod
    def declared(name: str, options: CpuOptions | CudaOptions) -> Device:
        """Return the device that a manifest declares under `name`."""
        if isinstance(options, CpuOptions):
            return Device(name, "cpu", threads=options.threads)
        return Device(name, "cuda", ordinal=options.ordinal)

    @staticmethod
    def parse(text: str) -> Device:
        """Return the device that `cpu`, `cuda` or `cuda:1` names.

        INVALID_ARGUMENT: if `text` is anything else.
        """
        kind, _, ordinal = text.partition(":")
        if kind not in KINDS or (ordinal and not ordinal.isdecimal()):
            raise fail(ErrorCode.INVALID_ARGUMENT, f"`{text}` is not a device", "devices are `cpu`, `cuda`, `cuda:1`")
        return Device(text, kind, int(ordinal or 0))
