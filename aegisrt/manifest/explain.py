"""`explain`: each value of a manifest, and the file, override or default that set it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from aegisrt.core.result import Err, Error, ErrorCode, Ok, Result
from aegisrt.core.suggest import did_you_mean, listed
from aegisrt.manifest.composition import Composition
from aegisrt.manifest.hidden import HIDDEN_TEXT
from aegisrt.manifest.origin import KeyPath, Origin, Origins
from aegisrt.manifest.schema import Manifest


def explain(
    composition: Composition, manifest: Manifest[Any] | None, key: str | None = None
) -> Result[list[dict[str, Any]]]:
    """Return one row a leaf: `path value source file line column override set_by`, in the manifest's order.

    With `manifest`, the validated form of the composition, the rows include the schema's defaults; their `source` is
    `default`. Leaves are scalars, null and empty containers. `line` and `column` are the value's, and count from
    1; for an override, `column` is that in its text, and `file` and `line` are None. `key` selects the rows at or under
    that path. Values from the environment are `***`. NOT_FOUND: if there are none.
    """
    data = composition.values if manifest is None else manifest.model_dump(mode="json", by_alias=True)
    leaves = list(_leaves(data, (), composition.origins))
    chosen = [(path, value) for path, value in leaves if key is None or _is_under(_dotted(path), key)]
    if key is not None and not chosen:
        return Err(_unknown(key, [path for path, _ in leaves]))
    return Ok([_row(path, value, composition.origins.of(path)) for path, value in chosen])


def _row(path: KeyPath, value: Any, origin: Origin) -> dict[str, Any]:
    place = origin.value
    in_file = place is not None and origin.source == "file"
    return {
        "path": _dotted(path),
        "value": value,
        "source": origin.source,
        "file": place.file if place and in_file else None,
        "line": place.line if place and in_file else None,
        "column": place.column if place else None,
        "override": origin.override,
        "set_by": origin.set_by,
    }


def _leaves(value: Any, path: KeyPath, origins: Origins) -> Iterator[tuple[KeyPath, Any]]:
    if path and origins.of(path).from_env:
        yield path, HIDDEN_TEXT
    elif isinstance(value, dict) and value:
        for key, child in value.items():
            yield from _leaves(child, (*path, key), origins)
    elif isinstance(value, list) and value:
        for index, child in enumerate(value):
            yield from _leaves(child, (*path, index), origins)
    else:
        yield path, value


def _is_under(path: str, key: str) -> bool:
    return path == key or path.startswith(f"{key}.")


def _unknown(key: str, paths: list[KeyPath]) -> Error:
    """Return the error of a key that no path has; its hint is about the first wrong segment."""
    known = ""
    while (longer := _next(key, known)) and any(_is_under(_dotted(path), longer) for path in paths):
        known = longer
    wrong = _next(key, known).removeprefix(f"{known}.") if known else key.split(".")[0]
    depth = len(known.split(".")) if known else 0
    beside = dict.fromkeys(
        str(path[depth]) for path in paths if len(path) > depth and _is_under(_dotted(path), known or _dotted(path))
    )
    hint = did_you_mean(wrong, beside) or (
        f"`{known}` contains {listed(beside)}" if known else f"keys are {listed(beside)}"
    )
    if known and not beside:
        hint = f"`{known}` is one value"
    return Error(ErrorCode.NOT_FOUND, f"the manifest has no `{key}`", hint)


def _next(key: str, known: str) -> str:
    """Return the leading part of `key` with one segment more than `known`."""
    return ".".join(key.split(".")[: len(known.split(".")) + 1 if known else 1])


def _dotted(path: KeyPath) -> str:
    return ".".join(str(part) for part in path)
