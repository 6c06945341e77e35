"""`value_tree`: the value of an override as a `Tree`, from the parse tree of Hydra's grammar."""

from __future__ import annotations

from typing import Any

from aegisrt.core.diagnostic import Diagnostic, Location, Note
from aegisrt.manifest.compose.overrides import place_in
from aegisrt.manifest.read.tree import Layer, Tree, from_plain


class SweepError(Exception):
    """A value that stands for several: `1,2`, `choice(1,2)`, `range(1,3)`."""

    def __init__(self, place: Location) -> None:
        super().__init__(place)
        self.place = place


def value_tree(element: Any, visitor: Any, text: str, layer: Layer, found: list[Diagnostic]) -> Tree:
    """Return a grammar's `element` as a tree; `visitor` is Hydra's, which gives scalars their values.

    Raises SweepError where the value is one of several.
    """
    at = context_place(element, text)
    if element.listContainer():
        items = element.listContainer().element()
        return Tree([value_tree(item, visitor, text, layer, found) for item in items], None, at, layer)
    if element.dictContainer():
        children: dict[str, Tree] = {}
        for pair in element.dictContainer().dictKeyValuePair():
            read = visitor.visitDictKey(pair.dictKey())
            key = read if isinstance(read, str) else pair.dictKey().getText().strip()
            place = context_place(pair.dictKey(), text)
            child = value_tree(pair.element(), visitor, text, layer, found)
            if key in children:
                first = Note("it was given here first", children[key].key)
                message, label = f"`{key}` is given twice", "given again"
                found.append(Diagnostic("duplicate-key", message, place, label=label, notes=(first,)))
            children[key] = Tree(child.value, place, child.at, layer)
        return Tree(children, None, at, layer)
    value = _plain(visitor.visitElement(element), at)
    return from_plain(value, Tree(None, None, at, layer))


def context_place(context: Any, text: str) -> Location:
    """Return the place of a part of an override, without the blanks around it."""
    start, stop = context.start.start, context.stop.stop + 1
    part = text[start:stop]
    start += len(part) - len(part.lstrip(" \t"))
    return place_in(text, start, start + len(part.strip(" \t")))


def _plain(value: Any, at: Location) -> Any:
    """Return what Hydra made of a value as plain data: its quoted strings as text."""
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, list):
        return [_plain(item, at) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item, at) for key, item in value.items()}
    if type(value).__name__ == "QuotedString":
        return value.text
    raise SweepError(at)


def sweep(text: str, place: Location) -> Diagnostic:
    """Return the diagnostic of an override of several values."""
    key, _, value = text.partition("=")
    hint = f"for a list write `{key}=[{value}]`, for a text with a comma quote it: `{key}='{value}'`"
    return Diagnostic("sweep-not-here", "several values, of which only one can be used", place, hint=hint)


def bad_override(text: str, column: int, message: str) -> Diagnostic:
    """Return the diagnostic of an override that Hydra's grammar refuses at `column`, counted from 0."""
    signs = len(text) - len(text.lstrip("~+"))
    key = text[signs:].partition("=")[0]
    if "=" not in text and not text.startswith("~"):
        place = place_in(text, 0, len(text))
        return Diagnostic("bad-override", f"`{text}` has no `=`", place, hint=f"write `{text}=VALUE`")
    if column <= signs + len(key):
        return _bad_key(text, key, signs, column)
    hint = "quote a value that holds special characters, once for the shell and once for the value: \"key='a, b'\""
    if column >= len(text.rstrip()):
        return Diagnostic("bad-override", "the value ends too early", place_in(text, column, column), key, hint)
    message = f"the value cannot be read: {_worded(message)}"
    return Diagnostic("bad-override", message, place_in(text, column, column + 1), key, hint)


def _bad_key(text: str, key: str, signs: int, column: int) -> Diagnostic:
    """Return the diagnostic of a key, on its segment that is wrong where that is clear."""
    start = signs
    for segment in key.split("."):
        place = place_in(text, start, start + len(segment))
        if segment[:1].isdecimal() and not segment.isdecimal():
            hint = "set the mapping around it: `models={3d: {path: a.onnx}}`"
            message = f"`{segment}` starts with a digit, which no name in the key of an override can"
            return Diagnostic("bad-override", message, place, hint=hint)
        if not segment:
            dot = max(signs, start - 1)
            message = f"`{key}` has an empty part"
            return Diagnostic("bad-override", message, place_in(text, dot, dot + 1), hint="write one `.` between names")
        start += len(segment) + 1
    hint = "a key is names with dots between, or a group: `models.digits.path`, `backend`"
    return Diagnostic("bad-override", f"`{key}` is not a key", place_in(text, column, column + 1), hint=hint)


def _worded(message: str) -> str:
    """Return the first line of the parser's words, without its list of tokens."""
    first = (message.splitlines() or ["?"])[0].split(" expecting ")[0]
    unknown = first.removeprefix("token recognition error at: ")
    if unknown != first:
        unquoted = unknown[1:-1]
        return "a quote is not closed" if unquoted[:1] in ("'", '"') else f"`{unquoted}` must be quoted"
    return first.rpartition("': ")[2].replace("'<EOF>'", "the end").replace("<EOF>", "the end")
