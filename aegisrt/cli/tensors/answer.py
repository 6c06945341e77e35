"""A model's answer as text: tables, predictions, and drawings of small images."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from aegisrt.cli.output import print_text
from aegisrt.cli.render import print_table
from aegisrt.core.request import ExecutionResult
from aegisrt.core.tensor import Array, shape_text
from aegisrt.runtime.building.sample import Sample

_SHADES = " .:-=+*#%@"
_SHOWN_PICTURES = 4
_SHOWN_ROWS = 16
_SHOWN_CHARACTERS = 40


def classes(outputs: Mapping[str, Array], count: int) -> Array | None:
    """Return the class of each of `count` rows: the first output of integers `(count,)`, or of scores `(count, k)`."""
    for value in outputs.values():
        if value.ndim == 1 and value.dtype.kind in "iu" and len(value) == count:
            return value
        if value.ndim == 2 and value.dtype.kind in "fV" and value.shape[0] == count and value.shape[1] > 1:
            return np.asarray(value.argmax(axis=1))
    return None


def accuracy(outputs: Mapping[str, Array], labels: Array | None) -> float | None:
    """Return the share of rows whose class equals the label; None without labels, or without an output of classes."""
    if labels is None or not len(labels):
        return None
    predicted = classes(outputs, len(labels))
    return None if predicted is None else float(np.mean(predicted == labels))


def print_answer(result: ExecutionResult, sample: Sample, score: float | None) -> None:
    """Print outputs, predictions, the accuracy and the timings."""
    rows = [
        (name, str(value.dtype), shape_text(value.shape), _preview(value)) for name, value in result.outputs.items()
    ]
    print_table(("output", "dtype", "shape", "values"), rows)
    if sample.labels is not None:
        _print_predictions(result.outputs, sample, sample.labels)
    if score is not None and sample.labels is not None:
        correct = round(score * len(sample.labels))
        print(f"accuracy {score:.4f} ({correct} of {len(sample.labels)} correct)")
    times = ", ".join(f"{step.replace('_', ' ')} {_time(value)}" for step, value in result.timings._asdict().items())
    print_text(f"{result.model} on {result.backend}, device {result.device}: {times}")


def _print_predictions(outputs: Mapping[str, Array], sample: Sample, labels: Array) -> None:
    predicted = classes(outputs, len(labels)) if len(labels) else None
    if predicted is None:
        return
    images = next((value for value in sample.inputs.values() if _is_small_image(value)), None)
    if images is not None:
        pictures = [_draw(image) for image in images[:_SHOWN_PICTURES]]
        print("\n".join("   ".join(lines) for lines in zip(*pictures, strict=True)))
        width = len(pictures[0][0])
        print("   ".join(f"{f'predicted {value}':<{width}}" for value in predicted[:_SHOWN_PICTURES]).rstrip())
    print_text(
        "predicted " + " ".join(map(str, predicted[:_SHOWN_ROWS])) + (" ..." if len(predicted) > _SHOWN_ROWS else "")
    )
    print_text("labels    " + " ".join(map(str, labels[:_SHOWN_ROWS])) + (" ..." if len(labels) > _SHOWN_ROWS else ""))


def _is_small_image(value: Array) -> bool:
    if value.ndim != 4 or value.shape[1] != 1 or value.dtype.kind not in "fiu":
        return False
    first = value[:_SHOWN_PICTURES]
    return first.size > 0 and max(value.shape[2:]) <= 32 and bool(np.isfinite(first).all())


def _draw(image: Array) -> list[str]:
    """Return the lines of a one-channel drawing, two characters per pixel."""
    pixels = image[0].astype(float)
    span = np.ptp(pixels) or 1.0
    steps = ((pixels - pixels.min()) / span * (len(_SHADES) - 1)).round().astype(int)
    return ["".join(_SHADES[step] * 2 for step in row) for row in steps]


def _preview(value: Array) -> str:
    flat = value.reshape(-1)
    shown = ", ".join(f"{item:.4g}" if value.dtype.kind in "fV" else _clipped(str(item)) for item in flat[:6])
    return shown + (", ..." if flat.size > 6 else "")


def _clipped(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 1] + "…"


def _time(nanoseconds: int) -> str:
    return f"{nanoseconds / 1e6:.2f} ms" if nanoseconds >= 1_000_000 else f"{nanoseconds / 1e3:.1f} us"
