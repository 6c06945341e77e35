"""`prometheus_registry`: a context's metrics for Prometheus to scrape."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from aegisrt.core.optional import Requirement, require
from aegisrt.runtime.metrics import Histogram, ModelMetrics

if TYPE_CHECKING:
    from aegisrt.runtime.context import ExecutionContext

PROMETHEUS = Requirement("prometheus_client", ("prometheus-client",), "metrics")
_SECONDS_PER_US = 1e-6


def prometheus_registry(context: ExecutionContext) -> Any:
    """Return a `prometheus_client.CollectorRegistry` that reads the context at each scrape; nothing is counted twice.

    Names and units follow https://prometheus.io/docs/practices/naming/. Raise ResultError:

    UNAVAILABLE: if prometheus-client is not installed.
    """
    client = require(PROMETHEUS)
    registry = client.CollectorRegistry()
    registry.register(_Collector(context))
    return registry


class _Collector:
    def __init__(self, context: ExecutionContext) -> None:
        self._context = context

    def describe(self) -> list[Any]:
        """Return nothing: metrics are read at each scrape, not when the registry is created."""
        return []

    def collect(self) -> Iterator[Any]:
        """Yield one family per metric, with one series per model."""
        from prometheus_client.core import CounterMetricFamily

        metrics = self._context.metrics()
        requests = CounterMetricFamily("aegisrt_requests", "Answers, by code.", labels=("model", "code"))
        for model, counts in metrics.items():
            for code, count in sorted(counts.requests.items()):
                requests.add_metric((model, code), count)
        yield requests
        yield _counters("aegisrt_failures", "Answers with an error, of any code.", "failures", metrics)
        yield _counters("aegisrt_restarts", "Processes of the engine that were replaced.", "restarts", metrics)
        yield _histograms("aegisrt_queue_seconds", "From entry to the engine's start.", "queue_us", metrics)
        yield _histograms("aegisrt_compute_seconds", "Inside the engine, per call.", "compute_us", metrics)
        yield _histograms("aegisrt_batch_rows", "Rows of a call.", "batch_rows", metrics)
        yield _gauges("aegisrt_instances", "Instances.", "instances", metrics)
        yield _gauges("aegisrt_instances_busy", "Instances that run a call.", "busy", metrics)
        yield _gauges("aegisrt_queued_requests", "Requests that wait.", "queued", metrics)
        yield _gauges("aegisrt_batching", "1 if waiting requests are joined, 0 if not.", "batching", metrics)
        yield _gauges("aegisrt_model_memory_bytes", "Memory of the model on its device.", "memory_bytes", metrics)


def _histograms(name: str, text: str, field: str, metrics: dict[str, ModelMetrics]) -> Any:
    from prometheus_client.core import HistogramMetricFamily

    scale = _SECONDS_PER_US if field.endswith("_us") else 1
    family = HistogramMetricFamily(name, text, labels=("model",))
    for model, counts in metrics.items():
        histogram: Histogram = getattr(counts, field)
        bounds = [f"{bound * scale:g}" for bound in histogram.bounds]
        family.add_metric(
            (model,), list(zip([*bounds, "+Inf"], histogram.cumulative, strict=True)), histogram.sum * scale
        )
    return family


def _counters(name: str, text: str, field: str, metrics: dict[str, ModelMetrics]) -> Any:
    from prometheus_client.core import CounterMetricFamily

    family = CounterMetricFamily(name, text, labels=("model",))
    for model, counts in metrics.items():
        family.add_metric((model,), getattr(counts, field))
    return family


def _gauges(name: str, text: str, field: str, metrics: dict[str, ModelMetrics]) -> Any:
    from prometheus_client.core import GaugeMetricFamily

    family = GaugeMetricFamily(name, text, labels=("model",))
    for model, counts in metrics.items():
        value = getattr(counts, field)
        if value is not None:
            family.add_metric((model,), value)
    return family
