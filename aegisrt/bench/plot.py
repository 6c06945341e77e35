"""`write_plot`: latency against load as a picture, drawn by matplotlib."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from aegisrt.bench.report import BenchReport
from aegisrt.core.optional import Requirement, require
from aegisrt.core.result import ErrorCode, fail
from aegisrt.core.suggest import escaped
from aegisrt.core.system_error import system_error

MATPLOTLIB = Requirement("matplotlib", ("matplotlib",), "plot")
SUFFIXES = (".svg", ".png")
_STYLES = {"aegisrt": ("#0b6e99", "o"), "bare": ("#d9730d", "s")}
_DASHES = {"p50": "solid", "p99": "dashed"}
_UNITS = ((1e6, "s"), (1e3, "ms"), (1.0, "µs"))

_CHARACTERS, _MOST_LINES = 160, 3
"""The longest line below the picture, and the most lines that one fact may take there."""

Points = Sequence[tuple[float, float]]


def write_plot(path: Path, report: BenchReport, sweep: Sequence[BenchReport]) -> None:
    """Draw p50 and p99 of a sweep over its rates to a .svg or .png; `report` has the environment that is printed below.

    The latency axis is logarithmic. Raise ResultError:

    FAILED_PRECONDITION: if no request of the sweep succeeded.
    UNAVAILABLE: if matplotlib is not installed.
    Codes of the operating system, if the file cannot be written.
    """
    lines = _lines(sweep)
    if not lines:
        message = "no request of the sweep succeeded, so there is nothing to plot"
        raise fail(ErrorCode.FAILED_PRECONDITION, message, "run without --plot to see the errors")
    require(MATPLOTLIB)
    import matplotlib as mpl
    from matplotlib.figure import Figure  # pyplot would choose a window system

    # Texts stay texts in an SVG: they can be searched and read aloud.
    with mpl.rc_context({"svg.fonttype": "none", "text.parse_math": False}):
        figure = Figure(figsize=(9, 5.4), layout="constrained")
        axes = figure.add_subplot()
        for (kind, name), points in lines.items():
            color, marker = _STYLES[kind]
            x, y = zip(*sorted(points), strict=True)
            axes.plot(x, y, color=color, marker=marker, linestyle=_DASHES[name], label=f"{kind} {name}")
        _label(axes, report, max(y for points in lines.values() for _, y in points))
        figure.supxlabel(_below(report), fontsize=7, color="#555555", x=0.01, ha="left")
        try:
            figure.savefig(path, dpi=150, format=path.suffix[1:])
        except OSError as error:
            raise system_error(error, f"{path} cannot be written") from None


def _lines(sweep: Sequence[BenchReport]) -> dict[tuple[str, str], Points]:
    """Return the points (requests per second, microseconds) of each line that has any."""
    sides: Mapping[str, list[Any]] = {
        "aegisrt": [(report.load.qps, report.ours) for report in sweep],
        "bare": [(report.load.qps, report.bare) for report in sweep if report.bare is not None],
    }
    lines = {
        (kind, name): [(qps, us) for qps, summary in side if (us := summary.latency_us[name]) is not None]
        for kind, side in sides.items()
        for name in _DASHES
    }
    return {key: points for key, points in lines.items() if points}


def _label(axes: Any, report: BenchReport, slowest_us: float) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

    unit_us, unit = next((one for one in _UNITS if slowest_us >= one[0]), _UNITS[-1])
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    axes.set_ylim(_round_down(low), _round_up(high))
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda us, _: f"{us / unit_us:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_xlim(left=0)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda rate, _: f"{rate:g}"))
    axes.set_xlabel("load (requests per second)")
    axes.set_ylabel(f"latency ({unit})")
    axes.grid(which="major", color="#e5e7eb")
    axes.legend()
    title = escaped(f"{report.model} on {report.backend}: latency against load")
    axes.set_title(f"{title}\nserver scenario, Poisson arrivals, {report.load.seconds:g} s per point")


def _round_down(value: float) -> float:
    """Return the largest of 1, 2, 5 times a power of ten that is at most `value`."""
    power = 10.0 ** math.floor(math.log10(value))
    return max(step * power for step in (1, 2, 5) if step * power <= value * 1.0001)


def _round_up(value: float) -> float:
    """Return the smallest of 1, 2, 5, 10 times a power of ten that is at least `value`."""
    power = 10.0 ** math.floor(math.log10(value))
    return min(step * power for step in (1, 2, 5, 10) if step * power >= value * 0.9999)


def _below(report: BenchReport) -> str:
    """Return the lines below the picture: what was sent to which engine, and on which machine."""
    lines = (escaped(line) for line in (report.sent, report.served_by, report.measured_on))
    return "\n".join(part for line in lines for part in textwrap.wrap(line, _CHARACTERS)[:_MOST_LINES])
