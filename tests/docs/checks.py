"""The reference of the conformance kit's checks, made from their registry."""

from __future__ import annotations

import importlib
import textwrap
from collections.abc import Iterator
from itertools import groupby

from aegisrt.conformance.catalogue import all_checks
from aegisrt.conformance.check import Check
from aegisrt.conformance.references.compare import ACCUMULATED, ELEMENTWISE

WIDTH = 120


def checks_reference() -> str:
    """Return a section for each subject, and in it one for each check: its rule, why it is, and how to mend it."""
    parts: list[str] = []
    for subject, checks in groupby(all_checks().values(), key=lambda check: check.subject):
        module = importlib.import_module(f"aegisrt.conformance.checks.{subject.replace('-', '_')}")
        said = (module.__doc__ or "").partition("\n")[0]
        parts += [f"### {subject}", _wrapped(said), *(_entry(check) for check in checks)]
    return "\n\n".join(parts)


def tolerances_rows() -> list[tuple[str, str, str]]:
    """Return the kit's tolerances by dtype: of elementwise arithmetic, and of sums of products."""
    return [(dtype, f"{ELEMENTWISE[dtype]:g}", f"{ACCUMULATED[dtype]:g}") for dtype in ELEMENTWISE]


def _entry(check: Check) -> str:
    return "\n".join([f"#### `{check.id}`", "", _wrapped(check.rule), "", *_points(check)])


def _points(check: Check) -> Iterator[str]:
    yield _wrapped(f"**Why:** {check.why}", "- ")
    yield _wrapped(f"**Fix:** {check.fix}", "- ")
    if check.needs:
        yield _wrapped(f"**Needs:** {', '.join(f'`{need.text}`' for need in check.needs)}", "- ")
    if check.isolated:
        yield "- Runs in a process of its own."


def _wrapped(text: str, bullet: str = "") -> str:
    words = " ".join(text.split())
    return textwrap.fill(
        words,
        WIDTH,
        initial_indent=bullet,
        subsequent_indent=" " * len(bullet),
        break_long_words=False,
        break_on_hyphens=False,
    )
