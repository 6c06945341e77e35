"""`imports_of`: the imports between the modules of the package, of every kind; and the circles among them."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import aegisrt

PACKAGE = Path(aegisrt.__file__).parent


def modules(package: Path = PACKAGE) -> dict[str, Path]:
    """Return the file of each module by its dotted name; a package by its own name."""
    files = sorted(package.rglob("*.py"))
    names = (".".join(file.relative_to(package.parent).with_suffix("").parts) for file in files)
    return {name.removesuffix(".__init__"): file for name, file in zip(names, files, strict=True)}


def imports_of(file: Path, known: Mapping[str, Path]) -> Iterator[str]:
    """Yield the modules that a file imports: at its top, inside functions, and under TYPE_CHECKING."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom) and node.module in known:
            submodules = (f"{node.module}.{alias.name}" for alias in node.names)
            yield from (name if name in known else node.module for name in submodules)


def circle(known: Mapping[str, Path], ignored: frozenset[str] = frozenset()) -> list[str]:
    """Return the modules of one import circle in order, the first again at the end; empty if there is none."""
    graph = {name: set(imports_of(file, known)) - {name} for name, file in known.items() if name not in ignored}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []
