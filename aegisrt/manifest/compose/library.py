"""`ConfigLibrary`: the files that a composition can draw from, by their path among the groups: `backend/onnx`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from aegisrt.core.diagnostic import Diagnostic, Location
from aegisrt.core.resources import configs_dir
from aegisrt.manifest.contained import leaves_folder
from aegisrt.manifest.read.source import Source, read_file, read_mapping
from aegisrt.manifest.read.tree import Tree

_ENVIRONMENTS = "env/"
_SEGMENT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


class ConfigLibrary:
    """Reads each file at most once; the first folder that has a file wins. Not thread-safe."""

    def __init__(self, folders: list[Path]) -> None:
        self._folders = folders
        self._sources: dict[str, Source] = {}

    def add(self, path: str, source: Source) -> None:
        """Add a source as if it were a file at `path`."""
        self._sources[path] = source

    def load(self, path: str) -> Source | None:
        """Return the source at `path`, or None if there is no such file; an environment's package is `_global_`."""
        if path not in self._sources:
            file = self.file(path)
            if file is None:
                return None
            source = self._read(file)
            if path.startswith(_ENVIRONMENTS) and source.package is None:
                source.package = "_global_"
            self._sources[path] = source
        return self._sources[path]

    def _read(self, file: Path) -> Source:
        folder = next(folder for folder in self._folders if file.is_relative_to(folder))
        if _is_inside(file, folder):
            return read_file(file, shown(file), is_manifest=False)
        place = Location(shown(file), 1, 1, 2)
        message = f"`{place.file}` leads out of `{shown(folder)}`, by a link"
        hint = "put a copy of the file there; a group's files are those of its folder"
        return Source(
            place.file, file.parent, Tree({}), diagnostics=[Diagnostic("link-away", message, place, hint=hint)]
        )

    def file(self, path: str) -> Path | None:
        """Return the file at `path`; None for a path that leaves the folders."""
        if not _is_plain(path):
            return None
        files = (folder / f"{path.removesuffix('.yaml')}.yaml" for folder in self._folders)
        return next((file for file in files if _false_on_error(file.is_file)), None)

    def exists(self, path: str) -> bool:
        """Return True if `load` would return a source."""
        return path in self._sources or self.file(path) is not None

    def is_group(self, path: str) -> bool:
        """Return True if a folder of that path exists."""
        return _is_plain(path) and any(
            is_folder(folder / path) and _is_inside(folder / path, folder) for folder in self._folders
        )

    def options(self, group: str) -> list[str]:
        """Return the names that a group offers, sorted."""
        if group and not _is_plain(group):
            return []
        groups = [folder / group for folder in self._folders if _is_inside(folder / group, folder)]
        files = (file for folder in groups for file in folder.glob("*.yaml"))
        return sorted({file.stem for file in files if _false_on_error(file.is_file)})

    def groups(self) -> list[str]:
        """Return the names of the groups at the top, sorted."""
        names = {entry.name for folder in self._folders for entry in folder.glob("*") if is_folder(entry)}
        return sorted(name for name in names if self.is_group(name))

    def diagnostics(self) -> list[Diagnostic]:
        """Return the errors of the files read so far."""
        return [diagnostic for source in self._sources.values() for diagnostic in source.diagnostics]

    def local(self) -> set[Diagnostic]:
        """Return the errors of single keys or values: more errors can be found in the rest of their files."""
        return {diagnostic for source in self._sources.values() for diagnostic in source.local}


def is_folder(path: Path) -> bool:
    """Return True for a folder that can be read."""
    return _false_on_error(path.is_dir)


def read_manifest(manifest: Path | str | Mapping[str, Any] | None, packaged: Path) -> Source:
    """Return the source of the user's manifest; for None, that of the packaged `config.yaml`."""
    if isinstance(manifest, Mapping):
        return read_mapping(manifest, Path.cwd())
    if manifest is None:
        file = packaged / "config.yaml"
        return read_file(file, shown(file), is_manifest=True)
    source = read_file(Path(manifest), str(manifest), is_manifest=True)
    if source.package not in (None, "_global_"):
        hint = "remove it; only files of groups have packages"
        place = Location(source.name, 1, 1, 2)
        source.diagnostics.append(Diagnostic("package-header", "a manifest has no `# @package`", place, hint=hint))
        source.package = None
    return source


def shown(file: Path) -> str:
    """Return a file's path for messages: relative to the current folder if the file is in it."""
    try:
        return str(file.absolute().relative_to(Path.cwd()))
    except (ValueError, OSError):
        return str(file)


def _false_on_error(check: Callable[[], bool]) -> bool:
    """Return the result of a check of the file system; False if it fails, as in a folder without permission."""
    try:
        return check()
    except OSError:
        return False


def _is_inside(path: Path, folder: Path) -> bool:
    """Return False for a link out of the folder; an installer may link the packaged files, which are trusted."""
    return folder == configs_dir() or not leaves_folder(path, folder)


def _is_plain(path: str) -> bool:
    return all(_SEGMENT.fullmatch(segment) for segment in path.split("/"))
