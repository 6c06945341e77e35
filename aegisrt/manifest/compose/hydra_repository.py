"""`HydraRepository`: the files that Hydra's defaults list reads: a library's sources, and the generated root."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from aegisrt.manifest.compose.choices import COMMAND_GROUPS
from aegisrt.manifest.compose.defaults import DefaultsEntry, read_defaults
from aegisrt.manifest.compose.hydra import hydra_parts
from aegisrt.manifest.compose.library import ConfigLibrary
from aegisrt.manifest.compose.overrides import Override

ROOT, MANIFEST = "_root_", "_manifest_"
"""The paths of the generated root and of the user's manifest."""
_MOST_LOADS = 10_000


class HydraRepository:
    """Duck-typed after `hydra._internal.config_repository.IConfigRepository` of Hydra 1.3."""

    def __init__(self, library: ConfigLibrary, base: list[str], reserved: tuple[str, ...]) -> None:
        self.library = library
        self.base = base
        self.reserved = reserved
        self.appended: list[Override] = []
        """Choices of groups that no defaults list names."""
        self.entries: dict[str, list[DefaultsEntry]] = {}
        """The defaults lists read so far, by file."""
        self._loads = 0

    def load_config(self, config_path: str) -> Any:
        """Return the fields of a ConfigResult that Hydra's defaults list reads; None if the file does not exist."""
        if config_path == ROOT:
            return SimpleNamespace(config=None, header={"package": None}, defaults_list=self._root())
        self._loads += 1
        if self._loads > _MOST_LOADS:
            raise ValueError(f"more than {_MOST_LOADS} files, each counted as often as it is included")
        source = self.library.load(config_path)
        if source is None:
            return None
        if config_path not in self.entries:
            folder = "" if config_path == MANIFEST else config_path.rpartition("/")[0]
            self.entries[config_path] = read_defaults(source, folder, self.library, {*self.reserved, *COMMAND_GROUPS})
        defaults = [self._default(entry) for entry in self.entries[config_path]]
        return SimpleNamespace(config=None, header={"package": source.package}, defaults_list=defaults)

    def group_exists(self, config_path: str) -> bool:
        """Return True if a group of that path exists."""
        return self.library.is_group(config_path)

    def config_exists(self, config_path: str) -> bool:
        """Return True if `load_config` returns a file."""
        return config_path == ROOT or self.library.exists(config_path)

    def get_group_options(self, group_name: str, results_filter: Any = None) -> list[str]:
        """Return the names that a group offers."""
        return self.library.options(group_name)

    def get_sources(self) -> list[Any]:
        """Return an empty list: Hydra needs its sources for messages only, and messages are made here."""
        return []

    def _root(self) -> list[Any]:
        """Return `[base, the manifest, env: null, groups: null, _self_]`, and the files that `+group=name` appends."""
        files = [hydra_parts().ConfigDefault(path=path) for path in (*self.base, MANIFEST)]
        groups = [hydra_parts().GroupDefault(group=group) for group in self.reserved]
        appended = [
            hydra_parts().ConfigDefault(path=f"{choice.key}/{name}", package=choice.package)
            for choice in self.appended
            for name, _ in choice.names()
        ]
        return [*files, *groups, hydra_parts().ConfigDefault(path="_self_"), *appended]

    def _default(self, entry: DefaultsEntry) -> Any:
        if entry.path is not None:
            return hydra_parts().ConfigDefault(path=entry.path, package=entry.package)
        return hydra_parts().GroupDefault(
            group=entry.group,
            value=list(entry.choice) if isinstance(entry.choice, tuple) else entry.choice,
            package=entry.package,
            optional=entry.optional,
            override=entry.override,
        )
