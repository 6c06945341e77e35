"""`BuiltBackends`: the loaded backends of a deployment, its shared streams, and which backends must not batch."""

from __future__ import annotations

from typing import Any

from aegisrt.backends.base.backend import RuntimeBackend
from aegisrt.devices.options import StreamOptions
from aegisrt.devices.shared_stream import SharedStream
from aegisrt.manifest.schema import Manifest


class BuiltBackends(dict[str, RuntimeBackend[Any]]):
    """One loaded backend for each model, by name."""

    def __init__(self) -> None:
        super().__init__()
        self.unbatched: dict[str, str] = {}
        """Why a model with `batching` must run its requests one by one, by the model's name."""
        self.took_ms: dict[str, float] = {}
        """How long each model took to deploy, in milliseconds, by its name: build, load, checks and warm-up."""
        self._shared: dict[str, SharedStream] = {}

    def stream(self, manifest: Manifest[Any], name: str) -> StreamOptions | SharedStream:
        """Return the manifest's stream of that name; a shared one is the same object for all models."""
        declared = manifest.streams[name]
        return self._shared.setdefault(name, SharedStream(declared)) if declared.shared else declared
