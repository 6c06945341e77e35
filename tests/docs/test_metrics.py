"""The tables of metrics have the names and the labels that the code produces."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import re
from types import SimpleNamespace

import numpy as np
import pytest

from aegisrt import ExecutionRequest, deploy
from aegisrt.runtime.metrics import Histogram, ModelMetrics
from tests.docs.pages import ROOT

CLIENT = pytest.importorskip("prometheus_client", reason="run: pip install 'aegisrt-runtime[metrics]'")


@pytest.fixture
def context(tmp_path):
    tensor = {"dtype": "FP32", "shape": ["batch", 2]}
    output = {"name": "y", **tensor, "operation": {"kind": "identity", "input": "x"}}
    path = tmp_path / "m.mock.json"
    path.write_text(json.dumps({"format": "aegisrt-mock/v1", "inputs": [{"name": "x", **tensor}], "outputs": [output]}))
    manifest = {
        "models": {"m": {"path": str(path), "backend": "mock", "batching": {"max_batch_size": 4}}},
        "server": {"metrics": {"triton_names": True}},
    }
    with deploy(manifest).unwrap() as made:
        made.submit(ExecutionRequest(inputs={"x": np.ones((1, 2), np.float32)})).result(30).unwrap()
        yield made


def section(page):
    return (ROOT / "docs" / page).read_text(encoding="utf-8").partition("\n## Metrics")[2].partition("\n## ")[0]


def rows(text):
    """Return the cells of each row of the section's table, without the two lines of its head."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def words(cell):
    return re.findall(r"`(\w+)`", cell)


def produced(families):
    """Return the labels of each metric by the name that Prometheus shows; None if it has no series."""
    found = {}
    for family in families:
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = [set(sample.labels) - {"le"} for sample in family.samples]
        assert all(one == labels[0] for one in labels)
        found[name] = labels[0] if labels else None
    return found


def differing(documented, made):
    return {name for name, labels in made.items() if labels is not None and labels != documented.get(name)}


def test_those_of_models(context):
    from aegisrt import prometheus_registry

    made = produced(prometheus_registry(context).collect())
    table = rows(section("PERFORMANCE.md"))
    documented = {words(name)[0]: set(words(labels)) for _, name, labels in table}
    assert set(documented) == set(made)
    assert differing(documented, made) == set()
    assert {words(field)[0] for field, _, _ in table} == set(context.metrics()["m"].to_json())


def test_each_row_has_the_field_that_its_metric_shows():
    """A field that changes shows in the metric of its row, and in no other."""
    few, more = Histogram((10, 100), (1, 1, 1), 5.0), Histogram((10, 100), (1, 2, 2), 55.0)
    before = ModelMetrics({"OK": 1, "INTERNAL": 1}, few, few, few, 1, 1, 1, 1, batching=False, restarts=1)
    after = {"requests": {"OK": 2, "INTERNAL": 1}, "queue_us": more, "compute_us": more, "batch_rows": more}
    after |= {"instances": 2, "busy": 2, "queued": 2, "memory_bytes": 2, "batching": True, "restarts": 2}
    for field, name, _ in rows(section("PERFORMANCE.md")):
        if words(field) == ["failures"]:  # computed from `requests`
            changed, expected = {"requests": {"OK": 1, "INTERNAL": 2}}, {*words(name), "aegisrt_requests_total"}
        else:
            changed, expected = {key: after[key] for key in words(field)[:1]}, set(words(name))
        both = shown(before) ^ shown(dataclasses.replace(before, **changed))
        assert {metric for metric, _ in both} == expected, field


def shown(metrics):
    """Return each metric with the text of its series."""
    from aegisrt import prometheus_registry

    families = prometheus_registry(SimpleNamespace(metrics=lambda: {"m": metrics})).collect()
    return {(f"{one.name}_total" if one.type == "counter" else one.name, str(one.samples)) for one in families}


def test_those_of_the_server(context):
    pytest.importorskip("msgspec", reason="run: pip install 'aegisrt-runtime[serve]'")
    from aegisrt import prometheus_registry
    from aegisrt.serving.metrics import metrics_text
    from aegisrt.serving.service import Service

    async def text():
        service = Service(context, asyncio.get_running_loop())
        service.traffic.answered("http", "infer", 200, 1000, (1, 1))
        return metrics_text(service).decode()

    from prometheus_client.parser import text_string_to_metric_families

    made = produced(text_string_to_metric_families(asyncio.run(text())))
    own = {
        name: labels for name, labels in made.items() if name not in produced(prometheus_registry(context).collect())
    }
    said = section("serving.md")
    documented = {name: set(words(labels)) for names, _, labels in rows(said) for name in words(names)}
    triton = {name for name in words(said) if name.startswith("nv_inference_")}
    assert set(documented) | triton == set(own)
    assert differing(documented | {name: {"model", "version"} for name in triton}, own) == set()
