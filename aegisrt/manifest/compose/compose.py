"""`compose`: a manifest, its groups, an environment and overrides as one `Composition`.

Hydra's grammar parses the overrides, and its defaults list puts the files in order (hydra.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from aegisrt.core.diagnostic import Diagnostic, Location
from aegisrt.core.options import BackendOptions
from aegisrt.core.resources import configs_dir
from aegisrt.core.result import Err, Ok, Result
from aegisrt.manifest.compose.base import add_base
from aegisrt.manifest.compose.choices import COMMAND_GROUPS, call_name, check_call, check_choice
from aegisrt.manifest.compose.defaults import DefaultsEntry
from aegisrt.manifest.compose.fields import TOP, Fields
from aegisrt.manifest.compose.hydra import hydra_parts, using_hydra
from aegisrt.manifest.compose.hydra_repository import MANIFEST, ROOT, HydraRepository
from aegisrt.manifest.compose.interpolation import resolve
from aegisrt.manifest.compose.kind_change import drop_unfit
from aegisrt.manifest.compose.library import ConfigLibrary, is_folder, read_manifest
from aegisrt.manifest.compose.order_errors import explain_order, explain_unused
from aegisrt.manifest.compose.overrides import Override, apply_all
from aegisrt.manifest.compose.parse_override import read_override
from aegisrt.manifest.compose.paths import resolve_paths
from aegisrt.manifest.composition import Composition, TreeOrigins
from aegisrt.manifest.errors import manifest_error
from aegisrt.manifest.origin import Environment
from aegisrt.manifest.read.limits import MOST_LEVELS, too_deep
from aegisrt.manifest.read.tree import Layer, Tree, merge


def compose(
    manifest: Path | str | Mapping[str, Any] | None,
    overrides: Sequence[str] = (),
    *,
    config_dir: Path | str | None = None,
    kinds: Mapping[str, type[BackendOptions]],
    groups: Sequence[str] = (),
    partly: bool = False,
    environment: Environment = "hidden",
) -> Result[Composition]:
    """Compose a manifest, or return an error whose `diagnostics` are all of its errors.

    `manifest` None is the packaged demo. `kinds` are the known backend kinds and their options. `groups` are further
    groups that a command reads, chosen like `env`: `conformance=NAME`. Relative paths in overrides, and in a manifest
    that is a mapping, start from the current folder. Values of a mapping have no place; their errors are located at
    `<mapping>`. With `partly`, wrong overrides and interpolations are left out of the composition and are in its
    `diagnostics`, so that the caller can go on and report more. `environment` is about variables. Thread-safe.

    NOT_FOUND: if the only errors are files that do not exist.
    PERMISSION_DENIED: if the only errors are files that cannot be read.
    INVALID_ARGUMENT: if there are any other errors.
    """
    diagnostics = check_call(manifest, overrides, config_dir)
    if diagnostics:
        return Err(manifest_error(diagnostics, call_name(manifest)))
    packaged = configs_dir()
    source = read_manifest(manifest, packaged)
    library = ConfigLibrary([*_user_folder(config_dir, diagnostics), packaged])
    library.add(MANIFEST, source)
    base = add_base(library, kinds, packaged) if source.has_base else []
    with using_hydra():
        unread: list[Diagnostic] = []
        parsed = [override for text in overrides if (override := read_override(text, unread)) is not None]
        choices = [override for override in parsed if override.is_choice(library.is_group)]
        values = [override for override in parsed if override not in choices]
        repository = HydraRepository(library, base, ("env", *groups))
        tree = _merged(repository, _right(choices, library, groups, diagnostics), diagnostics)
    diagnostics += [one for one in library.diagnostics() if one.severity == "error"]
    warnings = tuple(one for one in library.diagnostics() if one.severity == "warning")
    whole = library.local() >= set(diagnostics)
    offered = [group for group in library.groups() if group in groups or group not in COMMAND_GROUPS]
    tree, refused = apply_all(values, tree, TOP, offered, names=whole)
    tree, unresolved, hidden = resolve(tree, environment) if whole else (tree, [], frozenset())
    diagnostics += [*unread, *refused, *unresolved]
    if diagnostics and not (partly and whole):
        return Err(manifest_error(diagnostics, source.name))
    tree = resolve_paths(drop_unfit(tree, Fields(kinds)), Fields(kinds))
    without_base = not source.has_base or any(override.action == "delete" for override in values)
    found, origins = tuple(diagnostics), TreeOrigins(tree)
    return Ok(Composition(tree.plain(), origins, source.name, TOP, found, without_base, warnings, hidden))


def _right(
    choices: list[Override], library: ConfigLibrary, groups: Sequence[str], diagnostics: list[Diagnostic]
) -> list[Override]:
    """Return the choices that are right; the errors of the others go to `diagnostics`."""
    wrong = {choice.text: check_choice(choice, library, groups) for choice in choices}
    diagnostics += [one for each in wrong.values() for one in each]
    return [choice for choice in choices if not wrong[choice.text]]


def _user_folder(config_dir: Path | str | None, diagnostics: list[Diagnostic]) -> list[Path]:
    if config_dir is None or is_folder(Path(config_dir)):
        return [] if config_dir is None else [Path(config_dir)]
    hint = "`--config-dir` takes a folder of groups, such as one with `env/site.yaml` in it"
    place = Location(str(config_dir), 1, 1, 2)
    diagnostics.append(Diagnostic("file-not-found", f"the folder `{config_dir}` does not exist", place, hint=hint))
    return []


def _merged(repository: HydraRepository, choices: list[Override], diagnostics: list[Diagnostic]) -> Tree:
    """Merge all files in the order of Hydra's defaults list."""
    try:
        files = _ordered(repository, choices, diagnostics)
    except hydra_parts().errors as error:
        diagnostics.append(explain_order(error, repository.entries, repository.library, MANIFEST))
        return Tree({})
    merged, packaged = Tree({}), configs_dir()
    for file in files:
        source = repository.library.load(file.config_path)
        if source is None or file.config_path == ROOT:
            continue
        if (file.package or "").count(".") >= MOST_LEVELS:
            entry = _entry(file, repository)
            diagnostics.append(too_deep(entry.place if entry else Location(source.name, 1, 1, 2), "defaults"))
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


def _ordered(repository: HydraRepository, choices: list[Override], diagnostics: list[Diagnostic]) -> list[Any]:
    """Return Hydra's defaults list; a choice of a group that no defaults list names is appended to the root."""
    hydra = hydra_parts()
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
    diagnostics += explain_unused(repository.entries, replacing, used)
    return list(files)


def _set_by(file: Any, repository: HydraRepository, choices: list[Override]) -> str | None:
    """Return the override or the entry that chose a file; None for the manifest and the base."""
    for choice in reversed(choices):
        if choice.action != "delete" and file.config_path in (f"{choice.key}/{name}" for name, _ in choice.names()):
            return choice.text
    entry = _entry(file, repository)
    return f"{entry.choice_of(file.config_path)}, chosen in {entry.place}" if entry else None


def _entry(file: Any, repository: HydraRepository) -> DefaultsEntry | None:
    """Return the entry of a defaults list that chose a file; None for the manifest, the base, and overrides."""
    entries = repository.entries.get(file.parent or "", ())
    return next((entry for entry in entries if file.config_path in entry.files), None)
