"""`compose`: a manifest, its groups, an environment and overrides as one `Composition`. The only importer of hydra.

Hydra gives the grammar of overrides and the order of the files (its defaults list), both used as pure functions: no
GlobalHydra, search path, plugin or ConfigStore takes part, so that nothing a user's file says is imported or run.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from aegisrt.core.diagnostic import Diagnostic, Location
from aegisrt.core.options import BackendOptions
from aegisrt.core.resources import configs_dir
from aegisrt.core.result import Err, Ok, Result
from aegisrt.manifest.compose.base import add_base
from aegisrt.manifest.compose.choices import COMMAND_GROUPS, check_call, check_choice
from aegisrt.manifest.compose.fields import TOP, Fields
from aegisrt.manifest.compose.hydra_repository import MANIFEST, ROOT, HydraRepository
from aegisrt.manifest.compose.interpolation import resolve
from aegisrt.manifest.compose.kind_change import drop_unfit
from aegisrt.manifest.compose.library import ConfigLibrary, is_folder, read_manifest
from aegisrt.manifest.compose.order_errors import explain_order, explain_unused
from aegisrt.manifest.compose.override_tree import SweepError, bad_override, context_place, sweep, value_tree
from aegisrt.manifest.compose.overrides import Action, Override, apply_all, place_in
from aegisrt.manifest.compose.paths import resolve_paths
from aegisrt.manifest.composition import Composition, TreeOrigins, composition_error
from aegisrt.manifest.read.tree import Layer, Tree, merge

_LOCK = threading.Lock()
_ACTIONS: dict[str, Action] = {"CHANGE": "set", "ADD": "add", "FORCE_ADD": "force", "DEL": "delete"}


def compose(
    manifest: Path | str | Mapping[str, Any] | None,
    overrides: Sequence[str] = (),
    *,
    config_dir: Path | str | None = None,
    kinds: Mapping[str, type[BackendOptions]],
    groups: Sequence[str] = (),
    partly: bool = False,
) -> Result[Composition]:
    """Return the composition of a manifest, or an error whose `diagnostics` are everything wrong with it.

    `manifest` None is the packaged demo. `kinds` are the known backend kinds and their options. `groups` are further
    groups that a command reads, chosen as `env` is: `conformance=NAME`. Relative paths in overrides, and in a manifest
    that is a mapping, are relative to the current folder; what a mapping says has no place, and its errors are located
    at `<mapping>`. With `partly`, wrong overrides and interpolations leave a composition without them, whose `found`
    says so: for a caller that goes on to find more. NOT_FOUND and PERMISSION_DENIED are of files; everything else is
    INVALID_ARGUMENT. Thread-safe.
    """
    found = check_call(manifest, overrides)
    if found:
        return Err(composition_error(found, str(manifest)))
    packaged = configs_dir()
    source = read_manifest(manifest, packaged)
    library = ConfigLibrary([*_user_folder(config_dir, found), packaged])
    library.add(MANIFEST, source)
    base = add_base(library, kinds, packaged) if source.has_base else []
    with _LOCK, _hydra_version():
        unread: list[Diagnostic] = []
        parsed = [override for text in overrides if (override := _parsed(text, unread)) is not None]
        choices = [override for override in parsed if override.is_choice(library.is_group)]
        values = [override for override in parsed if override not in choices]
        wrong = {choice.text: check_choice(choice, library, groups) for choice in choices}
        found += [one for each in wrong.values() for one in each]
        repository = HydraRepository(library, base, ("env", *groups), _hydra())
        tree = _merged(repository, [choice for choice in choices if not wrong[choice.text]], found)
    found += library.found()
    whole = not found
    offered = [group for group in library.groups() if group in groups or group not in COMMAND_GROUPS]
    tree, refused = apply_all(values, tree, TOP, offered, names=whole)
    tree, unresolved = resolve(tree) if whole else (tree, [])
    found += [*unread, *refused, *unresolved]
    if found and not (partly and whole):
        return Err(composition_error(found, source.name))
    fields = Fields(kinds)
    tree = resolve_paths(drop_unfit(tree, fields), fields)
    without_base = not source.has_base or any(override.action == "delete" for override in values)
    return Ok(Composition(tree.plain(), TreeOrigins(tree), source.name, TOP, tuple(found), without_base))


def expand_sweep(overrides: Sequence[str]) -> Result[list[list[str]]]:
    """Return the overrides of each cell of a sweep: every combination of the values in `a=1,2 b=x,y`, in order.

    Overrides of one value are in every cell as they stand. INVALID_ARGUMENT, with diagnostics, where one is refused by
    Hydra's grammar or stands for values that cannot be listed (`interval(0,1)`, `glob(*)`).
    """
    found: list[Diagnostic] = []
    with _LOCK, _hydra_version():
        each = [_swept(text, found) for text in overrides]
    if found:
        return Err(composition_error(found, "the command line"))
    return Ok([list(cell) for cell in product(*each)])


def _swept(text: str, found: list[Diagnostic]) -> list[str]:
    """Return an override once for each of its values."""
    hydra = _hydra()
    try:
        parsed = hydra.OverridesParser(hydra.functions).parse_override(text)
    except hydra.errors as error:
        found.append(bad_override(text, text.find("=") + 1, str(error).splitlines()[0]))
        return []
    if not parsed.is_sweep_override():
        return [text]
    if not parsed.is_discrete_sweep() or type(parsed.value()).__name__ == "Glob":
        place = place_in(text, text.find("=") + 1, len(text))
        hint = "name the values: `a=1,2`, `a=range(1,4)`"
        found.append(Diagnostic("bad-override", "a sweep goes over values that can be listed", place, hint=hint))
        return []
    return [f"{parsed.get_key_element()}={value}" for value in parsed.sweep_string_iterator()]


def _user_folder(config_dir: Path | str | None, found: list[Diagnostic]) -> list[Path]:
    if config_dir is None or is_folder(Path(config_dir)):
        return [] if config_dir is None else [Path(config_dir)]
    hint = "`--config-dir` takes a folder of groups, such as one that holds `env/site.yaml`"
    place = Location(str(config_dir), 1, 1, 2)
    found.append(Diagnostic("file-not-found", f"there is no folder `{config_dir}`", place, hint=hint))
    return []


def _merged(repository: HydraRepository, choices: list[Override], found: list[Diagnostic]) -> Tree:
    """Return all files merged, in the order of Hydra's defaults list."""
    try:
        files = _ordered(repository, choices, found)
    except _hydra().errors as error:
        found.append(explain_order(error, repository.entries, repository.library, MANIFEST))
        return Tree({})
    merged, packaged = Tree({}), configs_dir()
    for file in files:
        source = repository.library.load(file.config_path)
        if source is None or file.config_path == ROOT:
            continue
        set_by = _set_by(file, repository, choices)
        layer = Layer(
            "file",
            source.folder,
            set_by=set_by,
            is_manifest=file.config_path == MANIFEST,
            is_packaged=source.folder.is_relative_to(packaged),
        )
        tree = source.tree if source.is_generated else source.tree.in_layer(layer)
        merged = merge(merged, tree.under(file.package or ""))
    return merged


def _ordered(repository: HydraRepository, choices: list[Override], found: list[Diagnostic]) -> list[Any]:
    """Return Hydra's defaults list; the choice of a group that no defaults list names is appended to the root."""
    hydra = _hydra()
    repository.appended = [one for one in choices if one.action == "add" and one.key not in repository.reserved]
    replacing = [one for one in choices if one not in repository.appended]
    while True:
        given = [hydra.replacing(one.parsed) for one in replacing]
        state = hydra.Overrides(repo=repository, overrides_list=given)
        files, _ = hydra.create_defaults_list(repository, ROOT, state, prepend_hydra=False, skip_missing=False)
        unused = [one for one in replacing if one.action != "delete" and not state.override_metadata[one.group].used]
        if not unused:
            break
        repository.appended += unused
        replacing = [one for one in replacing if one not in unused]
    used = {key for key, meta in state.override_metadata.items() if meta.used}
    used |= {f"~{key}" for key, deletion in state.deletions.items() if deletion.used}
    found += explain_unused(repository.entries, replacing, used)
    return list(files)


def _set_by(file: Any, repository: HydraRepository, choices: list[Override]) -> str | None:
    """Return what chose a file: an override, or an entry of a defaults list; None for the manifest and the base."""
    for choice in reversed(choices):
        if choice.action != "delete" and file.config_path in (f"{choice.key}/{name}" for name, _ in choice.names()):
            return choice.text
    for entry in repository.entries.get(file.parent or "", ()):
        if file.config_path in entry.files:
            return f"{entry.says(file.config_path)}, chosen in {entry.place}"
    return None


def _parsed(text: str, found: list[Diagnostic]) -> Override | None:
    """Return an override parsed by Hydra's grammar, or None where it is wrong."""
    hydra = _hydra()
    lexer = hydra.OverrideLexer(hydra.InputStream(text))
    parser = hydra.OverrideParser(hydra.CommonTokenStream(lexer))
    for reader in (lexer, parser):
        reader.removeErrorListeners()
        reader.addErrorListener(hydra.listener)
    visitor = hydra.HydraOverrideVisitor(hydra.functions)
    layer = Layer("override", Path.cwd(), override=text)
    try:
        context = parser.override()
        parsed = visitor.visit(context)
        if context.value() is not None and context.value().simpleChoiceSweep() is not None:
            raise SweepError(context_place(context.value(), text))
        value = _value(context, visitor, text, layer, found)
    except SweepError as error:
        found.append(sweep(text, error.place))
    except _GrammarError as error:
        found.append(bad_override(text, error.column, str(error)))
    except hydra.errors as error:
        found.append(bad_override(text, text.find("=") + 1, str(error)))
    else:
        return Override(text, _ACTIONS[parsed.type.name], parsed.key_or_group, parsed.package, value, layer, parsed)
    return None


def _value(context: Any, visitor: Any, text: str, layer: Layer, found: list[Diagnostic]) -> Tree | None:
    if context.value() is not None:
        return value_tree(context.value().element(), visitor, text, layer, found)
    if context.EQUAL() is None:
        return None
    return Tree("", None, place_in(text, len(text), len(text)), layer)


class _GrammarError(Exception):
    """What Hydra's parser refuses, and the column (from 0) where."""

    def __init__(self, column: int, message: str) -> None:
        super().__init__(message)
        self.column = column


@cache
def _hydra() -> SimpleNamespace:
    """Return the parts of Hydra that are used here; its import is slow, and `import aegisrt` must not pay for it."""
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
            raise _GrammarError(column, msg or str(e))

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
def _hydra_version() -> Iterator[None]:
    """Use the rules of Hydra 1.3, whatever the program around has chosen for itself."""
    from hydra.version import VersionBase, setbase

    state = VersionBase.instance()
    before = state.version_base
    setbase("1.3")
    try:
        yield
    finally:
        state.version_base = before
