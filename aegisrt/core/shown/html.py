"""`html_table` and `html`: texts for a notebook, escaped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from aegisrt.core.suggest import escaped


def html_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return an HTML table with every text escaped."""
    head = "".join(f"<th>{html(column)}</th>" for column in columns)
    body = "".join(
        "<tr>" + "".join(f'<td style="text-align:left">{html(cell)}</td>' for cell in row) + "</tr>" for row in rows
    )
    return f"<table><caption>{html(title)}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def html(value: object) -> str:
    """Return a text for HTML: markup and unprintable characters are escaped."""
    from html import escape  # here: its table of entities is for notebooks alone

    return escape(escaped(str(value)))
