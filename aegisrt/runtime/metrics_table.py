"""`MetricsByModel`: what `context.metrics()` returns: a dict, which a notebook shows as a table."""

from __future__ import annotations

from collections.abc import Iterator

from aegisrt.core.shown.html import html_table
from aegisrt.runtime.metrics import OK, Histogram, ModelMetrics

_COLUMNS = (
    "model",
    "answers",
    "mean in the queue",
    "mean in the engine",
    "rows per call",
    "busy",
    "waiting",
    "restarts",
)


class MetricsByModel(dict[str, ModelMetrics]):
    """The counts of each model, by name."""

    def _repr_html_(self) -> str:
        """Return a table with a row for each model, for a notebook."""
        return html_table("metrics", _COLUMNS, [tuple(_cells(name, counts)) for name, counts in self.items()])


def _cells(name: str, counts: ModelMetrics) -> Iterator[str]:
    yield name
    yield ", ".join(f"{count} {code}" for code, count in sorted(counts.requests.items(), key=_ok_first)) or "none"
    yield _mean(counts.queue_us, "us")
    yield _mean(counts.compute_us, "us")
    yield _mean(counts.batch_rows, "")
    yield f"{counts.busy} of {counts.instances}"
    yield str(counts.queued)
    yield str(counts.restarts)


def _ok_first(item: tuple[str, int]) -> tuple[bool, str]:
    return item[0] != OK, item[0]


def _mean(histogram: Histogram, unit: str) -> str:
    if not histogram.count:
        return "-"
    return f"{histogram.sum / histogram.count:.1f} {unit}".rstrip()
