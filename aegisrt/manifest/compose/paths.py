"""`resolve_paths`: makes every path of a manifest absolute, from the folder of the file that sets it."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from aegisrt.manifest.compose.fields import MANIFEST, Fields
from aegisrt.manifest.hidden import HIDDEN_TEXT
from aegisrt.manifest.read.paths import is_address
from aegisrt.manifest.read.tree import MISSING, Tree


def resolve_paths(root: Tree, fields: Fields) -> Tree:
    """Return `root` in which the text of every field that the schema types as `Path` is an absolute path.

    A relative path is relative to the file that set it; from an override or a mapping, to the current folder. Links
    are not followed, and `~` is not expanded.
    """
    return _resolved(root, MANIFEST, fields)


def _resolved(tree: Tree, expected: Any, fields: Fields) -> Tree:
    if isinstance(tree.value, dict):
        children = {
            key: _resolved(child, fields.inside(expected, key, tree), fields) for key, child in tree.value.items()
        }
        return replace(tree, value=children)
    if isinstance(tree.value, list):
        items = [_resolved(child, fields.inside(expected, at, tree), fields) for at, child in enumerate(tree.value)]
        return replace(tree, value=items)
    if (
        isinstance(tree.value, str)
        and tree.value not in (MISSING, HIDDEN_TEXT)
        and tree.layer is not None
        and fields.is_path(expected)
    ):
        return replace(tree, value=str(absolute(tree.value, tree.layer.folder)))
    return tree


def absolute(path: str, folder: Path) -> Path | str:
    """Return `path` from `folder`; `..` is removed only if that leads to the same file (links!).

    An address is returned unchanged unless a file has that path.
    """
    joined = folder.absolute() / path
    if is_address(path) and not os.path.lexists(joined):
        return path
    tidy = Path(os.path.normpath(joined))
    if tidy == joined or "\0" in path:
        return joined
    return tidy if os.path.realpath(tidy) == os.path.realpath(joined) else joined
