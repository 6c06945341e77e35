"""`aegisrt build`: every engine file that a manifest needs, built before anything runs."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from aegisrt.cli.arguments import Arguments, parse, verb_parser
from aegisrt.cli.output import error_json, print_error, print_json

if TYPE_CHECKING:
    from aegisrt.runtime.building.prebuild import Prebuilt

DESCRIPTION = """Build every engine file that the manifest's models need, and keep it in the cache.
What is there already is verified; nothing is loaded.

    aegisrt build deploy.yaml
    aegisrt build deploy.yaml models.digits.backend=tvm --force

exit codes: 0 fine, 1 a build failed, 2 usage or manifest."""


_COUNTED = re.compile(r"\b(\d+) of (\d+)\b")
_SECONDS_BETWEEN_LINES = 5.0


def main(words: Sequence[str]) -> int:
    """Return 0, 1 where a build failed, 2 for usage or a manifest with errors."""
    parser = verb_parser("build", DESCRIPTION)
    parser.add_argument("--force", action="store_true", help="build again what is in the cache already")
    arguments = parse(parser, words)
    from aegisrt.core.result import Err
    from aegisrt.deployment import resolve
    from aegisrt.runtime.building.prebuild import build_engine_files

    resolved = resolve(arguments.manifest, arguments.overrides, config_dir=arguments.config_dir)
    if isinstance(resolved, Err):
        return print_error(resolved.error, arguments.format)
    graph, origins = resolved.value.graph, resolved.value.origins
    rows, failed, started = [], 0, time.monotonic()
    with _progress() as tell:
        for made in build_engine_files(graph, origins, force=arguments.force, progress=tell):
            took_s, started = time.monotonic() - started, time.monotonic()
            rows.append(_row(made, took_s))
            if isinstance(made.file, Err):
                failed += 1
                if arguments.format != "json":
                    print_error(made.file.error, arguments.format)
    _print(rows, failed, arguments)
    return 1 if failed else 0


@contextmanager
def _progress() -> Iterator[Callable[[str, str], None]]:
    """Yield what tells how far the build of a model is: a bar on a terminal, else a line now and then."""
    if sys.stderr.isatty():
        from aegisrt.cli.render import progress_bar

        with progress_bar("building") as move:
            yield lambda model, text: move(*_share(text), f"{model}: {text}")
        return
    last: dict[str, float] = {}

    def tell(model: str, text: str) -> None:
        counted = _COUNTED.search(text) is not None
        if counted and time.monotonic() - last.get(model, 0.0) < _SECONDS_BETWEEN_LINES:
            return
        if counted:
            last[model] = time.monotonic()
        sys.stderr.write(f"{model}: {text}\n")
        sys.stderr.flush()

    yield tell


def _share(text: str) -> tuple[int, int]:
    """Return how much is done, and of how much: `tuning 14 of 64` says it, other steps do not."""
    found = _COUNTED.search(text)
    return (int(found[1]), int(found[2])) if found else (0, 1)


def _row(made: Prebuilt, took_s: float) -> dict[str, Any]:
    from aegisrt.core.result import Err
    from aegisrt.core.sidecar import read_sidecar

    row: dict[str, Any] = {"model": made.model, "state": "as_it_is", "seconds": round(took_s, 3)}
    if made.file is None:
        return row
    if isinstance(made.file, Err):
        return {**row, "state": "failed", "error": error_json(made.file.error)}
    file = made.file.value
    sidecar = read_sidecar(file.path)
    metadata = sidecar.metadata if sidecar else {}
    state = "built" if file.built else "cached"
    return {**row, "state": state, "path": str(file.path), "key": file.key, "tuned": metadata.get("tuned")}


def _print(rows: list[dict[str, Any]], failed: int, arguments: Arguments) -> None:
    if arguments.format == "json":
        print_json({"ok": not failed, "files": rows})
        return
    from aegisrt.cli.render import print_table

    code = {True: "tuned", False: "untuned: right, and slow", None: ""}
    cells = []
    for row in rows:
        state = row["state"].replace("_", " ")
        cells.append((row["model"], state, f"{row['seconds']:.1f} s", code[row.get("tuned")], row.get("key", "")[:12]))
    print_table(("model", "state", "took", "code", "key"), cells)
