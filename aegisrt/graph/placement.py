"""`device_of`: the declared device that an option set runs on."""

from __future__ import annotations

from typing import Any

from aegisrt.backends.registry import backend_class
from aegisrt.core.options import BackendOptions
from aegisrt.core.result import Err
from aegisrt.manifest.schema import Manifest


def device_of(manifest: Manifest[Any], options: BackendOptions) -> str:
    """Return the name of a declared device: the one that the options name, else `cpu`.

    A kind that does not run on a CPU, and whose options name no device, runs on the first declared one that it can use.
    """
    if "device" in options.model_fields_set:
        return options.device
    found = backend_class(options.kind)
    if isinstance(found, Err) or manifest.devices[options.device].kind in found.value.capabilities.devices:
        return options.device
    able = found.value.capabilities.devices
    return next((name for name, device in manifest.devices.items() if device.kind in able), options.device)
