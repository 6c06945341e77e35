"""`metrics_text`: the server's counts, and those of its models, in the text format of Prometheus."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from aegisrt.core.optional import require
from aegisrt.runtime.prometheus import PROMETHEUS, prometheus_registry
from aegisrt.serving.service import Service

_NANOSECONDS_PER_US = 1000


def metrics_text(service: Service) -> bytes:
    """Return the text that Prometheus scrapes; may be called in any thread."""
    client = require(PROMETHEUS)
    registry = prometheus_registry(service.context)
    registry.register(_ServerCollector(service))
    text: bytes = client.generate_latest(registry)
    return text


class _ServerCollector:
    def __init__(self, service: Service) -> None:
        self._service = service

    def describe(self) -> list[Any]:
        """Return nothing: metrics are read at each scrape."""
        return []

    def collect(self) -> Iterator[Any]:
        """Yield the families of the server, and Triton's if the manifest asks for them."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        service = self._service
        in_flight = GaugeMetricFamily("aegisrt_in_flight", "Requests that are not answered yet.")
        in_flight.add_metric((), service.in_flight.requests)
        yield in_flight
        held = GaugeMetricFamily("aegisrt_bytes_in_flight", "Bodies of the requests in flight.")
        held.add_metric((), service.in_flight.bytes)
        yield held
        yield from self._http(service)
        dispatch = CounterMetricFamily("aegisrt_dispatch", "Requests by where they ran.", labels=("model", "mode"))
        for endpoint in service.models:
            dispatch.add_metric((endpoint.model, "inline"), endpoint.dispatcher.inline)
            dispatch.add_metric((endpoint.model, "worker"), endpoint.dispatcher.worker)
        yield dispatch
        if service.options.metrics.triton_names:
            yield from _triton(service)

    @staticmethod
    def _http(service: Service) -> Iterator[Any]:
        from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily

        labels = ("protocol", "endpoint", "code")
        requests = CounterMetricFamily("aegisrt_server_requests", "Answers, by status.", labels=labels)
        seconds = HistogramMetricFamily(
            "aegisrt_request_seconds", "From the request's first byte to the answer's last.", labels=labels[:2]
        )
        transferred = CounterMetricFamily("aegisrt_bytes", "Bytes of bodies.", labels=("direction",))
        for key, count in service.traffic.statuses().items():
            requests.add_metric(key, count)
        for pair, histogram in service.traffic.times().items():
            bounds = [f"{bound / 1e6:g}" for bound in histogram.bounds]
            buckets = list(zip([*bounds, "+Inf"], histogram.cumulative, strict=True))
            seconds.add_metric(pair, buckets, histogram.sum / 1e6)
        transferred.add_metric(("in",), service.traffic.bytes_in)
        transferred.add_metric(("out",), service.traffic.bytes_out)
        yield requests
        yield seconds
        yield transferred


def _triton(service: Service) -> Iterator[Any]:
    """Yield Triton's counters (https://github.com/triton-inference-server/server/blob/main/docs/user_guide/metrics.md).

    Their names do not end in `_total`, which prometheus-client adds to a counter: so they are of no type.
    """
    from prometheus_client.core import UntypedMetricFamily

    stats = [endpoint.statistics() for endpoint in service.models]
    names = {
        "request_success": ("success", "count"),
        "request_failure": ("fail", "count"),
        "request_duration_us": ("success", "ns"),
        "queue_duration_us": ("queue", "ns"),
        "compute_input_duration_us": ("compute_input", "ns"),
        "compute_infer_duration_us": ("compute_infer", "ns"),
        "compute_output_duration_us": ("compute_output", "ns"),
    }
    for name, (key, unit) in names.items():
        family = UntypedMetricFamily(f"nv_inference_{name}", "As Triton counts it.", labels=("model", "version"))
        for one in stats:
            value = one["inference_stats"][key][unit]
            family.add_metric((one["name"], one["version"]), value // _NANOSECONDS_PER_US if unit == "ns" else value)
        yield family
    for name, key in (("count", "inference_count"), ("exec_count", "execution_count")):
        family = UntypedMetricFamily(f"nv_inference_{name}", "As Triton counts it.", labels=("model", "version"))
        for one in stats:
            family.add_metric((one["name"], one["version"]), one[key])
        yield family
