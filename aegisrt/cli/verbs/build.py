"""`aegisrt build`: build every engine file that a manifest needs, before anything runs."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from aegisrt.cli.arguments import Arguments, parse, verb_parser
from aegisrt.cli.deployment import resolved_or_code
from aegisrt.cli.output import engine_output, error_json, print_error, print_json, warn

if TYPE_CHECKING:
    from aegisrt.runtime.building.prebuild import Prebuilt

DESCRIPTION = """Build every engine file that the manifest's models need, and keep it in the cache.
Cached files are verified; no model is loaded.

    aegisrt build deploy.yaml
    aegisrt build deploy.yaml models.digits.backend=tvm --force

exit codes: 0 success, 1 a build failed, 2 a usage error or an invalid manifest."""


_COUNTED = re.compile(r"\b(\d+) of (\d+)\b")
_SECONDS_BETWEEN_LINES = 5.0


def main(argv: Sequence[str]) -> int:
    """Return 0, 1 if a build failed, 2 for a usage error or an invalid manifest."""
    parser = verb_parser("build", DESCRIPTION)
    parser.add_argument("--force", action="store_true", help="build again even if the cache holds a file")
    arguments = parse(parser, argv)
    from aegisrt.core.result import Err
    from aegisrt.runtime.building.prebuild import build_engine_files

    resolved = resolved_or_code(arguments)
    if isinstance(resolved, int):
        return resolved
    graph, origins = resolved.graph, resolved.origins
    rows, failed, started = [], 0, time.monotonic()
    with _progress() as report_progress:
        builds = build_engine_files(graph, origins, force=arguments.force, progress=report_progress)
        while (prebuilt := _next(builds)) is not None:
            took_s, started = time.monotonic() - started, time.monotonic()
            rows.append(_row(prebuilt, took_s))
            if isinstance(prebuilt.file, Err):
                failed += 1
                if arguments.format != "json":
                    print_error(prebuilt.file.error, arguments.format)
    _print(rows, failed, arguments)
    return 1 if failed else 0


def _next(builds: Iterator[Prebuilt]) -> Prebuilt | None:
    with engine_output():
        return next(builds, None)


@contextmanager
def _progress() -> Iterator[Callable[[str, str], None]]:
    """Yield a function of (model, step) that shows progress: a bar on a terminal, else lines at intervals."""
    if sys.stderr.isatty():
        from aegisrt.cli.render import progress_bar

        with progress_bar("building") as move:
            yield lambda model, text: move(*_share(text), f"{model}: {text}")
        return
    last: dict[str, float] = {}

    def report_progress(model: str, text: str) -> None:
        counted = _COUNTED.search(text) is not None
        if counted and time.monotonic() - last.get(model, 0.0) < _SECONDS_BETWEEN_LINES:
            return
        if counted:
            last[model] = time.monotonic()
        warn(f"{model}: {text}")
        sys.stderr.flush()

    yield report_progress


def _share(text: str) -> tuple[int, int]:
    """Return (done, total) of a step such as `tuning 14 of 64`; (0, 1) for a step without numbers."""
    match = _COUNTED.search(text)
    return (int(match[1]), int(match[2])) if match else (0, 1)


def _row(prebuilt: Prebuilt, took_s: float) -> dict[str, Any]:
    from aegisrt.core.result import Err

    row: dict[str, Any] = {"model": prebuilt.model, "state": "as_it_is", "seconds": round(took_s, 3)}
    if prebuilt.file is None:
        return row
    if isinstance(prebuilt.file, Err):
        return {**row, "state": "failed", "error": error_json(prebuilt.file.error)}
    file = prebuilt.file.value
    metadata = file.file.sidecar.metadata if file.file.sidecar else {}
    state = "built" if file.built else "cached"
    return {**row, "state": state, "path": str(file.path), "key": file.key, "tuned": metadata.get("tuned")}


def _print(rows: list[dict[str, Any]], failed: int, arguments: Arguments) -> None:
    if arguments.format == "json":
        print_json({"ok": not failed, "files": rows})
        return
    from aegisrt.cli.render import print_table

    code = {True: "tuned", False: "untuned: correct, but slow", None: ""}
    cells = []
    for row in rows:
        state = row["state"].replace("_", " ")
        cells.append((row["model"], state, f"{row['seconds']:.1f} s", code[row.get("tuned")], row.get("key", "")[:12]))
    print_table(("model", "state", "took", "code", "key"), cells)
