"""`diagnostic_ids`: the ids of every diagnostic that the code can make, read from its source."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

PARAMETER = "id"
LAYERS = ("core", "manifest", "graph", "ci")


def diagnostic_ids(package: Path, layers: tuple[str, ...] = LAYERS) -> dict[str, str]:
    """Return each id and a place that makes it, from the modules of the package's `layers`.

    An id is what stands for the parameter `id` (or the dataclass field `id`) in the call of a function or class of
    these modules that makes diagnostics. What is no constant there must be a choice of constants, an entry of a
    module's own mapping of constants, or an `id` that was given on; anything else raises AssertionError.
    """
    paths = [path for layer in layers for path in sorted((package / layer).rglob("*.py"))]
    modules = {path: ast.parse(path.read_text(encoding="utf-8")) for path in paths}
    everywhere: dict[str, int] = {}
    for tree in modules.values():
        everywhere |= dict(_takers(tree))
    found: dict[str, str] = {}
    for path, tree in modules.items():
        positions = everywhere | dict(_takers(tree))
        positions |= dict(_aliases(tree, positions))
        constants = dict(_mappings(tree))
        for call in ast.walk(tree):
            if isinstance(call, ast.Call) and (given := _given(call, positions)) is not None:
                place = f"{path.relative_to(package)}:{call.lineno}"
                found |= dict.fromkeys(_constants(given, constants, place), place)
    return found


def _takers(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Yield the functions, methods and dataclasses that take an `id`, and its position among a call's arguments."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            names = [argument.arg for argument in node.args.args if argument.arg != "self"]
        elif isinstance(node, ast.ClassDef):
            names = [
                field.target.id
                for field in node.body
                if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
            ]
        else:
            continue
        makes = isinstance(node, ast.FunctionDef) or node.name in ("Diagnostic", "_Problem")
        if PARAMETER in names and makes:
            yield node.name, names.index(PARAMETER)


def _aliases(tree: ast.Module, positions: dict[str, int]) -> Iterator[tuple[str, int]]:
    """Yield variables that hold one of two takers: `at = locator.at_key if ... else locator.at_value`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.IfExp) and isinstance(node.targets[0], ast.Name):
            taker = node.value.body
            if isinstance(taker, ast.Attribute) and taker.attr in positions:
                yield node.targets[0].id, positions[taker.attr]


def _mappings(tree: ast.Module) -> Iterator[tuple[str, list[str]]]:
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict) and isinstance(node.targets[0], ast.Name):
            values = [value.value for value in node.value.values if isinstance(value, ast.Constant)]
            yield node.targets[0].id, [value for value in values if isinstance(value, str)]


def _given(call: ast.Call, positions: dict[str, int]) -> ast.expr | None:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    position = positions.get(name)
    if position is None:
        return None
    by_name = [keyword.value for keyword in call.keywords if keyword.arg == PARAMETER]
    return by_name[0] if by_name else call.args[position] if len(call.args) > position else None


def _constants(node: ast.expr, mappings: dict[str, list[str]], place: str) -> list[str]:
    match node:
        case ast.Constant(value=str(text)):
            return [text]
        case ast.IfExp(body=body, orelse=orelse):
            return _constants(body, mappings, place) + _constants(orelse, mappings, place)
        case ast.Subscript(value=ast.Name(id=name)) if name in mappings:
            return mappings[name]
        case ast.Name(id=name) | ast.Attribute(attr=name) if name == PARAMETER:
            return []
    raise AssertionError(f"{place}: the id of a diagnostic is {ast.unparse(node)}")
