"""`resolve`: a tree with every `${...}` replaced by its value.

The grammar is OmegaConf's, its evaluation is not: a resolver that is registered in this process is code that a
manifest must not be able to call, so only those in `_RESOLVERS` exist here. OmegaConf's own `oc.decode` would evaluate
interpolations, with any resolver, inside the text that it decodes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, cast

from aegisrt.core.diagnostic import Diagnostic
from aegisrt.core.suggest import did_you_mean, listed, quoted
from aegisrt.manifest.compose.hydra import GrammarError, evaluate_interpolation, split_key
from aegisrt.manifest.compose.override_values import grammar_fault
from aegisrt.manifest.diagnostics.snippet import MOST_BYTES
from aegisrt.manifest.errors import MOST_DIAGNOSTICS
from aegisrt.manifest.origin import Environment, KeyPath
from aegisrt.manifest.read.forbidden import NOWHERE
from aegisrt.manifest.read.interpolation_hints import environment_hint, resolver_hint
from aegisrt.manifest.read.limits import MOST_LEVELS, MOST_VALUES, TOO_DEEP, deep_bracket
from aegisrt.manifest.read.tree import MISSING, Tree, from_plain, is_interpolation, merge

_MOST_SHOWN = 60
_MOST_PARSED = 200_000
"""How many characters the grammar reads in all, plus `_EACH` for each text: it takes three or four seconds for them."""
_EACH = 20
_MOST_SELECTED = 1_000_000
_MOST_KEY = 2048
"""In characters; of a key in an interpolation."""
_TOO_LARGE = "interpolations make the manifest too large"
_PLAIN = "write the value itself"
_GRAMMAR = "write `${section.name.key}`, or `\\${` for a text that contains `${`"


class _UnresolvedError(Exception):
    """An interpolation that cannot be resolved; the message and the hint are for the user.

    `is_safe` if they contain nothing of an environment variable's value.
    """

    def __init__(self, message: str, hint: str, *, is_safe: bool = False) -> None:
        super().__init__(message)
        self.hint = hint
        self.is_safe = is_safe


class _RefusedError(Exception):
    """An interpolation that reads the environment, which `--no-env` refuses; `oc.select` has no default for it."""


def resolve(root: Tree, environment: Environment = "hidden") -> tuple[Tree, list[Diagnostic], frozenset[str]]:
    """Return `root` resolved, a diagnostic for each interpolation that cannot be, and the variables' hidden values.

    The values of an interpolation have its place.
    """
    resolver = _Resolver(root, environment)
    tree = resolver.tree(root, ())
    hidden = frozenset(resolver.variables) if environment == "hidden" else frozenset()
    return tree, resolver.diagnostics, hidden


@dataclass(slots=True)
class _Resolver:
    root: Tree
    environment: Environment
    diagnostics: list[Diagnostic] = field(default_factory=list)
    done: dict[KeyPath, Tree] = field(default_factory=dict)
    open: list[KeyPath] = field(default_factory=list)
    values: int = 0
    """How many values the interpolations have made so far."""
    characters: int = 0
    """How many characters the texts have that they have made."""
    selected: int = 0
    """How many values were selected so far, each with all values inside it."""
    parsed: int = 0
    """How much the grammar has read, as `_MOST_PARSED` counts it."""
    variables: dict[str, str] = field(default_factory=dict)
    """The environment variables read so far, by their values."""
    reads: bool = False
    """True once the interpolation at hand has read a variable, itself or through another one, that is hidden."""

    def tree(self, tree: Tree, path: KeyPath) -> Tree:
        """Return the value at `path` resolved; report one that cannot be, and return None for it."""
        if is_interpolation(tree.value) and len(self.diagnostics) >= MOST_DIAGNOSTICS:
            return replace(tree, value=None)  # more errors are not reported, and take time
        try:
            return self.value(tree, path)
        except _RefusedError:
            place = (tree.beneath or tree).at or NOWHERE
            message, hint = "this value reads the environment, which `--no-env` refuses", _PLAIN
            self.diagnostics.append(Diagnostic("reads-environment", message, place, path=_dotted(path), hint=hint))
            return replace(tree, value=None)
        except _UnresolvedError as error:
            self._report(str(error), tree, path, error.hint)
            return replace(tree, value=None)

    def value(self, tree: Tree, path: KeyPath) -> Tree:
        """Return the value at `path` resolved; raise _UnresolvedError if it is an interpolation that cannot be."""
        if path in self.done:
            return self.done[path]
        if path in self.open:
            cycle = [*self.open[self.open.index(path) :], path]
            raise _UnresolvedError(f"it refers to itself: {' -> '.join(f'`{_dotted(one)}`' for one in cycle)}", _PLAIN)
        self.open.append(path)
        try:
            resolved = self._resolved(tree, path)
        finally:
            self.open.pop()
        self.done[path] = resolved
        return resolved

    def _resolved(self, tree: Tree, path: KeyPath) -> Tree:
        if tree.beneath is not None:
            beneath = self._evaluated(tree.beneath, path)
            return merge(beneath, self._resolved(replace(tree, beneath=None), path))
        if isinstance(tree.value, dict):
            return replace(tree, value={key: self.tree(child, (*path, key)) for key, child in tree.value.items()})
        if isinstance(tree.value, list):
            return replace(tree, value=[self.tree(child, (*path, at)) for at, child in enumerate(tree.value)])
        return self._evaluated(tree, path) if is_interpolation(tree.value) else tree

    def _evaluated(self, tree: Tree, path: KeyPath) -> Tree:
        before, self.reads = self.reads, False
        try:
            value = self._evaluate(str(tree.value), path[:-1])
            self._check_size(value, len(path))
            return from_plain(value, replace(tree, written=str(tree.value), from_env=self.reads))
        except _UnresolvedError as error:
            if self.reads and not error.is_safe:
                message = "it cannot be resolved with the values of the environment"
                raise _UnresolvedError(message, "`aegisrt validate --show-env` shows why", is_safe=True) from None
            raise
        finally:
            self.reads = before

    def _check_size(self, value: Any, level: int) -> None:
        """Raise _UnresolvedError if a value makes the manifest too deep or too large: each may contain the one before.

        Iterative, since the value may be deeper than its interpolation.
        """
        pending = [(value, level)]
        while pending:
            one, level = pending.pop()
            self.values += 1
            self.characters += len(one) if isinstance(one, str) else 0
            if self.values > MOST_VALUES or self.characters > MOST_BYTES:
                raise _UnresolvedError(_TOO_LARGE, _PLAIN, is_safe=True)
            if isinstance(one, Mapping | list | tuple):
                if level >= MOST_LEVELS:
                    raise _UnresolvedError(TOO_DEEP, "write it with fewer levels")
                inside = one.values() if isinstance(one, Mapping) else one
                pending += [(child, level + 1) for child in inside]

    def _evaluate(self, text: str, parent: KeyPath, what: str = "a valid interpolation", **rule: str) -> Any:
        self.parsed += len(text) + _EACH
        if self.parsed > _MOST_PARSED:
            raise _UnresolvedError(_TOO_LARGE, _PLAIN, is_safe=True)
        if deep_bracket(text) is not None:
            raise _UnresolvedError(TOO_DEEP, "write it with fewer levels")

        def call(name: str, args: tuple[Any, ...], args_str: tuple[str, ...]) -> Any:  # noqa: ARG001
            return self._call(name, args, parent)

        def select(key: str, memo: Any) -> Any:  # noqa: ARG001
            return self._select(key, parent)

        try:
            return evaluate_interpolation(text, select, call, **rule)
        except GrammarError as error:
            reason = _first_line(error) or grammar_fault(text)
            clipped = text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}…"
            raise _UnresolvedError(f"{quoted(clipped)} is not {what}: {reason}", _GRAMMAR) from error
        except RecursionError as error:
            raise _UnresolvedError("interpolations are nested too deeply", _PLAIN) from error

    def _call(self, name: str, args: tuple[Any, ...], parent: KeyPath) -> Any:
        resolver = _RESOLVERS.get(name)
        if resolver is None:
            hint = resolver_hint(name, args) or did_you_mean(name, _RESOLVERS) or f"there are {listed(_RESOLVERS)}"
            raise _UnresolvedError(f"`{name}` is not a resolver", hint)
        low, high, function = resolver
        if not low <= len(args) <= high:
            counts = str(low) if low == high else f"{low} or {high}"
            raise _UnresolvedError(f"`{name}` takes {counts} arguments, not {len(args)}", _GRAMMAR)
        return function(self, parent, *args)

    def _select(self, key: str, parent: KeyPath) -> Any:
        """Return the plain value of `${key}`; leading dots count from the mapping around it."""
        if len(key) > _MOST_KEY:
            raise _UnresolvedError(f"a key has at most {_MOST_KEY} characters, and this one has {len(key)}", _GRAMMAR)
        name = key.lstrip(".")
        up = len(key) - len(name)
        if up > len(parent) + 1:
            raise _UnresolvedError(f"`{key}` leads out of the manifest", "use fewer leading dots")
        base = parent[: len(parent) - up + 1] if up else ()
        path: KeyPath = (*base, *split_key(name))
        found = self._at(path)
        nodes = [node for _, node in found.walk()]
        self.selected += len(nodes)
        if self.selected > _MOST_SELECTED:
            raise _UnresolvedError(_TOO_LARGE, _PLAIN, is_safe=True)
        self.reads = self.reads or any(node.from_env for node in nodes)
        return found.plain()

    def _at(self, path: KeyPath) -> Tree:
        tree, here = self.root, cast(KeyPath, ())
        rest = tuple(str(part) for part in path)
        while rest:
            if is_interpolation(tree.value) or tree.beneath is not None:
                tree = self.value(tree, here)
            name = tree.joined(rest)[0]
            child = tree.child(name)
            if child is None:
                known = list(tree.value) if isinstance(tree.value, dict) else []
                where = f"`{_dotted(here)}` contains" if here else "the manifest contains"
                hint = environment_hint(path) or did_you_mean(name, known)
                message = f"there is no `{_dotted((*here, name))}`"
                raise _UnresolvedError(message, hint or f"{where} {listed(known) or 'nothing'}")
            here = (*here, int(name) if isinstance(tree.value, list) else name)
            size = next(size for size in range(1, len(rest) + 1) if ".".join(rest[:size]) == name)
            tree, rest = child, rest[size:]
        value = self.value(tree, here)
        if value.value == MISSING:
            raise _UnresolvedError(f"`{_dotted(path)}` is `{MISSING}`", "give it a value in a file or an override")
        return value

    def _report(self, message: str, tree: Tree, path: KeyPath, hint: str | None) -> None:
        set_by = tree.layer.set_by if tree.layer else None
        place = (tree.beneath or tree).at or NOWHERE
        self.diagnostics.append(
            Diagnostic("interpolation", message, place, path=_dotted(path), hint=hint, set_by=set_by)
        )


def _env(resolver: _Resolver, __: KeyPath, name: Any, *default: Any) -> Any:
    if resolver.environment == "refused":
        raise _RefusedError
    value = os.environ.get(str(name))
    if value is None and not default:
        hint = f"set it, or give a default: `${{oc.env:{name},VALUE}}`"
        is_safe = not any(str(name) in known for known in resolver.variables)
        raise _UnresolvedError(f"the environment variable `{name}` is not set", hint, is_safe=is_safe)
    if value is not None:
        resolver.variables[value] = str(name)
        resolver.reads = resolver.environment == "hidden"
        return value
    return None if default[0] is None else str(default[0])


def _decode(resolver: _Resolver, parent: KeyPath, text: Any) -> Any:
    if text is None or not isinstance(text, str):
        return text
    variable = resolver.variables.get(text)
    what = f"the environment variable `{variable}`" if variable else "the text to decode"
    if not text.strip():
        raise _UnresolvedError(
            f"{what} is empty", "give it a value, or unset it to use the default of `oc.env`", is_safe=True
        )
    try:
        return resolver._evaluate(text, parent, "a value", parser_rule="singleElement", lexer_mode="VALUE_MODE")
    except _UnresolvedError as error:
        if not resolver.reads:
            raise _UnresolvedError(f"{what} cannot be decoded: {error}", error.hint) from error
        message, hint = f"{what} cannot be decoded: its value is hidden", "`aegisrt validate --show-env` shows why"
        raise _UnresolvedError(message, hint, is_safe=True) from None


def _select_or(resolver: _Resolver, parent: KeyPath, key: Any, *default: Any) -> Any:
    try:
        return resolver._select(str(key), parent)
    except _UnresolvedError:
        if default:
            return default[0]
        return None


def _keys(resolver: _Resolver, parent: KeyPath, key: Any) -> Any:
    return list(resolver._select(str(key), parent))


_RESOLVERS: dict[str, tuple[int, int, Callable[..., Any]]] = {
    "oc.env": (1, 2, _env),
    "oc.decode": (1, 1, _decode),
    "oc.select": (1, 2, _select_or),
    "oc.dict.keys": (1, 1, _keys),
}


def _dotted(path: KeyPath) -> str:
    return ".".join(str(part) for part in path)


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [""])[0]
