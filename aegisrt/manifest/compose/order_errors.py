"""Explain why Hydra cannot put the files of a composition in order."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from aegisrt.core.diagnostic import Diagnostic, Location, Note
from aegisrt.manifest.compose.defaults import DefaultsEntry
from aegisrt.manifest.compose.library import ConfigLibrary
from aegisrt.manifest.compose.overrides import Override

_Entries = Mapping[str, list[DefaultsEntry]]


def explain_order(error: BaseException, entries: _Entries, library: ConfigLibrary, manifest: str) -> Diagnostic:
    """Return the diagnostic of an exception from Hydra's defaults list; `entries` are those read, by file."""
    text = str(error)
    cycle = _cycle(entries) if isinstance(error, RecursionError) else None
    if cycle:
        files = " -> ".join(f"`{_name(path, library)}`" for path, _ in cycle)
        return _diagnostic(
            "defaults-cycle", f"defaults lists include each other: {files}", cycle[-1][1].place, hint="remove one"
        )
    twice = re.match(r"Multiple values for (\S+)\.|(\S+) appears more than once", text)
    if twice:
        group = (twice[1] or twice[2]).split("@")[0]
        places = [one.place for read in entries.values() for one in read if one.target == group and not one.override]
        if len(places) > 1:
            hint = f"remove one, or replace the first choice: `- override /{group}: NAME`"
            notes = (Note("it is first chosen here", places[0]),)
            return _diagnostic("duplicate-choice", f"`{group}` is chosen twice", places[-1], hint=hint, notes=notes)
    dynamic = [one for read in entries.values() for one in read if "${" in f"{one.path}{one.choice}"]
    place = dynamic[0].place if dynamic else Location(_name(manifest, library), 1, 1, 2)
    first = next((line.strip() for line in text.splitlines() if line.strip()), type(error).__name__)
    return _diagnostic("defaults-syntax", f"the defaults list cannot be read: {first}", place, label="here")


def explain_unused(entries: _Entries, choices: list[Override], used: Collection[str]) -> list[Diagnostic]:
    """Return a diagnostic for each `override GROUP` and `~GROUP` without a choice of that group."""
    diagnostics = [
        _diagnostic(
            "misplaced-override",
            f"there is no choice of `{entry.target}` to override",
            entry.place,
            hint=f"write `- {entry.group}: {entry.choice}`",
        )
        for read in entries.values()
        for entry in read
        if entry.override and not any(_same_group(key, entry) for key in used)
    ]
    for choice in choices:
        if choice.action == "delete" and f"~{choice.group}" not in used:
            message = f"no defaults list chooses `{choice.group}`, so there is nothing to remove"
            hint = f"leave it out; `{choice.key}=NAME` would choose one"
            diagnostics.append(Diagnostic("unknown-name", message, choice.key_place(), path=choice.key, hint=hint))
    return diagnostics


def _same_group(key: str, entry: DefaultsEntry) -> bool:
    return key.split("@")[0] == entry.target


def _cycle(entries: _Entries) -> list[tuple[str, DefaultsEntry]] | None:
    """Return the files of a circle, each with its entry that includes the next; the first file is also the last.

    The search visits each file once and does not recurse: it runs because Hydra's own recursion went too deep.
    """
    done: set[str] = set()
    for root in entries:
        trail: dict[str, DefaultsEntry] = {}
        pending = [(root, _includes(entries, root))]
        while pending:
            path, includes = pending[-1]
            entry, file = next(includes, (None, ""))
            if entry is None:
                done.add(path)
                trail.pop(path, None)
                pending.pop()
                continue
            trail[path] = entry
            if file in trail:
                names = list(trail)
                return [*((name, trail[name]) for name in names[names.index(file) :]), (file, entry)]
            if file not in done:
                pending.append((file, _includes(entries, file)))
    return None


def _includes(entries: _Entries, path: str) -> Iterator[tuple[DefaultsEntry, str]]:
    return ((entry, file) for entry in entries.get(path, ()) for file in entry.files)


def _name(path: str, library: ConfigLibrary) -> str:
    source = library.load(path)
    return source.name if source else path


def _diagnostic(id: str, message: str, place: Location, **rest: Any) -> Diagnostic:  # noqa: A002
    return Diagnostic(id, message, place, path="defaults", **rest)
