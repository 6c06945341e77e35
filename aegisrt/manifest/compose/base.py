"""The base of every composition: an option set for each backend kind, the device `cpu`, a default stream."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from aegisrt.core.options import NAME_PATTERN
from aegisrt.manifest.compose.library import ConfigLibrary
from aegisrt.manifest.read.source import Source, read_file
from aegisrt.manifest.read.tree import Tree

_KINDS_WITHOUT_FILE = "_base_"


def add_base(library: ConfigLibrary, kinds: Iterable[str], packaged: Path) -> list[str]:
    """Return the paths in `library` of the base's files, in order.

    A kind's file is the one in the packaged group `backend` with that `kind` (of several, the one named like the kind,
    or else the first); a file of the same name in a user's own group replaces it. A kind without a file, such as a
    third party's, is declared by its `kind` alone. A kind that is not a valid name has no option set: one wrong package
    must not break every manifest.
    """
    kinds = [kind for kind in kinds if re.fullmatch(NAME_PATTERN, kind)]
    files = _files_by_kind(packaged / "backend")
    declared = {kind: Tree({"kind": Tree(kind)}) for kind in kinds if kind not in files}
    library.add(
        _KINDS_WITHOUT_FILE, Source("base", packaged, Tree({"backends": Tree({**declared})}), is_generated=True)
    )
    backends = [f"backend/{files[kind]}" for kind in kinds if kind in files]
    return [*backends, _KINDS_WITHOUT_FILE, "device/cpu", "stream/default"]


def option_sets(kinds: Iterable[str], packaged: Path) -> dict[str, str]:
    """Return the base's option sets with their kinds, sorted by name: `trt` is of the kind `tensorrt`."""
    files = _files_by_kind(packaged / "backend")
    return dict(sorted((files.get(kind, kind), kind) for kind in kinds if re.fullmatch(NAME_PATTERN, kind)))


def _files_by_kind(folder: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    for file in sorted(folder.glob("*.yaml")):
        kind = read_file(file, str(file), is_manifest=False).tree.child("kind")
        if kind is not None and isinstance(kind.value, str) and (kind.value not in found or file.stem == kind.value):
            found[kind.value] = file.stem
    return found
