"""Makes a library as if it was built elsewhere: without a sidecar and a trailer."""

from __future__ import annotations

import os
from pathlib import Path

from aegisrt.core.sidecar import bare_size, sidecar_path


def strip(library: Path) -> None:
    """Remove the sidecar and the trailer."""
    sidecar_path(library).unlink()
    os.truncate(library, bare_size(library))
