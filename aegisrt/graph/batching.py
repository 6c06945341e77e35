"""`check_rows`: which models may not batch, or may mix the rows of a batch, as far as their files show."""

from __future__ import annotations

from pathlib import Path

from aegisrt.backends.files.onnx_rows import Rows, rows_of
from aegisrt.core.diagnostic import Diagnostic, Location
from aegisrt.core.suggest import quoted
from aegisrt.graph.nodes import Graph
from aegisrt.manifest.origin import Origins
from aegisrt.manifest.schema import ModelOptions

_HINT = "leave `batching` out, or export a model whose outputs have one row for each row of the inputs"
_TRUST = (
    "give the model a `sample` for the check at deploy, or, if its rows are independent, set `batching.rows: trust`"
)


def check_rows(graph: Graph, origins: Origins) -> list[Diagnostic]:
    """Return an error for each batching model that is not row-wise, a warning for each whose file does not show it.

    Only an ONNX file shows this; what it does not show is measured when the model is deployed.
    """
    diagnostics = []
    for node in graph.models:
        rows = rows_in_file(graph.manifest.models[node.name])
        if rows is None or not (rows.refused or rows.mixing or rows.unclear):
            continue
        path = ("models", node.name, "batching")
        origin = origins.of(path)
        diagnostics.append(
            Diagnostic(
                id="not-row-wise" if rows.refused else "may-mix-rows",
                message=f"model {quoted(node.name)}: {rows.refused or open_question(rows)}",
                location=origin.value or Location("<defaults>", 1, 1, 1),
                path=".".join(path),
                hint=_HINT if rows.refused else _TRUST,
                set_by=origin.set_by,
                severity="error" if rows.refused else "warning",
            )
        )
    return diagnostics


def rows_in_file(model: ModelOptions) -> Rows | None:
    """Return what the file of a batching model shows about its rows; None if nothing, or if rows are not checked."""
    batching = model.batching
    if batching is None or batching.rows == "trust" or batching.max_batch_size == 1 or not _is_onnx(model.path):
        return None
    return rows_of(model.path)


def open_question(rows: Rows) -> str:
    """Return a sentence on what a file leaves open."""
    if rows.mixing:
        return f"operators may mix the rows of a batch: {', '.join(rows.mixing)}; checked at deploy"
    outputs = ", ".join(quoted(name) for name in rows.unclear)
    return f"the file does not show that output {outputs} has one row per row of the batch; checked at deploy"


def _is_onnx(path: Path) -> bool:
    return path.suffix == ".onnx"
