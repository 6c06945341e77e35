"""`YamlReader`: the nodes of a YAML document as a `Tree`, and their errors."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import yaml

from aegisrt.core.diagnostic import Diagnostic, Location, Note
from aegisrt.manifest.diagnostics.wording import shown
from aegisrt.manifest.errors import MOST_DIAGNOSTICS
from aegisrt.manifest.read.limits import MOST_KEY_CHARACTERS, MOST_LEVELS, MOST_VALUES, too_deep
from aegisrt.manifest.read.lookalikes import odd_blank
from aegisrt.manifest.read.tree import Tree
from aegisrt.manifest.read.yaml_causes import placeholder, template_diagnostic

_OTHER_BASE = re.compile(r"[-+]?(0[0-7_]*[1-7][0-7_]*|[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?)")
_CORE = "tag:yaml.org,2002:"
_SCALARS = {f"{_CORE}{name}" for name in ("str", "int", "float", "bool", "null")}
_CONTAINERS: dict[type[yaml.Node], str] = {yaml.MappingNode: f"{_CORE}map", yaml.SequenceNode: f"{_CORE}seq"}
_LONGEST_SEXAGESIMAL = 100
"""Characters of a number in base 60, such as `1:59:59`, which YAML 1.1 has."""
_NUMBERS = (f"{_CORE}int", f"{_CORE}float")
_MERGE = f"{_CORE}merge"


class YamlReader:
    """Makes trees of YAML nodes; aliases and merge keys (`<<`) are expanded. One reader reads one file."""

    def __init__(self, file: str, loader: Any) -> None:
        self.file = file
        self.diagnostics: list[Diagnostic] = []
        self._reported: Counter[str] = Counter()
        self._loader = loader
        self._open: set[int] = set()
        self._values = 0

    def tree(self, node: yaml.Node, key: Location | None = None) -> Tree:
        """Return a node as a tree; its errors go to `diagnostics`."""
        at = self.location(node)
        self._values += 1
        if self._values == MOST_VALUES:
            self._add(
                "yaml-syntax",
                f"more than {MOST_VALUES} values, once aliases are expanded",
                at,
                hint="use fewer aliases",
            )
        if id(node) in self._open:
            self._add("yaml-syntax", "an alias refers to a value that contains it", at, hint="write the value out")
        if self._values >= MOST_VALUES or id(node) in self._open:
            return Tree(None, key, at)
        if isinstance(node, yaml.CollectionNode) and len(self._open) >= MOST_LEVELS:
            self.diagnostics.append(too_deep(at))
            return Tree(None, key, at)
        self._open.add(id(node))
        value: Any
        if self._is_template(node):
            written = _first_line(node.start_mark)
            self.diagnostics.append(template_diagnostic(placeholder(written) or written, at))
            value = None
        elif isinstance(node, yaml.MappingNode) and self._is_core(node):
            value = self._mapping(node)
        elif isinstance(node, yaml.SequenceNode) and self._is_core(node):
            value = [self.tree(item) for item in node.value]
        else:
            value = self._scalar(node)
        self._open.discard(id(node))
        return Tree(value, key, at)

    def location(self, node: yaml.Node) -> Location:
        """Return the place of a node; of one over several lines, its first line."""
        start, end = node.start_mark, node.end_mark
        width = end.column - start.column if start.line == end.line else len(_first_line(start))
        return Location(self.file, start.line + 1, start.column + 1, start.column + 1 + max(1, width))

    def _mapping(self, node: yaml.MappingNode) -> dict[str, Tree]:
        own: dict[str, Tree] = {}
        merged: dict[str, Tree] = {}
        for key_node, value_node in node.value:
            place = self.location(key_node)
            if key_node.tag == _MERGE:
                for child in self._merged(value_node):
                    merged = {**child, **merged}
                continue
            key = self._key(key_node, place)
            child_tree = self.tree(value_node, place)
            if key in own:
                first = Note("it is first given here", own[key].key)
                self._add("duplicate-key", f"`{key}` is given twice", place, label="given again", notes=(first,))
            else:
                own[key] = child_tree
        return {**merged, **own}

    def _merged(self, node: yaml.Node) -> list[dict[str, Tree]]:
        nodes = node.value if isinstance(node, yaml.SequenceNode) else [node]
        trees = [self.tree(item) for item in nodes]
        for item in nodes:
            if not isinstance(item, yaml.MappingNode):
                self._add("yaml-syntax", "`<<` merges mappings only", self.location(item), label="not a mapping")
        return [tree.value for tree in trees if isinstance(tree.value, dict)]

    def _key(self, node: yaml.Node, place: Location) -> str:
        if isinstance(node, yaml.ScalarNode) and len(node.value) > MOST_KEY_CHARACTERS:
            message = f"a key has at most {MOST_KEY_CHARACTERS} characters, and this one has {len(node.value)}"
            self._add("yaml-syntax", message, place, hint="write a shorter name")
            return f"?{place.line}:{place.column}"
        if isinstance(node, yaml.ScalarNode):
            self._check_edges(node)
            if node.tag != f"{_CORE}str":
                kind = node.tag.removeprefix(_CORE)
                hint = f'quote it: "{node.value}"'
                self._add("key-not-text", f"the key `{node.value}` is read as {kind}, not as text", place, hint=hint)
            return str(node.value)
        self._add("key-not-text", "a key is text; this one is a mapping or a list", place, label="write a name")
        return f"?{place.line}:{place.column}"

    def _scalar(self, node: yaml.Node) -> Any:
        if not isinstance(node, yaml.ScalarNode) or node.tag not in _SCALARS:
            tag = node.tag.replace(_CORE, "!!")
            hint = "remove it: text, numbers, booleans, null, mappings and lists need no tag"
            self._add("yaml-tag", f"the tag `{tag}` is not allowed", self.location(node), hint=hint)
            return None
        self._check_edges(node)
        try:
            if node.tag in _NUMBERS and ":" in node.value and len(node.value) > _LONGEST_SEXAGESIMAL:
                raise ValueError("PyYAML needs quadratic time for it")
            value = self._loader.construct_object(node)
        except (ValueError, OverflowError, LookupError, yaml.YAMLError):
            kind = node.tag.removeprefix(_CORE)
            message = f"{shown(node.value)} cannot be read as {kind}"
            self._add("yaml-syntax", message, self.location(node), hint="put it in quotes if it is text")
            return None
        if isinstance(value, int | float):
            self._check_number(node, value)
        return value

    def _check_edges(self, node: yaml.ScalarNode) -> None:
        """Report a blank that YAML takes for a letter, such as a non-breaking space, at an end of a plain scalar."""
        odd = odd_blank(node.value) if node.style is None else None
        if odd is not None:
            at = self.location(node)
            column = at.column if odd.index == 0 else at.end_column - 1
            self._add("yaml-syntax", odd.message, Location(self.file, at.line, column, column + 1), hint=odd.hint)

    def _is_template(self, node: yaml.Node) -> bool:
        """Return True for `{{ x }}`, which YAML reads as a mapping whose key is a mapping."""
        keys = [key for key, _ in node.value] if isinstance(node, yaml.MappingNode) and node.flow_style else []
        return any(
            isinstance(key, yaml.MappingNode) and key.start_mark.index == node.start_mark.index + 1 for key in keys
        )

    def _check_number(self, node: yaml.ScalarNode, value: Any) -> None:
        """Warn of a number that YAML 1.1 reads in another base than it seems to have: `010` is 8, `1:30` is 90."""
        if node.style is not None or not _OTHER_BASE.fullmatch(node.value):
            return
        base = "base 60" if ":" in node.value else "base 8"
        message = f"`{node.value}` is read as {shown(value)}: YAML 1.1 takes it for a number in {base}"
        hint = f"write `{shown(value)}`, or put it in quotes if it is text"
        self._add("ambiguous-number", message, self.location(node), hint=hint, severity="warning")

    def _is_core(self, node: yaml.Node) -> bool:
        return bool(node.tag == _CONTAINERS[type(node)])

    def _add(self, id: str, message: str, location: Location, **rest: Any) -> None:  # noqa: A002
        """Keep the first errors, and the first warnings."""
        severity = rest.get("severity", "error")
        self._reported[severity] += 1
        if self._reported[severity] <= MOST_DIAGNOSTICS:
            self.diagnostics.append(Diagnostic(id, message, location, **rest))


def _first_line(mark: Any) -> str:
    rest: str = mark.buffer[mark.pointer :]
    return rest.split("\n", 1)[0].split("\0", 1)[0].split(" #", 1)[0].rstrip()
