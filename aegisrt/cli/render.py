"""Tables and progress on a terminal; the only importer of rich."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from aegisrt.cli.output import shown_line, wants_color

if TYPE_CHECKING:
    from rich.progress_bar import ProgressBar

_UNBOUNDED = 100_000
"""Width in columns if stdout is not a terminal, so that no cell is wrapped."""
_PADDING = 1
"""Blanks on each side of a cell, beside the one that rich puts between two columns."""


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, title: str | None = None) -> None:
    """Print rows under columns to stdout; if it is not a terminal, without color and without wrapping.

    Cells are escaped (`output.shown_line`).

    On a narrow terminal, cells wrap between words as long as each column has room for its longest word: a key, or
    the name of a package in a command, is useless in two pieces. Columns stand closer together where that helps.
    """
    terminal = console()
    rows = [[shown_line(cell) for cell in row] for row in rows]
    texts = list(zip(columns, *rows, strict=True))
    room = terminal.width - (len(columns) - 1)
    padding = _PADDING if sum(map(_longest_word, texts)) + 2 * _PADDING * (len(columns) - 1) <= room else 0
    table = Table(
        box=box.SIMPLE_HEAD, title=title, title_justify="left", pad_edge=False, show_edge=False, padding=(0, padding)
    )
    for column, width in zip(columns, _widths(texts, room - 2 * padding * (len(columns) - 1)), strict=True):
        table.add_column(column, overflow="fold", width=width)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    terminal.print(table)


def _widths(columns: Sequence[Sequence[str]], room: int) -> list[int] | list[None]:
    """Return column widths that keep words whole; None for each if all cells fit, or if no widths can do so."""
    whole = [max(map(cell_len, cells)) for cells in columns]
    least = list(map(_longest_word, columns))
    if sum(whole) <= room or sum(least) > room:
        return [None] * len(columns)
    widths, spare = list(least), room - sum(least)
    by_need = sorted(range(len(columns)), key=lambda index: whole[index] - least[index])
    for place, index in enumerate(by_need):
        more = min(whole[index] - least[index], spare // (len(columns) - place))
        widths[index] += more
        spare -= more
    return widths


def _longest_word(cells: Sequence[str]) -> int:
    return max((cell_len(word) for cell in cells for word in cell.split()), default=0)


def console() -> Console:
    """Return a console on stdout."""
    terminal = sys.stdout.isatty()
    color = wants_color(sys.stdout)
    return _Console(
        file=sys.stdout,
        no_color=not color,
        color_system="standard" if color else None,
        force_terminal=color,
        width=None if terminal else _UNBOUNDED,
        highlight=False,
        markup=False,
        emoji=False,
        soft_wrap=not terminal,
    )


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Raise it again for `main` to handle; rich would exit with 1."""
        raise


@contextmanager
def status(text: str) -> Iterator[None]:
    """Show a spinner on stderr while the block runs, on a terminal only."""
    if not sys.stderr.isatty():
        yield
        return
    with Console(file=sys.stderr).status(text):
        yield


@contextmanager
def progress_bar(title: str) -> Iterator[Callable[[int, int, str], None]]:
    """Yield a function of (done, total, current step) that moves a bar on stderr, on a terminal only."""
    if not sys.stderr.isatty():
        yield lambda *_: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    now = TextColumn("{task.fields[now]}", markup=False)
    color = wants_color(sys.stderr)
    with Progress(*columns, now, console=Console(file=sys.stderr, no_color=not color), transient=True) as bar:
        task = bar.add_task(title, total=None, now="")
        yield lambda done, total, text: bar.update(task, completed=done, total=total, now=shown_line(text))


@contextmanager
def seconds_bar(title: str, total_s: float) -> Iterator[Callable[[str], None]]:
    """Yield a function of what runs now, beside a bar of the seconds of `total_s` on stderr, on a terminal only.

    It moves by the clock, so that the work that is measured does not report its progress.
    """
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn

    class ClockBar(BarColumn):
        def render(self, task: Task) -> ProgressBar:
            task.completed = min(task.elapsed or 0.0, total_s)
            return super().render(task)

    class Seconds(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text(f"{min(task.elapsed or 0.0, total_s):.0f} of {total_s:.0f} s")

    columns = (TextColumn("{task.description}"), ClockBar(), Seconds(), TextColumn("{task.fields[now]}", markup=False))
    color = wants_color(sys.stderr)
    with Progress(*columns, console=Console(file=sys.stderr, no_color=not color), transient=True) as bar:
        task = bar.add_task(title, total=total_s, now="")
        yield lambda text: bar.update(task, now=shown_line(text))
