"""No import circle of any kind in the package: at the top of a file, in a function, or under TYPE_CHECKING."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.structure.imports import circle, modules

PUBLIC = frozenset({"aegisrt"})
"""The package itself names the home of each public name, for type checkers and for PEP 562."""


def test_there_is_no_circle():
    assert circle(modules(), PUBLIC) == []


@pytest.mark.parametrize(
    "text",
    [
        "from p.b import B\n",
        "def f():\n    import p.b\n",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from p import b\n",
    ],
    ids=["top", "lazy", "type-only"],
)
def test_each_kind_of_circle_is_found(tmp_path: Path, text: str):
    package = tmp_path / "p"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "a.py").write_text(text, encoding="utf-8")
    (package / "b.py").write_text("from p.a import f\n", encoding="utf-8")
    assert set(circle(modules(package))) == {"p.a", "p.b"}
