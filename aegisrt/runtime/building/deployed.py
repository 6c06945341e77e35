"""`log_deployed`: one event for each model that serves from now on."""

from __future__ import annotations

from typing import Any

from aegisrt.backends.base.backend import RuntimeBackend
from aegisrt.backends.base.description import availability_of
from aegisrt.core.shown.log import Log
from aegisrt.runtime.building.built import BuiltBackends

_log = Log(__name__)


def log_deployed(backends: BuiltBackends) -> None:
    """Log the engine, its version and providers, the device, the instances and the time of each model."""
    if not _log.logs_info():
        return
    for name, backend in backends.items():
        ms = backends.took_ms[name]
        version, providers = availability_of(type(backend)).version, (backend.metadata or {}).get("providers")
        shown = [" ".join(filter(None, (backend.kind, version))), *(map(str, providers) if providers else ())]
        _log.info(
            "deployed model `%s`: %s, on %s, %s, in %.0f ms",
            name,
            ", ".join(shown),
            backend.device.name,
            _instances(backend),
            ms,
            model=name,
            engine=backend.kind,
            version=version,
            providers=providers,
            device=backend.device.name,
            instances=backend.instances,
            ms=round(ms, 3),
        )


def _instances(backend: RuntimeBackend[Any]) -> str:
    processes = " in processes of their own" if backend.options.isolation == "process" else ""
    return f"{backend.instances} {'instance' if backend.instances == 1 else 'instances'}{processes}"
