"""`read_override`: the text of an override as an `Override`, with a place for each part of its value."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from aegisrt.core.diagnostic import Diagnostic, Location, Note
from aegisrt.manifest.compose.hydra import GrammarError, ParsedOverride, parse_override
from aegisrt.manifest.compose.override_errors import bad_override, deep_place, sweep
from aegisrt.manifest.compose.overrides import Action, Override, place_in
from aegisrt.manifest.read.limits import too_deep
from aegisrt.manifest.read.tree import Layer, Tree, from_plain

_ACTIONS: dict[str, Action] = {"CHANGE": "set", "ADD": "add", "FORCE_ADD": "force", "DEL": "delete"}


class _SweepError(Exception):
    """A value that stands for several: `1,2`, `choice(1,2)`, `range(1,3)`."""

    def __init__(self, place: Location) -> None:
        super().__init__(place)
        self.place = place


def read_override(text: str, diagnostics: list[Diagnostic]) -> Override | None:
    """Return an override, or None with its diagnostic in `found`."""
    layer = Layer("override", Path.cwd(), override=text)
    deep = deep_place(text)
    if deep is not None:
        diagnostics.append(too_deep(deep))
        return None
    try:
        parsed = parse_override(text)
        value = _value(parsed, text, layer, diagnostics)
    except _SweepError as error:
        diagnostics.append(sweep(text, error.place))
    except GrammarError as error:
        column = text.find("=") + 1 if error.column is None else error.column
        diagnostics.append(bad_override(text, column, str(error)))
    else:
        own = parsed.override
        return Override(text, _ACTIONS[own.type.name], own.key_or_group, own.package, value, layer, own)
    return None


def _value(parsed: ParsedOverride, text: str, layer: Layer, diagnostics: list[Diagnostic]) -> Tree | None:
    context = parsed.context
    if context.value() is not None:
        if context.value().simpleChoiceSweep() is not None:
            raise _SweepError(_place(context.value(), text))
        return _tree(context.value().element(), parsed, text, layer, diagnostics)
    if context.EQUAL() is None:
        return None
    return Tree("", None, place_in(text, len(text), len(text)), layer)


def _tree(element: Any, parsed: ParsedOverride, text: str, layer: Layer, diagnostics: list[Diagnostic]) -> Tree:
    """Return an element of the parse tree as a tree. Raises _SweepError if the value is one of several."""
    at = _place(element, text)
    if element.listContainer():
        items = element.listContainer().element()
        return Tree([_tree(item, parsed, text, layer, diagnostics) for item in items], None, at, layer)
    if element.dictContainer():
        children: dict[str, Tree] = {}
        for pair in element.dictContainer().dictKeyValuePair():
            key = parsed.key_of(pair.dictKey())
            place = _place(pair.dictKey(), text)
            child = _tree(pair.element(), parsed, text, layer, diagnostics)
            if key in children:
                first = Note("it is first given here", children[key].key)
                message, label = f"`{key}` is given twice", "given again"
                diagnostics.append(Diagnostic("duplicate-key", message, place, label=label, notes=(first,)))
            children[key] = Tree(child.value, place, child.at, layer)
        return Tree(children, None, at, layer)
    value = _plain(parsed.value_of(element), at)
    return from_plain(value, Tree(None, None, at, layer))


def _place(context: Any, text: str) -> Location:
    """Return the place of a part of an override, without the blanks around it."""
    start, stop = context.start.start, context.stop.stop + 1
    part = text[start:stop]
    start += len(part) - len(part.lstrip(" \t"))
    return place_in(text, start, start + len(part.strip(" \t")))


def _plain(value: Any, at: Location) -> Any:
    """Return a value of Hydra's as plain data; its quoted strings become text."""
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, list):
        return [_plain(item, at) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item, at) for key, item in value.items()}
    if type(value).__name__ == "QuotedString":
        return value.text
    raise _SweepError(at)
