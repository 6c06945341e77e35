"""Fixtures: a real model's file, a context that a manifest deployed, and the bare session to compare with."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.models import real_models

MANIFEST = """\
devices: {{cpu: {{kind: cpu, threads: 1}}}}
models:
  m: {{path: {path}, backend: onnx}}
"""


@pytest.fixture
def real_model() -> Callable[[str], Path]:
    """Return a function from a name of `real_models.REAL_MODELS` to its file; it skips where that cannot be had."""

    def path_of(name: str) -> Path:
        try:
            return real_models.fetch(name)
        except real_models.NotFetchedError as error:
            pytest.skip(str(error))

    return path_of


@pytest.fixture
def deployed(tmp_path: Path) -> Iterator[Callable[[Path], Any]]:
    """Return a function that deploys the ONNX file at a path through a manifest, as model `m`, on one thread."""
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    from aegisrt import deploy

    with ExitStack() as contexts:

        def deploy_file(path: Path) -> Any:
            manifest = tmp_path / "deploy.yaml"
            manifest.write_text(MANIFEST.format(path=json.dumps(str(path))), encoding="utf-8")
            return contexts.enter_context(deploy(manifest).unwrap())

        yield deploy_file


@pytest.fixture
def bare_session() -> Callable[[Path], Any]:
    """Return a function from a path to an ONNX Runtime session with the options that `deployed` asks for."""
    onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

    def open_session(path: Path) -> Any:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    return open_session
