"""The diagram of the layers in docs/architecture.md, made from the imports; `python -m tests.docs.diagram` writes it.

An arrow is an import between two folders of the package. What follows from other arrows is left out: where `cli`
imports `runtime`, which imports `core`, there is no arrow from `cli` to `core`. Imports for type checkers alone do not
count.
"""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from pathlib import Path

from tests.docs.pages import ROOT

PAGE = ROOT / "docs" / "architecture.md"
PACKAGE = "aegisrt"
_REGION = re.compile(r"(<!-- generated: imports -->\n).*?(<!-- end -->)", re.DOTALL)
Imports = dict[str, set[str]]


def imports() -> Imports:
    """Return the folders (and single modules) that each one imports, with those that import nothing."""
    import grimp

    graph = grimp.build_graph(PACKAGE, exclude_type_checking_imports=True, cache_dir=None)
    found: Imports = {name: set() for name in layers()}
    for module in graph.modules:
        for imported in graph.find_modules_directly_imported_by(module):
            here, there = _folder(module), _folder(imported)
            if here in found and there in found and here != there:
                found[here].add(there)
    return found


def layers() -> list[str]:
    """Return the folders that exist, from the top layer down, as import-linter is told of them."""
    configuration = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contract = next(one for one in configuration["tool"]["importlinter"]["contracts"] if one["type"] == "layers")
    names = [name.strip(" ()") for layer in contract["layers"] for name in layer.split("|")]
    return [name for name in names if (ROOT / PACKAGE / name).is_dir() or (ROOT / PACKAGE / f"{name}.py").is_file()]


def reduced(graph: Imports) -> Imports:
    """Return the fewest arrows along which one gets as far; the graph has no circle."""
    return {
        here: {there for there in after if not any(there in _reached(graph, other) for other in after - {there})}
        for here, after in graph.items()
    }


def mermaid(graph: Imports) -> str:
    """Return the diagram as Mermaid's text, with what each folder is, from its docstring."""
    nodes = [f'    {name}["<b>{name}</b><br/>{_about(name)}"]' for name in graph]
    arrows = [f"    {here} --> {there}" for here, after in reduced(graph).items() for there in sorted(after)]
    return "\n".join(["```mermaid", "flowchart TD", *nodes, *arrows, "```"])


def render(text: str) -> str:
    """Return the page with the diagram made anew."""
    return _REGION.sub(lambda region: f"{region[1]}{mermaid(imports())}\n{region[2]}", text)


def _reached(graph: Imports, start: str) -> set[str]:
    found: set[str] = set()
    open_ends = [start]
    while open_ends:
        new = graph[open_ends.pop()] - found
        found |= new
        open_ends += new
    return found


def _folder(module: str) -> str:
    return module.split(".")[1] if "." in module else module


def _about(name: str) -> str:
    path = ROOT / PACKAGE / name
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    first = (ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or "").split("\n")[0]
    return re.split(r"[.;] ", first.replace("`", "").replace('"', "'"))[0].removesuffix(".")


def main() -> int:
    """Write the page again; return 0."""
    PAGE.write_text(render(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    print(Path(PAGE).relative_to(ROOT))
    return 0


if __name__ == "__main__":
    sys.exit(main())
