"""The tables of the support matrix: the extras of pyproject.toml, and the cells of CI."""

from __future__ import annotations

import tomllib

from aegisrt.ci.matrix import make_matrix
from tests.docs.pages import ROOT
from tests.docs.tables import table


def extras_table() -> str:
    """Return a table of the extras and the requirements of each, without those that only developers need."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    own = ("test", "lint", "docs", "release", "dev", "models", "examples")
    rows = [(f"`{name}`", ", ".join(f"`{one}`" for one in extras[name])) for name in extras if name not in own]
    return table(("extra", "installs"), rows)


def cells_table() -> str:
    """Return a table of the jobs of the CI matrix."""
    rows = [
        (
            f"`{entry.name}`",
            entry.python,
            f"`{entry.cell.options.backend}` on {entry.cell.options.device}",
            ", ".join(entry.cell.options.extras),
            ", ".join(entry.cell.options.runs_on),
            entry.cell.options.when,
        )
        for entry in make_matrix().unwrap()
    ]
    return table(("job", "Python", "checks", "extras", "runner", "runs"), rows)
