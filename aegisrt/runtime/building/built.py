"""`BuiltBackends`: the loaded backends of a deployment, and which of them must not batch."""

from __future__ import annotations

from typing import Any

from aegisrt.backends.base.backend import RuntimeBackend


class BuiltBackends(dict[str, RuntimeBackend[Any]]):
    """One loaded backend for each model, by name."""

    def __init__(self) -> None:
        super().__init__()
        self.unbatched: dict[str, str] = {}
        """Why a model with `batching` must run its requests one by one, by the model's name."""
