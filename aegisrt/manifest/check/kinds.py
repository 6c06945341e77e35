"""Explain a `kind` that is unknown or missing."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from aegisrt.core.suggest import listed, meant, nearest, quoted
from aegisrt.manifest.check.locate import Locator, dotted, title
from aegisrt.manifest.diagnostics.wording import described
from aegisrt.manifest.origin import KeyPath


def explain_unknown_kind(path: KeyPath, key: str, found: Any, known: Mapping[str, Any], locator: Locator) -> None:
    """Report that the mapping at `path` has an unknown `kind` (its tag field is `key`)."""
    near = near_kind(found, known) if isinstance(found, str) else None
    label = (meant(near) if near != found else None) or f"no such {key}"
    hint = f"{key}s are {listed(known)}" if known else f"no {_noun(path)} {key}s are registered"
    what = quoted(found) if isinstance(found, str) else described(found)
    message = f"{what} is not a {_noun(path)} {key}"
    locator.at_value((*path, key), "unknown-kind", message, label=label, hint=hint)


def explain_missing_kind(path: KeyPath, key: str, known: Collection[str], locator: Locator) -> None:
    """Report that the mapping at `path` has no `kind`."""
    message = f"{_noun(path)} {quoted(title(path))} needs `{key}`"
    hint = f"add `{key}: ...` under `{dotted(path)}`; {key}s are {listed(known)}"
    locator.at_key(path, "missing-kind", message, label=f"`{key}` is missing", hint=hint)


def near_kind(found: str, known: Mapping[str, Any]) -> str | None:
    """Return the kind that has `found` as a nickname (`trt`), or the most similar one, or None.

    `known` has the class of each kind's options.
    """
    folded = found.casefold()
    of_nickname = next((kind for kind, options in known.items() if folded in getattr(options, "nicknames", ())), None)
    return of_nickname or nearest(found, known)


def _noun(path: KeyPath) -> str:
    return str(path[0]).removesuffix("s") if len(path) == 2 else title(path)
