"""What this package uses of Hydra, OmegaConf and ANTLR: two grammars and the order of files. Their only importer.

All of it is used as pure functions: no GlobalHydra, search path, plugin, ConfigStore or registered resolver takes part,
so that nothing in a user's file is imported or run. Imports are inside the functions: they take 170 to 450 ms, which
`import aegisrt` must not cost.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from itertools import islice
from types import SimpleNamespace
from typing import Any

_LOCK = threading.Lock()


class GrammarError(Exception):
    """A text that a grammar refuses; of an override with the column (from 0)."""

    def __init__(self, message: str, column: int | None = None) -> None:
        super().__init__(message)
        self.column = column


@dataclass(frozen=True, slots=True)
class ParsedOverride:
    """One override, parsed by Hydra's grammar."""

    context: Any
    """ANTLR's parse tree, which has the positions."""
    override: Any
    """Hydra's own `Override`."""
    _visitor: Any

    def value_of(self, element: Any) -> Any:
        """Return the value of an element of the parse tree. Raises GrammarError."""
        with _grammar_errors():
            return self._visitor.visitElement(element)

    def key_of(self, key: Any) -> str:
        """Return the key of a pair of a mapping, as text. Raises GrammarError."""
        with _grammar_errors():
            read = self._visitor.visitDictKey(key)
        return read if isinstance(read, str) else str(key.getText()).strip()


def parse_override(text: str) -> ParsedOverride:
    """Return an override parsed by Hydra's grammar. Raises GrammarError."""
    parts = hydra_parts()
    lexer = parts.OverrideLexer(parts.InputStream(text))
    parser = parts.OverrideParser(parts.CommonTokenStream(lexer))
    for reader in (lexer, parser):
        reader.removeErrorListeners()
        reader.addErrorListener(parts.listener)
    visitor = parts.HydraOverrideVisitor(parts.functions)
    with _grammar_errors():
        context = parser.override()
        return ParsedOverride(context, visitor.visit(context), visitor)


def sweep_values(text: str, most: int) -> list[str] | None:
    """Return an override once for each of its values; None if they cannot be listed (`interval(0,1)`, `glob(*)`).

    Returns at most `most` of them. Raises GrammarError.
    """
    parts = hydra_parts()
    with _grammar_errors():
        parsed = parts.OverridesParser(parts.functions).parse_override(text)
    if not parsed.is_sweep_override():
        return [text]
    if not parsed.is_discrete_sweep() or type(parsed.value()).__name__ == "Glob":
        return None
    return [f"{parsed.get_key_element()}={value}" for value in islice(parsed.sweep_string_iterator(), most)]


@contextmanager
def _grammar_errors() -> Iterator[None]:
    try:
        yield
    except hydra_parts().errors as error:
        raise GrammarError(str(error)) from error


def evaluate_interpolation(
    text: str,
    select: Callable[[str, Any], Any],
    call: Callable[[str, tuple[Any, ...], tuple[str, ...]], Any],
    **rule: str,
) -> Any:
    """Return what a text with interpolations stands for, by OmegaConf's grammar. Raises GrammarError.

    `select` returns the value at a key, `call` that of a resolver; what they raise is passed on unless OmegaConf's
    grammar raises it too. `rule` chooses another rule of the grammar than that of a whole text.
    """
    from omegaconf.errors import GrammarParseError, OmegaConfBaseException
    from omegaconf.grammar_parser import parse
    from omegaconf.grammar_visitor import GrammarVisitor

    try:
        return GrammarVisitor(select, call, None).visit(parse(text, **rule))
    except GrammarParseError as error:  # its message is a list of ANTLR's tokens
        raise GrammarError("") from error
    except (OmegaConfBaseException, UserWarning, ValueError, AssertionError, TypeError) as error:
        raise GrammarError(str(error)) from error


def split_key(key: str) -> list[str]:
    """Return the segments of an interpolation's key: `a.b[0]` has three."""
    from omegaconf._utils import split_key as split

    return [segment for segment in split(key) if segment]


@cache
def hydra_parts() -> SimpleNamespace:
    """Return Hydra's classes that are used here."""
    from antlr4 import CommonTokenStream, InputStream  # type: ignore[import-untyped]
    from antlr4.error.ErrorListener import ErrorListener  # type: ignore[import-untyped]
    from hydra._internal.defaults_list import Overrides, _create_defaults_list
    from hydra.core.default_element import ConfigDefault, GroupDefault
    from hydra.core.override_parser.overrides_parser import OverridesParser, create_functions
    from hydra.core.override_parser.overrides_visitor import HydraOverrideVisitor
    from hydra.core.override_parser.types import OverrideType
    from hydra.errors import HydraException
    from hydra.grammar.gen.OverrideLexer import OverrideLexer
    from hydra.grammar.gen.OverrideParser import OverrideParser
    from omegaconf.errors import OmegaConfBaseException

    class Listener(ErrorListener):  # type: ignore[misc]
        def syntaxError(self, recognizer: Any, symbol: Any, line: int, column: int, msg: str, e: Any) -> None:  # noqa: N802
            raise GrammarError(msg or str(e), column)

    def replacing(parsed: Any) -> Any:
        return parsed if parsed.type is OverrideType.DEL else replace(parsed, type=OverrideType.CHANGE)

    return SimpleNamespace(
        CommonTokenStream=CommonTokenStream,
        InputStream=InputStream,
        OverrideLexer=OverrideLexer,
        OverrideParser=OverrideParser,
        OverridesParser=OverridesParser,
        HydraOverrideVisitor=HydraOverrideVisitor,
        ConfigDefault=ConfigDefault,
        GroupDefault=GroupDefault,
        Overrides=Overrides,
        create_defaults_list=_create_defaults_list,
        functions=create_functions(),
        listener=Listener(),
        replacing=replacing,
        errors=(
            HydraException,
            OmegaConfBaseException,
            ValueError,
            TypeError,
            AssertionError,
            LookupError,
            AttributeError,
            RecursionError,
        ),
    )


@contextmanager
def using_hydra() -> Iterator[None]:
    """Hold the lock of this module, and use the rules of Hydra 1.3, whatever the program around has chosen for itself.

    Hydra's choice of version is global to the process, and its parser is not thread-safe.
    """
    from hydra.version import VersionBase, setbase

    with _LOCK:
        state = VersionBase.instance()
        before = state.version_base
        setbase("1.3")
        try:
            yield
        finally:
            state.version_base = before
