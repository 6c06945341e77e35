"""`make_matrix`: the cells of configs/ci/ as entries of a GitHub matrix, and which of them an event runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from aegisrt.ci.cell import GROUP, Cell, read_cell
from aegisrt.ci.options import CellOptions
from aegisrt.ci.overrides import SplitOverrides, split_overrides
from aegisrt.core.diagnostic import Diagnostic, Location
from aegisrt.core.resources import configs_dir
from aegisrt.core.result import Err, Ok, Result
from aegisrt.core.suggest import quoted
from aegisrt.manifest.compose.library import ConfigLibrary, shown
from aegisrt.manifest.errors import manifest_error

EVENTS = ("pull_request", "push", "schedule", "workflow_dispatch")
Runner = Literal["hosted", "self-hosted"]


@dataclass(frozen=True, slots=True)
class Trigger:
    """The event that triggers the workflow."""

    event: str
    """One of EVENTS."""
    ref: str | None = None
    """The pushed ref, such as `refs/heads/main`; None means the default branch."""
    default_branch: str = ""

    def leaves_out(self, options: CellOptions) -> str | None:
        """Return why a cell does not run, or None if it does."""
        if options.when == "always":
            return None
        if self.event != "push":
            return f"only on a push to the default branch, and this is a {self.event}"
        if self.ref is None or (self.default_branch and self.ref == f"refs/heads/{self.default_branch}"):
            return None
        return f"only on a push to the default branch, and this is {self.ref or 'no branch'}"


@dataclass(frozen=True, slots=True)
class MatrixEntry:
    """One job of the matrix."""

    name: str
    """The file's name, with the distinguishing values if the file makes several jobs."""
    cell: Cell
    python: str

    def to_json(self) -> dict[str, Any]:
        """Return the entry of the matrix's `include`."""
        options = self.cell.options.model_dump(mode="json", exclude={"python", "overrides"})
        own = {"python": self.python, "overrides": list(self.cell.overrides)}
        return {"name": self.name, "cell": self.cell.file, **options, **own}


def make_matrix(
    overrides: Sequence[str] = (), *, multirun: bool = False, config_dir: Path | str | None = None
) -> Result[list[MatrixEntry]]:
    """Return the entries of every cell, by file name; with `multirun`, for every combination of a sweep.

    `ci=NAME` chooses one cell, `ci.FIELD=VALUE` changes each, and any other override applies to the packaged demo. An
    error has the diagnostics of all cells.
    """
    combinations = split_overrides(overrides, multirun)
    if isinstance(combinations, Err):
        return combinations
    folders = [*([Path(config_dir)] if config_dir is not None else []), configs_dir()]
    library = ConfigLibrary(folders)
    diagnostics = [*_ignored_files(folders)]
    entries: list[MatrixEntry] = []
    for one in combinations.value:
        for name in one.chosen or library.options(GROUP):
            cell = read_cell(name, one.own, one.deployment, library, config_dir)
            if isinstance(cell, Err):
                diagnostics += cell.error.diagnostics
            else:
                entries += _entries(cell.value, one)
    diagnostics = diagnostics or [*_duplicates(entries)]
    return Err(manifest_error(diagnostics, "the CI matrix")) if diagnostics else Ok(entries)


def _entries(cell: Cell, overrides: SplitOverrides) -> list[MatrixEntry]:
    versions = cell.options.versions
    entries = []
    for version in versions:
        apart = [*([version] if len(versions) > 1 else []), *overrides.swept]
        entries.append(MatrixEntry(f"{cell.file} ({', '.join(apart)})" if apart else cell.file, cell, version))
    return entries


def _ignored_files(folders: Iterable[Path]) -> Iterable[Diagnostic]:
    """Yield a diagnostic for each file next to the cells that is not read as one."""
    for file in (file for folder in folders for file in sorted((folder / GROUP).glob("*.yml"))):
        place = Location(shown(file), 1, 1, 2)
        message = f"{quoted(file.name)} is not read as a cell: the files of a group end in `.yaml`"
        yield Diagnostic("ignored-file", message, place, hint=f"rename it to `{file.stem}.yaml`")


def _duplicates(entries: Iterable[MatrixEntry]) -> Iterable[Diagnostic]:
    """Yield a diagnostic for each cell that does the same as another."""
    seen: dict[str, MatrixEntry] = {}
    for entry in entries:
        does = {key: value for key, value in entry.to_json().items() if key not in ("name", "cell", "timeout_minutes")}
        first = seen.setdefault(repr(does), entry)
        if first is not entry:
            place = entry.cell.locator.value((GROUP, "backend"))
            message = f"the cell {quoted(entry.name)} does the same as {quoted(first.name)}"
            hint = "remove one of them, or change one of its fields"
            yield Diagnostic("duplicate-cell", message, place, path=GROUP, label="the same again", hint=hint)
