"""`aegisrt artifacts`: list, verify and prune the cache of engine files; needs no engine."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from aegisrt.cli.arguments import Arguments, parse, verb_parser
from aegisrt.cli.output import print_error, print_json, print_text

if TYPE_CHECKING:
    from aegisrt.artifacts.cache import ArtifactCache
    from aegisrt.artifacts.entry import CacheEntry

DESCRIPTION = """List, verify and prune the cache of engine files.

  list    list the files with their model, engine version and target, most recently used first
  verify  read every file, and report the damaged ones
  prune   delete damaged files and leftovers of killed builds; with --max-age and --max-size, good files too
  path    print the cache's folder (AEGISRT_CACHE_DIR sets another)

    aegisrt artifacts list
    aegisrt artifacts verify --json
    aegisrt artifacts prune --max-age 30d --max-size 2G

exit codes: 0 success, 1 a file is damaged, 2 a usage error."""

_UNITS = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def main(argv: Sequence[str]) -> int:
    """Return 0, 1 if `verify` finds damage, 2 for a usage error."""
    parser = verb_parser("artifacts", DESCRIPTION, takes="list|verify|prune|path")
    parser.keys = tuple(_ACTIONS)
    parser.add_argument("--max-size", metavar="SIZE", help="prune: the largest total size to keep, such as 500M or 2G")
    parser.add_argument(
        "--max-age", metavar="AGE", help="prune: delete files that were not used for this long, such as 12h or 30d"
    )
    arguments = parse(parser, argv, takes_key=True)
    action = arguments.key or ""
    if action not in _ACTIONS:
        parser.error(f"name an action: {', '.join(_ACTIONS)}")
    if action != "prune" and (arguments.max_size or arguments.max_age):
        parser.error("--max-size and --max-age are options of `prune`")
    try:
        arguments.max_size = _number(arguments.max_size, r"(\d+)([kmgt]?)(?:i?b)?", _UNITS)
        arguments.max_age = _number(arguments.max_age, r"(\d+)([smhdw])", _SECONDS)
    except ValueError as error:
        parser.error(str(error))
    from aegisrt.artifacts.cache import ArtifactCache
    from aegisrt.core.result import ResultError

    try:
        return _ACTIONS[action](ArtifactCache(), arguments)
    except ResultError as failure:
        return print_error(failure.error, arguments.format)


def _number(text: str | None, pattern: str, units: dict[str, int]) -> int | None:
    if text is None:
        return None
    match = re.fullmatch(pattern, text.lower())
    if match is None:
        raise ValueError(f"`{text}` is not a size such as 500M or 2G, or an age such as 12h or 30d")
    return int(match[1]) * units[match[2]]


def _list(cache: ArtifactCache, arguments: Arguments) -> int:
    rows = [entry.to_json() for entry in cache.entries()]
    if arguments.format == "json":
        print_json(rows)
        return 0
    from aegisrt.cli.render import print_table

    cells = []
    for row in rows:
        origin = (row["model"], row["backend"], row["engine"], _target(row["target"])) if row["ok"] else ()
        shown = origin or (f"damaged: {row['problem']}", "", "", "")
        cells.append((row["key"][:12], *shown, _size(row["bytes"]), _ago(row["last_used_s"])))
    print_table(("key", "model", "backend", "engine", "target", "size", "used"), cells)
    return 0


def _verify(cache: ArtifactCache, arguments: Arguments) -> int:
    checked = [(entry, entry.damage()) for entry in cache.entries()]
    damaged = [(entry, problem) for entry, problem in checked if problem]
    if arguments.format == "json":
        rows = [{"key": entry.key, "ok": problem is None, "problem": problem} for entry, problem in checked]
        print_json({"ok": not damaged, "entries": rows})
    else:
        for entry, problem in damaged:
            print_text(f"{entry.key[:12]}: {problem}")
        hint = "; `aegisrt artifacts prune` deletes them" if damaged else ""
        sys.stdout.write(f"{len(checked)} verified, {len(damaged)} damaged{hint}\n")
    return 1 if damaged else 0


def _prune(cache: ArtifactCache, arguments: Arguments) -> int:
    sizes = {entry.key: entry.size_bytes() for entry in cache.entries()}
    deleted: list[CacheEntry] = cache.prune(max_bytes=arguments.max_size, max_age_s=arguments.max_age)
    freed = sum(sizes.get(entry.key, 0) for entry in deleted)
    if arguments.format == "json":
        print_json({"ok": True, "deleted": [entry.key for entry in deleted], "freed_bytes": freed})
    else:
        sys.stdout.write(f"{len(deleted)} deleted, {_size(freed)} freed\n")
    return 0


def _path(cache: ArtifactCache, arguments: Arguments) -> int:
    if arguments.format == "json":
        print_json({"path": str(cache.root)})
    else:
        sys.stdout.write(f"{cache.root}\n")
    return 0


_ACTIONS: dict[str, Callable[[ArtifactCache, Arguments], int]] = {
    "list": _list,
    "verify": _verify,
    "prune": _prune,
    "path": _path,
}


def _target(target: Any) -> str:
    named = target.get("mcpu") or target.get("arch") if isinstance(target, dict) else None
    return str(named or target)


def _size(count: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"


def _ago(then_s: float) -> str:
    seconds = max(0, int(time.time() - then_s))
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds // size} {unit} ago"
    return "just now"
