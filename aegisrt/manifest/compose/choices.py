"""`check_choice`: the errors of an override that chooses a file of a group: `env=prod`, `+model=[a,b]`."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from os import PathLike
from pathlib import Path

from aegisrt.core.diagnostic import Diagnostic, Location
from aegisrt.core.suggest import did_you_mean, listed
from aegisrt.manifest.compose.defaults import unknown_option
from aegisrt.manifest.compose.library import ConfigLibrary
from aegisrt.manifest.compose.overrides import Override
from aegisrt.manifest.diagnostics.wording import described
from aegisrt.manifest.read.forbidden import hydra_refused
from aegisrt.manifest.read.source import MAPPING_NAME

COMMAND_GROUPS = frozenset({"ci", "conformance"})
"""Groups that configure one command, and no manifest."""


def check_call(manifest: object, overrides: Sequence[object], config_dir: object = None) -> list[Diagnostic]:
    """Return the errors of the arguments of a composition, before any file is read."""
    try:
        Path.cwd()
    except OSError:
        place = Location(".", 1, 1, 2)
        return [Diagnostic("file-not-found", "the current folder is gone", place, hint="change to another folder")]
    if not isinstance(manifest, str | PathLike | Mapping | None):
        message = f"a manifest is the path of a YAML file, a mapping, or None, not {described(manifest)}"
        return [Diagnostic("not-a-file", message, Location(call_name(manifest), 1, 1, 2), hint='write `"deploy.yaml"`')]
    if not isinstance(config_dir, str | PathLike | None):
        message = f"`config_dir` is the path of a folder of groups, or None, not {described(config_dir)}"
        return [Diagnostic("not-a-file", message, Location("config_dir", 1, 1, 2), hint='write `config_dir="conf"`')]
    is_list = isinstance(overrides, Sequence) and not isinstance(overrides, str)  # an iterator would be used up here
    wrong = [text for text in overrides if not isinstance(text, str)] if is_list else [overrides]
    if not wrong:
        return []
    place = Location(f"override {wrong[0] if isinstance(wrong[0], str) else described(wrong[0])}", 1, 1, 2)
    return [Diagnostic("bad-override", "overrides are a list of texts", place, hint='write `["env=prod"]`')]


def call_name(manifest: object) -> str:
    """Return what messages call the manifest of a call: its path, or its type (its text may be endless)."""
    is_path = isinstance(manifest, str | PathLike | None)
    return (
        str(manifest) if is_path else MAPPING_NAME if isinstance(manifest, Mapping) else f"<{type(manifest).__name__}>"
    )


def check_choice(choice: Override, library: ConfigLibrary, groups: Collection[str]) -> list[Diagnostic]:
    """Return the errors of a choice; `groups` are those of `COMMAND_GROUPS` that the command reads."""
    place = choice.key_place()
    package = (choice.package or "").removeprefix("_global_.")
    if "hydra" in (choice.key.split("/")[0], package.split(".")[0]):
        return [hydra_refused(place, choice.key)]
    if not library.is_group(choice.key):
        groups = library.groups()
        label = did_you_mean(choice.key, groups)
        hint = f"groups are {listed(groups)}"
        return [Diagnostic("unknown-group", f"there is no group `{choice.key}`", place, label=label, hint=hint)]
    if choice.key in COMMAND_GROUPS and choice.key not in groups:
        message, hint = f"this command does not read `{choice.key}`", f"`aegisrt {choice.key}` does; leave it out here"
        return [Diagnostic("unknown-group", message, place, hint=hint)]
    if choice.action == "delete":
        return []
    names = choice.names()
    if not names and not (choice.value and choice.value.value == []):
        options = library.options(choice.key)
        hint = f"`{choice.key}` offers {listed(options)}; `~{choice.key}` removes a choice"
        message = f"`{choice.key}` is a group: its value is the name of a file in it"
        return [Diagnostic("unknown-option", message, choice.value_place(), hint=hint)]
    return [
        unknown_option(library, choice.key, name, at)
        for name, at in names
        if not library.exists(f"{choice.key}/{name}")
    ]
