"""Explain a `kind` that is unknown or missing."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from aegisrt.core.optional import DISTRIBUTION
from aegisrt.core.suggest import listed, nearest, quoted
from aegisrt.manifest.check.locate import Locator, dotted, title
from aegisrt.manifest.diagnostics.wording import described
from aegisrt.manifest.origin import KeyPath

_EXTRAS = {"onnx": "onnx", "tvm": "tvm", "tensorrt": "tensorrt"}
"""The extra that installs each backend kind of this project, for a kind that is not registered."""
_NICKNAMES = {
    "trt": "tensorrt",
    "ort": "onnx",
    "gpu": "cuda",
    "nvidia": "cuda",
    "host": "cpu",
    "dummy": "mock",
    "fake": "mock",
}


def explain_unknown_kind(path: KeyPath, key: str, found: Any, known: Collection[str], locator: Locator) -> None:
    """Report that the mapping at `path` has an unknown `kind` (its tag field is `key`)."""
    near = near_kind(found, [*known, *(_EXTRAS if path[0] == "backends" else ())]) if isinstance(found, str) else None
    label = f"did you mean {quoted(near)}?" if near and near != found else f"no such {key}"
    hint = f"{key}s are {listed(known)}" if known else f"no {_noun(path)} {key}s are registered"
    if path[0] == "backends" and near in _EXTRAS and near not in known:
        install = f"pip install --upgrade '{DISTRIBUTION}[{_EXTRAS[near]}]'"
        hint = f"this installation has no kind {quoted(near)}; run: {install}"
    what = quoted(found) if isinstance(found, str) else described(found)
    message = f"{what} is not a {_noun(path)} {key}"
    locator.at_value((*path, key), "unknown-kind", message, label=label, hint=hint)


def explain_missing_kind(path: KeyPath, key: str, known: Collection[str], locator: Locator) -> None:
    """Report that the mapping at `path` has no `kind`."""
    message = f"{_noun(path)} {quoted(title(path))} needs `{key}`"
    hint = f"add `{key}: ...` under `{dotted(path)}`; {key}s are {listed(known)}"
    locator.at_key(path, "missing-kind", message, label=f"`{key}` is missing", hint=hint)


def near_kind(found: str, candidates: Collection[str]) -> str | None:
    """Return the most similar kind of `candidates`, by its nickname (`trt`) or its spelling; or None."""
    nickname = _NICKNAMES.get(found.casefold())
    return nickname if nickname in candidates else nearest(found, candidates)


def _noun(path: KeyPath) -> str:
    return str(path[0]).removesuffix("s") if len(path) == 2 else title(path)
