"""`Announcing`: a mock that leaves a file when a call begins in its process."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aegisrt.backends.mock import MockBackend
from aegisrt.core.tensor import Array

FOLDER = "AEGISRT_TEST_ANNOUNCED"
"""The environment variable with the folder; a file in it is named after the process."""


class Announcing(MockBackend):
    def _execute(self, slot: Any, inputs: dict[str, Array], outputs: tuple[str, ...]) -> Sequence[Array]:
        (Path(os.environ[FOLDER]) / str(os.getpid())).touch()
        return super()._execute(slot, inputs, outputs)
