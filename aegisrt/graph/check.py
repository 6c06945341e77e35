"""`check_graph`: the warnings and errors of a graph, before anything runs."""

from __future__ import annotations

from aegisrt.core.diagnostic import Diagnostic, Location
from aegisrt.graph.batching import check_rows
from aegisrt.graph.nodes import Graph
from aegisrt.manifest.origin import Origins

_IDS = {"not_installed": "not-installed", "unsupported": "unsupported-device"}


def check_graph(graph: Graph, origins: Origins) -> tuple[Diagnostic, ...]:
    """Return a warning for each model whose engine is not installed, an error for each that its device cannot run.

    Also an error or a warning for each batching model that is not row-wise, or may not be.
    """
    diagnostics = []
    for node in graph.models:
        if node.state not in _IDS:
            continue
        path = ("models", node.name, "backend")
        origin = origins.of(path)
        diagnostics.append(
            Diagnostic(
                id=_IDS[node.state],
                message=f"model `{node.name}` cannot run here: {node.reason}",
                location=origin.value or Location("<defaults>", 1, 1, 1),
                path=".".join(path),
                set_by=origin.set_by,
                severity="warning" if node.state == "not_installed" else "error",
            )
        )
    return (*diagnostics, *check_rows(graph, origins))
