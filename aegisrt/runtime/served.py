"""`ServedModel`: one model of a deployment: its intake answers requests, its life counts and ends."""

from __future__ import annotations

from typing import Any

from aegisrt.backends.base.backend import RuntimeBackend
from aegisrt.manifest.schema import ModelOptions
from aegisrt.runtime.intake import Intake
from aegisrt.runtime.life import Life
from aegisrt.runtime.parts import ModelParts
from aegisrt.runtime.scheduling.deadlines import DeadlineWatch


class ServedModel:
    """A loaded backend behind a queue."""

    def __init__(
        self,
        name: str,
        backend: RuntimeBackend[Any],
        options: ModelOptions,
        watch: DeadlineWatch | None = None,
        *,
        unbatched: str | None = None,
    ) -> None:
        """`unbatched` is why a model with batching options must not batch; None if it may."""
        self.backend = backend
        self.watch = watch or DeadlineWatch()
        """Of the whole deployment; the caller closes it."""
        self.parts = ModelParts.of(name, backend, options, self.watch, unbatched)
        self.intake = Intake(self.parts)
        self.life = Life(self.parts)
