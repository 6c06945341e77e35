"""Tables on terminals of several widths."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from aegisrt.cli import render

COLUMNS = ("kind", "available", "version", "runs on", "reason", "install")
ROWS = [
    ("tensorrt", "no", "", "cuda", "no TensorRT is installed", "pip install 'aegisrt-runtime[tensorrt]'"),
    ("tvm", "yes", "0.27.0.post1", "cpu, cuda", "", ""),
]


@pytest.fixture
def lines(monkeypatch):
    def lines(width: int) -> list[str]:
        out = io.StringIO()
        monkeypatch.setattr(render, "console", lambda: Console(file=out, width=width))
        render.print_table(COLUMNS, ROWS)
        return out.getvalue().splitlines()

    return lines


def test_on_80_columns_words_stay_whole(lines):
    shown = lines(80)
    assert all(len(line) <= 80 for line in shown)
    words = " ".join(shown).split()
    assert {"tensorrt", "0.27.0.post1", "'aegisrt-runtime[tensorrt]'"} <= set(words)


def test_on_wide_ones_each_row_is_a_line(lines):
    assert len(lines(120)) == 2 + len(ROWS)


def test_on_ones_too_narrow_for_the_words_nothing_is_cut_off(lines):
    shown = lines(40)
    assert all(len(line) <= 40 for line in shown)
    assert "".join("".join(line[-5:] for line in shown).split()).endswith("pipinstall'aegisrt-runtime[tensorrt]'")
