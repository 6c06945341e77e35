"""`read_defaults`: a file's defaults list as checked entries with places."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from aegisrt.core.diagnostic import Diagnostic, Location
from aegisrt.core.suggest import did_you_mean, listed
from aegisrt.manifest.compose.library import ConfigLibrary
from aegisrt.manifest.read.forbidden import NOWHERE, hydra_refused
from aegisrt.manifest.read.source import Source
from aegisrt.manifest.read.tree import Tree, is_interpolation

_MOST_ENTRIES = 500


@dataclass(frozen=True, slots=True)
class DefaultsEntry:
    """One entry of a defaults list."""

    place: Location
    """The place of its first character."""
    target: str
    """From the top of the groups: the file of `- model/digits`, the group of `- model: digits`."""
    path: str | None = None
    """Of `- model/digits` and `- _self_`: its text."""
    group: str | None = None
    """Of `- model: digits`: its key, without keywords and package."""
    choice: str | tuple[str, ...] | None = None
    package: str | None = None
    optional: bool = False
    override: bool = False

    @property
    def files(self) -> tuple[str, ...]:
        """Return the paths of the chosen files."""
        if self.path is not None:
            return (self.target,)
        names = (self.choice,) if isinstance(self.choice, str) else self.choice or ()
        return tuple(f"{self.target}/{name}" for name in names)

    @staticmethod
    def choice_of(file: str) -> str:
        """Return the choice of a file as messages show it: `backend=trt`."""
        return "=".join(file.rsplit("/", 1))


@dataclass(slots=True)
class _Reader:
    folder: str
    """The group of the file; paths are relative to it."""
    library: ConfigLibrary
    reserved: Collection[str]
    diagnostics: list[Diagnostic]

    def entry(self, item: Tree) -> DefaultsEntry | None:
        """Return one entry, or None if it is wrong."""
        if any(_calls_resolver(text) for _, node in item.walk() for text in (node.value, *_keys(node))):
            hint = "write the name itself; `${GROUP}` is the choice of another group"
            self._bad("defaults-syntax", "a defaults list calls no resolver", item.at, hint=hint)
            return None
        if isinstance(item.value, str):
            return self._path(item, item.value)
        if isinstance(item.value, dict) and len(item.value) == 1:
            ((key, value),) = item.value.items()
            return self._choice(key, value)
        hint = "write `- GROUP: NAME`, `- GROUP/NAME` or `- _self_`"
        self._bad("defaults-syntax", "not an entry of a defaults list", item.at, hint=hint)
        return None

    def absolute(self, path: str) -> str:
        """Return the path from the top of the groups."""
        return path[1:] if path.startswith("/") else f"{self.folder}/{path}" if self.folder else path

    def _path(self, item: Tree, text: str) -> DefaultsEntry | None:
        place = item.at or NOWHERE
        path, _, package = text.partition("@")
        if path == "_self_":
            return DefaultsEntry(place, path, path=path)
        group, _, name = self.absolute(path).rpartition("/")
        if self._is_refused(group or name, package, place) or not self._option_exists(group, name, place):
            return None
        return DefaultsEntry(place, self.absolute(path), path=path, package=package or None)

    def _choice(self, key: str, value: Tree) -> DefaultsEntry | None:
        *keywords, name = key.split()
        group, _, package = name.partition("@")
        key_place, place = value.key or NOWHERE, value.at or NOWHERE
        absolute = self.absolute(group)
        if set(keywords) - {"override", "optional"}:
            hint = "keywords are `override` and `optional`"
            self._bad("defaults-syntax", f"`{key}` is not a group", key_place, hint=hint)
            return None
        if self._is_refused(absolute, package, key_place):
            return None
        options = value.value if isinstance(value.value, list) else [value]
        if not all(isinstance(option.value, str | None) for option in options) or isinstance(value.value, dict):
            self._bad(
                "defaults-syntax", "an entry chooses by name", place, hint="write a name, a list of names, or null"
            )
            return None
        optional = "optional" in keywords
        if not optional and not self._group_exists(absolute, key_place):
            return None
        names = [(str(option.value), option.at or NOWHERE) for option in options if option.value is not None]
        checked = [optional or self._option_exists(absolute, name, at) for name, at in names]
        if not all(checked):
            return None
        choice = tuple(name for name, _ in names) if isinstance(value.value, list) else names[0][0] if names else None
        return DefaultsEntry(
            place=key_place,
            target=absolute,
            group=group,
            choice=choice,
            package=package or None,
            optional=optional,
            override="override" in keywords,
        )

    def _is_refused(self, group: str, package: str, place: Location) -> bool:
        head = group.split("/")[0]
        if head == "hydra" or package.removeprefix("_global_.").split(".")[0] == "hydra":
            self.diagnostics.append(hydra_refused(place, "defaults"))
            return True
        if head not in self.reserved or self.folder.split("/")[0] == head:
            return False
        message = f"`{head}` is chosen on the command line, not in a defaults list"
        self._bad("env-in-defaults", message, place, hint=f"remove it, and add `{head}=NAME` to the command")
        return True

    def _group_exists(self, group: str, place: Location) -> bool:
        if self.library.is_group(group):
            return True
        groups = self.library.groups()
        hint = f"groups are {listed(groups)}"
        label = did_you_mean(group.removeprefix(f"{self.folder}/"), groups)
        if self.folder and self.library.is_group(group.removeprefix(f"{self.folder}/")):
            label = f"write `/{group.removeprefix(f'{self.folder}/')}`: paths here are relative to `{self.folder}`"
        self._bad("unknown-group", f"there is no group `{group}`", place, label=label, hint=hint)
        return False

    def _option_exists(self, group: str, name: str, place: Location) -> bool:
        path = f"{group}/{name}" if group else name
        if is_interpolation(name) or self.library.exists(path):
            return True
        if not group and self.library.is_group(name):
            options = self.library.options(name)
            hint = f"choose one: `- {name}: {options[0] if options else 'NAME'}`"
            self._bad("defaults-syntax", f"`{name}` is a group; an entry chooses one of its files", place, hint=hint)
        elif group and not self._group_exists(group, place):
            return False
        else:
            self.diagnostics.append(unknown_option(self.library, group, name, place, path="defaults"))
        return False

    def _bad(self, id: str, message: str, place: Location | None, **rest: Any) -> None:  # noqa: A002
        self.diagnostics.append(Diagnostic(id, message, place or NOWHERE, path="defaults", **rest))


def _calls_resolver(text: object) -> bool:
    """Return True for text such as `${oc.env:NAME}`: Hydra would call any resolver that the program has registered."""
    return isinstance(text, str) and "${" in text and ":" in text


def _keys(node: Tree) -> list[str]:
    return list(node.value) if isinstance(node.value, dict) else []


def read_defaults(
    source: Source, folder: str, library: ConfigLibrary, reserved: Collection[str]
) -> list[DefaultsEntry]:
    """Return the correct entries of a source's defaults list; errors go to `source.diagnostics`.

    `folder` is the source's group, and entries are relative to it. `reserved` are the groups that only
    the command line chooses.
    """
    if source.defaults is None:
        return []
    reader = _Reader(folder, library, reserved, source.diagnostics)
    if not isinstance(source.defaults.value, list):
        place = source.defaults.at or NOWHERE
        hint = "write entries such as `- backend: onnx`"
        source.diagnostics.append(
            Diagnostic("defaults-syntax", "`defaults` is a list", place, path="defaults", hint=hint)
        )
        return []
    if len(source.defaults.value) > _MOST_ENTRIES:
        place = source.defaults.value[_MOST_ENTRIES].at or NOWHERE
        message = f"a defaults list has at most {_MOST_ENTRIES} entries"
        source.diagnostics.append(Diagnostic("defaults-syntax", message, place, path="defaults", hint="remove some"))
        return []
    read = [(item, reader.entry(item)) for item in source.defaults.value]
    entries = [entry for _, entry in read if entry is not None]
    _check_order(entries, source.diagnostics)
    _check_twice(entries, source.diagnostics)
    return entries


def unknown_option(library: ConfigLibrary, group: str, name: str, place: Location, *, path: str = "") -> Diagnostic:
    """Return the diagnostic of a name that a group does not offer."""
    if not group:
        groups = library.groups()
        message = f"there is neither a file nor a group `{name}`"
        hint = f"write `- GROUP: NAME`; groups are {listed(groups)}"
        return Diagnostic("unknown-option", message, place, path=path, label=did_you_mean(name, groups), hint=hint)
    options = library.options(group)
    hint = f"`{group}` offers {listed(options)}" if options else f"`{group}` offers nothing"
    message = f"there is no `{name}` in the group `{group}`"
    label = did_you_mean(name, options)
    return Diagnostic("unknown-option", message, place, path=path, label=label, hint=hint)


def _check_order(entries: list[DefaultsEntry], diagnostics: list[Diagnostic]) -> None:
    """Report and remove each `override` before a plain entry; Hydra itself fails with an AssertionError."""
    plain = [index for index, entry in enumerate(entries) if not entry.override]
    last = max(plain, default=-1)
    for index, entry in reversed(list(enumerate(entries))):
        if entry.override and index < last:
            message = f"`override {entry.group}` is before an entry without `override`"
            hint = "move every `override` to the end of the defaults list"
            diagnostics.append(Diagnostic("misplaced-override", message, entry.place, path="defaults", hint=hint))
            del entries[index]


def _check_twice(entries: list[DefaultsEntry], diagnostics: list[Diagnostic]) -> None:
    seen: dict[tuple[str | None, str | None, bool], DefaultsEntry] = {}
    for entry in list(entries):
        key = (entry.path or entry.group, entry.package, entry.override)
        first = seen.setdefault(key, entry)
        if first is entry:
            continue
        entries.remove(entry)
        if entry.path is not None:
            message, hint = f"`{entry.path}` is twice in this defaults list", "remove one"
        else:
            message = f"`{entry.group}` is chosen twice in this defaults list"
            hint = f"choose several with one entry: `- {entry.group}: [{_names(first)}, {_names(entry)}]`"
        diagnostics.append(Diagnostic("duplicate-choice", message, entry.place, path="defaults", hint=hint))


def _names(entry: DefaultsEntry) -> str:
    return entry.choice if isinstance(entry.choice, str) else ", ".join(entry.choice or ("null",))
