"""`build_in_child`: an engine file with its sidecar and its log, built by a child process."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from aegisrt.backends.process.job import Limits, run_child
from aegisrt.core.sidecar import Sidecar, write_sidecar


def build_in_child(
    module: str,
    job: dict[str, Any],
    source: Path,
    target: Path,
    sidecar: Sidecar,
    *,
    limits: Limits,
    environment: Iterable[str],
    progress: Callable[[str], None] | None,
) -> None:
    """Build `target` from `source` by the child `module`; write the sidecar, with the child's answer as its metadata.

    The job gets the paths `source`, `file`, which the child writes, and `folder`, which is deleted afterwards. The
    caller has described the source before: a model that changes meanwhile must not pass for the one that was built.
    The log is `target` with the suffix `.log`. Errors as of `run_child`.
    """
    log = target.with_name(f"{target.name}.log")
    log.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".build-") as name:
        folder = Path(name).absolute()
        file = folder / target.name
        paths = {"source": str(source.absolute()), "file": str(file), "folder": str(folder)}
        answer = run_child(
            module, {**job, **paths}, folder, limits=limits, log=log, environment=environment, progress=progress
        )
        file.replace(target)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    write_sidecar(target, replace(sidecar, metadata={**answer, **sidecar.metadata}, created=now), trailer=True)
