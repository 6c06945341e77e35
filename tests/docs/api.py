"""The reference of the public Python names, made from their signatures and docstrings."""

from __future__ import annotations

import ast
import dataclasses
import enum
import inspect
import re
import textwrap
from collections.abc import Iterator
from typing import Any, get_args

import aegisrt
from aegisrt.core.options import StrictModel

_CODE = re.compile(r"^([A-Z][A-Z_]+(?:, [A-Z][A-Z_]+)*): ")
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")
_MODULE = re.compile(
    r"\b(?:aegisrt|collections\.abc|concurrent\.futures\._base|pathlib|typing|types|numpy)(?:\.\w+)*\.(?=[A-Z])"
)
WIDTH = 110


def api_reference() -> str:
    """Return a section for each public name: its signature, its docstring, and those of its public members."""
    names = [name for name in aegisrt.__all__ if not name.startswith("__")]
    return "\n\n".join("\n\n".join(_section(name, getattr(aegisrt, name))) for name in names)


def undocumented() -> list[str]:
    """Return public names and members without a docstring."""
    found = []
    for name in (name for name in aegisrt.__all__ if not name.startswith("__")):
        value = getattr(aegisrt, name)
        if inspect.isclass(value) or inspect.isfunction(value):
            members = [f"{name}.{member}" for member, of in _members(value) if not inspect.getdoc(of)]
            found += members if value.__doc__ else [name, *members]
    return found


def _section(name: str, value: Any) -> Iterator[str]:
    yield f"## {name}"
    if inspect.isfunction(value):
        yield _signature(name, value)
        yield _text(value.__doc__)
    elif inspect.isclass(value):
        yield _text(value.__doc__)
        yield from _class(name, value)
    else:
        arms = (re.sub(r"[+~]", "", _plain(inspect.formatannotation(one))) for one in get_args(value))
        yield f"`{' | '.join(arms)}`"


def _class(name: str, of: type) -> Iterator[str]:
    if issubclass(of, enum.Enum):
        yield _wrapped(f"Members: {', '.join(f'`{member}`' for member in of.__members__)}.", "")
        return
    if fields := list(_fields(of)):
        yield "\n".join(_wrapped(f"`{field}`{f': {said}' if said else ''}", "- ") for field, said in fields)
    for member, value in _members(of):
        yield f"### {name}.{member}"
        if isinstance(value, property):
            returned = inspect.signature(value.fget).return_annotation if value.fget else ""
            yield _fenced(f"{member}: {_plain(str(returned))}")
        else:
            yield _signature(member, value)
        if said := inspect.getdoc(value):
            yield _text(said)


def _fields(of: type) -> Iterator[tuple[str, str]]:
    """Yield the fields of a dataclass, and the class variables of a backend, with their attribute docstrings."""
    if issubclass(of, StrictModel):
        return
    tree = ast.parse(textwrap.dedent(inspect.getsource(of))).body[0]
    assert isinstance(tree, ast.ClassDef)
    for node, after in zip(tree.body, [*tree.body[1:], None], strict=True):
        if (
            not isinstance(node, ast.AnnAssign)
            or not isinstance(node.target, ast.Name)
            or node.target.id.startswith("_")
        ):
            continue
        said = after.value.value if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) else ""
        is_field = dataclasses.is_dataclass(of) or bool(said)
        if is_field:
            yield f"{node.target.id}: {ast.unparse(node.annotation)}", " ".join(str(said).split())


def _members(of: Any) -> Iterator[tuple[str, Any]]:
    """Yield the public methods and properties of a class, without those of bases that are public themselves."""
    if not inspect.isclass(of) or issubclass(of, enum.Enum):
        return
    public = [getattr(aegisrt, name) for name in aegisrt.__all__]
    bases = [one for one in of.__mro__[1:] if one.__module__.startswith("aegisrt.") and one not in public]
    for name, value in {name: value for one in (*reversed(bases), of) for name, value in vars(one).items()}.items():
        inner = getattr(value, "__func__", value)
        is_code = inspect.isfunction(inner) or isinstance(inner, property)
        if not name.startswith(("_", "model_")) and is_code:
            yield name, inner


def _signature(name: str, function: Any) -> str:
    signature = inspect.signature(function)
    is_async = "async " if inspect.iscoroutinefunction(function) else ""
    parameters = [
        one.replace(annotation=inspect.Parameter.empty) if one.name == "self" else one
        for one in signature.parameters.values()
    ]
    line = f"{is_async}def {name}{_plain(str(signature.replace(parameters=parameters)))}"
    return _fenced(_broken(line))


def _broken(line: str) -> str:
    """Return a signature with one parameter a line if it is long."""
    if len(line) <= WIDTH:
        return line
    tree = ast.parse(f"{line}: ...").body[0]
    assert isinstance(tree, ast.FunctionDef | ast.AsyncFunctionDef)
    head, _, rest = line.partition("(")
    depth, parts, current = 0, [], ""
    for at, character in enumerate(rest):
        depth += (character in "([{") - (character in ")]}")
        if depth < 0:
            return f"{head}(\n" + "".join(f"    {part.strip()},\n" for part in [*parts, current]) + rest[at:]
        if character == "," and depth == 0:
            parts.append(current)
            current = ""
        else:
            current += character
    raise AssertionError(line)


def _wrapped(text: str, bullet: str) -> str:
    return textwrap.fill(text, 120, initial_indent=bullet, subsequent_indent=" " * len(bullet), break_on_hyphens=False)


def _fenced(code: str) -> str:
    return f"```py\n{code}\n```"


def _plain(text: str) -> str:
    """Return annotations without the modules of their names, and without addresses."""
    return _ADDRESS.sub("", _MODULE.sub("", text.replace("'", "")))


def _text(docstring: str | None) -> str:
    """Return a docstring as Markdown: each error code is an item of a list, and indented code stays as it is."""
    lines: list[str] = []
    in_item = False
    for line in inspect.cleandoc(docstring or "").splitlines():
        made = _CODE.sub(lambda found: f"- {', '.join(f'`{code}`' for code in found[1].split(', '))}: ", line)
        is_item = made.startswith("- ")
        continues = in_item and bool(line.strip()) and not is_item and not line[0].isupper()
        starts = (is_item and not in_item) or (in_item and bool(line.strip()) and not is_item and not continues)
        if starts and lines and lines[-1].strip():
            lines.append("")
        lines.append(f"  {made.strip()}" if continues else made)
        in_item = is_item or continues
    return "\n".join(lines)
