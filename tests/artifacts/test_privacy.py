"""The cache is this user's alone: what another user could have put there is never loaded."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

import pytest

from aegisrt.artifacts.build import engine_file
from aegisrt.artifacts.cache import ArtifactCache
from aegisrt.artifacts.privacy import check_entry, check_private
from aegisrt.bench.one_node import one_node_model
from aegisrt.core.fresh_file import fresh_file
from aegisrt.core.result import Err, ErrorCode, ResultError
from tests.fakes.builder import FakeBackend

pytestmark = pytest.mark.skipif(not hasattr(os, "geteuid"), reason="only where files have owners and modes")
STRANGER = 4711


@pytest.fixture
def cache(tmp_path: Path) -> ArtifactCache:
    return ArtifactCache(tmp_path / "cache")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    path.write_bytes(one_node_model())
    return path


@pytest.fixture
def file(cache: ArtifactCache, source: Path) -> Path:
    return engine_file(FakeBackend(), source, cache).unwrap().path


def refused(root: Path, folder: Path) -> str:
    with pytest.raises(ResultError) as caught:
        check_entry(root, folder)
    assert caught.value.error.code is ErrorCode.PERMISSION_DENIED
    return caught.value.error.message


def test_nothing_in_the_cache_can_be_read_or_written_by_others(cache, source):
    before = os.umask(0)
    try:
        engine_file(FakeBackend(), source, cache).unwrap()
    finally:
        os.umask(before)
    modes = {path: path.lstat().st_mode for path in (cache.root, *cache.root.rglob("*"))}
    assert {path: oct(mode) for path, mode in modes.items() if stat.S_IMODE(mode) & 0o077} == {}


@pytest.mark.parametrize("mode", [0o620, 0o602])
def test_a_file_that_others_can_write_to_is_not_loaded(cache, file, mode):
    file.chmod(mode)
    assert "can be written by other users" in refused(cache.root, file.parent)


def test_a_folder_that_others_can_write_to_is_not_loaded(cache, file):
    for folder in (file.parent, file.parent.parent):
        folder.chmod(0o770)
        assert str(folder) in refused(cache.root, file.parent)
        folder.chmod(0o700)
    check_entry(cache.root, file.parent)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root gives files away")
def test_what_another_user_owns_is_not_loaded(cache, file):
    os.chown(file, STRANGER, STRANGER)
    assert "belongs to another user" in refused(cache.root, file.parent)


def test_a_link_is_not_followed(cache, file, tmp_path):
    elsewhere = tmp_path / "theirs"
    shutil.copytree(file.parent, elsewhere)
    shutil.rmtree(file.parent)
    file.parent.symlink_to(elsewhere)
    assert "is a link" in refused(cache.root, file.parent)
    file.parent.unlink()
    file.parent.mkdir(mode=0o700)
    file.symlink_to(elsewhere / file.name)
    assert "is a link" in refused(cache.root, file.parent)


def test_a_fifo_does_not_hang(cache, file):
    os.mkfifo(file.with_name("model.pipe"), 0o600)
    check_entry(cache.root, file.parent)


def test_what_cannot_be_trusted_is_built_again(cache, source, file):
    file.chmod(0o666)
    built = engine_file(FakeBackend(), source, cache).unwrap()
    assert built.path == file
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_root_that_is_a_link_is_refused(source, tmp_path):
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    answer = engine_file(FakeBackend(), source, ArtifactCache(tmp_path / "link"))
    assert isinstance(answer, Err)
    assert answer.error.code is ErrorCode.PERMISSION_DENIED
    assert "is a link" in answer.error.message


@pytest.mark.parametrize(("mode", "safe"), [(0o777, False), (0o1777, True), (0o755, True)])
def test_a_folder_above_the_root(tmp_path, mode, safe):
    above = tmp_path / "above"
    root = above / "between" / "cache"
    root.mkdir(parents=True, mode=0o700)
    above.chmod(mode)
    if safe:
        check_private(root, "hint")
    else:
        with pytest.raises(ResultError, match="other users can replace") as caught:
            check_private(root, "hint")
        assert f"chmod o-w {above}" in caught.value.error.hint


def test_a_fresh_file_follows_no_planted_link(tmp_path, monkeypatch):
    target, victim = tmp_path / "out.json", tmp_path / "victim"
    victim.write_text("precious")
    monkeypatch.setattr("secrets.token_hex", lambda _: "guessed")
    (tmp_path / ".out.json.guessed").symlink_to(victim)
    with pytest.raises(FileExistsError), fresh_file(target) as fresh:
        fresh.write_text("mine")
    assert victim.read_text() == "precious"
    assert not target.exists()


def test_a_fresh_file_is_whole_or_absent(tmp_path):
    target = tmp_path / "out.json"
    target.write_text("old")

    def break_off():
        with fresh_file(target) as fresh:
            fresh.write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        break_off()
    assert [path.name for path in tmp_path.iterdir()] == ["out.json"]
    assert target.read_text() == "old"
    with fresh_file(target) as fresh:
        fresh.write_text("new")
    assert target.read_text() == "new"
