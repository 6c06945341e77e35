"""The folder that tests of composition work in."""

import pytest

from tests.manifest.composing import MODEL


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Return the current folder, a new one that holds a `deploy.yaml` of one model."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "deploy.yaml").write_text(MODEL)
    return tmp_path
