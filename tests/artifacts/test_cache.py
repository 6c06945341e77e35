"""The cache keeps what it promises: a key covers all that counts, builders build once, damage is found."""

from __future__ import annotations

import errno
import os
import random
import shutil
import threading
import time
from pathlib import Path

import pytest

from aegisrt.artifacts.build import engine_file
from aegisrt.artifacts.cache import ArtifactCache
from aegisrt.artifacts.entry import CacheEntry
from aegisrt.artifacts.location import cache_root
from aegisrt.core.result import Err, ErrorCode, ResultError
from aegisrt.core.sidecar import read_sidecar, sidecar_path
from tests.backends.files.test_onnx import DEEP, field, model, tensor
from tests.fakes.builder import SIGNATURE, FakeBackend


@pytest.fixture
def cache(tmp_path: Path) -> ArtifactCache:
    return ArtifactCache(tmp_path / "cache")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "model.txt"
    path.write_text("weights")
    return path


def build(cache, source, force=False, **options):
    return engine_file(FakeBackend(options), source, cache, force=force)


def test_a_model_is_built_once_and_then_found(cache, source):
    first = build(cache, source).unwrap()
    second = build(cache, source).unwrap()
    assert first.built
    assert not second.built
    assert first.path == second.path
    assert first.path.read_bytes()
    assert read_sidecar(first.path).signature == SIGNATURE
    assert FakeBackend().load(first.path).is_ok()


@pytest.mark.parametrize("changed", [{"level": 2}, {"version": "1.1"}, {"target": "elsewhere"}])
def test_options_version_and_target_make_another_key(cache, source, changed):
    assert build(cache, source).unwrap().key != build(cache, source, **changed).unwrap().key


def test_options_that_do_not_count_make_the_same_key(cache, source):
    assert build(cache, source).unwrap().key == build(cache, source, step_ms=0.01).unwrap().key


def test_a_changed_model_makes_another_key_and_a_renamed_one_does_not(cache, source, tmp_path):
    key = build(cache, source).unwrap().key
    renamed = tmp_path / "other.txt"
    shutil.copy(source, renamed)
    assert build(cache, renamed).unwrap().key == key
    source.write_text("weightz")
    assert build(cache, source).unwrap().key != key


def test_external_weights_count(cache, tmp_path):
    kit = Path(__import__("aegisrt.conformance").__file__).parent / "conformance" / "models"
    for name in ("external.onnx", "external.weights"):
        shutil.copy(kit / name, tmp_path / name)
    model, weights = tmp_path / "external.onnx", tmp_path / "external.weights"
    first = build(cache, model).unwrap().key
    weights.write_bytes(bytes(reversed(weights.read_bytes())))
    assert build(cache, model).unwrap().key != first
    weights.unlink()
    error = build(cache, model).unwrap_err()
    assert error.code is ErrorCode.NOT_FOUND
    assert "external.weights" in error.message


@pytest.mark.parametrize("graph", DEEP.values(), ids=DEEP)
def test_external_weights_below_the_top_level_count_too(cache, tmp_path, graph):
    (tmp_path / "in").mkdir()
    path, weights = tmp_path / "in" / "deep.onnx", tmp_path / "in" / "deep.bin"
    path.write_bytes(model(graph + field(12, tensor("y", 1, [4]))))
    weights.write_bytes(b"old weights")
    first = build(cache, path).unwrap().key
    weights.write_bytes(b"new weights")
    assert build(cache, path).unwrap().key != first
    path.write_bytes(path.read_bytes().replace(b"deep.bin", b"../d.bin"))
    (tmp_path / "d.bin").write_bytes(b"not beside the model")
    assert build(cache, path).unwrap_err().code is ErrorCode.PERMISSION_DENIED


def test_force_builds_again_at_the_same_place(cache, source):
    first = build(cache, source).unwrap()
    again = build(cache, source, force=True).unwrap()
    assert again.built
    assert again.path == first.path
    assert [entry.damage() for entry in cache.entries()] == [None]


def test_records_of_an_entry_are_there_when_it_is_built_again(cache, source):
    file = build(cache, source).unwrap().path
    records = file.with_name(f"{file.name}.records")
    records.mkdir()
    (records / "tuned.json").write_text("{}")
    build(cache, source, force=True).unwrap()
    assert (records / "tuned.json").read_text() == "{}"


def test_a_failed_build_leaves_no_entry_and_its_log(cache, source):
    error = build(cache, source, fails=True).unwrap_err()
    assert "it failed" in error.message
    assert cache.entries() == []
    (log,) = (cache.root / "logs").iterdir()
    assert (log.read_text(), error.log) == ("a log", str(log))
    assert build(cache, source).unwrap().built


def test_a_source_that_changes_while_it_is_built_is_refused(cache, source):
    class Sly(FakeBackend):
        def _build(self, source, target):
            source.write_text("something else")
            super()._build(source, target)

    error = engine_file(Sly(), source, cache).unwrap_err()
    assert error.code is ErrorCode.FAILED_PRECONDITION
    assert cache.entries() == []


def test_threads_that_ask_for_one_file_build_it_once(cache, source):
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(build(cache, source, step_ms=5.0).unwrap())) for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(made.built for made in found) == [False] * 5 + [True]


def test_every_damaged_byte_of_file_and_sidecar_is_found(cache, source):
    file = build(cache, source).unwrap().path
    chosen = random.Random(7)
    (entry,) = cache.entries()
    for path in (file, sidecar_path(file)):
        good = path.read_bytes()
        for at in chosen.sample(range(len(good)), 250):
            bad = bytearray(good)
            bad[at] ^= chosen.randrange(1, 256)
            path.write_bytes(bad)
            assert entry.damage(), f"byte {at} of {path.name} was changed and not found"
        path.write_bytes(good)
    assert entry.damage() is None


@pytest.mark.parametrize("part", ["file", "sidecar"])
@pytest.mark.parametrize("harm", ["cut", "longer", "empty", "gone"])
def test_a_damaged_entry_is_refused_or_built_again_as_the_policy_says(cache, source, part, harm):
    file = build(cache, source).unwrap().path
    good = file.read_bytes()
    path = file if part == "file" else sidecar_path(file)
    content = path.read_bytes()
    if harm == "gone":
        path.unlink()
    else:
        path.write_bytes({"cut": content[:-7], "longer": content + b" ", "empty": b""}[harm])
    refused = engine_file(FakeBackend(), source, cache, on_damage="fail")
    assert refused.unwrap_err().code is ErrorCode.DATA_LOSS
    again = engine_file(FakeBackend(), source, cache).unwrap()
    assert again.built
    assert again.path.read_bytes() == good


def test_swapped_entries_are_found(cache, source):
    first, second = build(cache, source).unwrap().path, build(cache, source, level=2).unwrap().path
    for a, b in ((first, second), (sidecar_path(first), sidecar_path(second))):
        kept = a.read_bytes()
        a.write_bytes(b.read_bytes())
        b.write_bytes(kept)
    assert all("swapped" in entry.damage() for entry in cache.entries())


def test_prune_by_age_and_size_keeps_the_last_used(cache, source):
    files = [build(cache, source, level=level).unwrap().path for level in range(4)]
    now = time.time()
    for age_s, file in enumerate(files):
        os.utime(file.parent, (now - age_s * 1000, now - age_s * 1000))
    size = cache.entries()[0].size_bytes()
    assert [entry.folder for entry in cache.prune(max_age_s=2500)] == [files[3].parent]
    assert [entry.folder for entry in cache.prune(max_bytes=size * 2)] == [files[2].parent]
    assert cache.prune() == []
    assert [entry.folder for entry in cache.entries()] == [files[0].parent, files[1].parent]


def test_prune_deletes_damaged_entries_and_leftovers(cache, source):
    file = build(cache, source).unwrap().path
    file.write_bytes(b"")
    leftover = cache.root / "artifacts" / f".building-{'0' * 64}"
    leftover.mkdir()
    assert [entry.key for entry in cache.prune()] == [file.parent.name]
    assert list((cache.root / "artifacts").iterdir()) == []


def test_an_entry_that_is_used_counts_as_used_now(cache, source):
    file = build(cache, source).unwrap().path
    os.utime(file.parent, (1000, 1000))
    build(cache, source).unwrap()
    assert cache.entries()[0].last_used_s() > 1e9


def test_contains_only_files_of_whole_entries(cache, source, tmp_path):
    file = build(cache, source).unwrap().path
    copy = tmp_path / file.name
    shutil.copy(file, copy)
    assert cache.contains(file)
    assert not cache.contains(copy)
    assert not cache.contains(sidecar_path(file))
    file.write_bytes(file.read_bytes()[:-1])
    assert not cache.contains(file)


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="only where files have owners and modes")
def test_a_cache_that_others_can_write_to_is_refused(cache, source):
    cache.root.mkdir(mode=0o700)
    cache.root.chmod(0o777)
    refused = build(cache, source)
    assert isinstance(refused, Err)
    assert refused.error.code is ErrorCode.PERMISSION_DENIED
    assert "chmod go-w" in refused.error.hint


def test_a_folder_that_cannot_be_made_is_an_error(source, tmp_path):
    (tmp_path / "file").write_text("")
    refused = build(ArtifactCache(tmp_path / "file" / "cache"), source)
    assert refused.unwrap_err().code is ErrorCode.INVALID_ARGUMENT
    assert f"{tmp_path / 'file'} is a file" in refused.unwrap_err().message


def test_a_root_that_is_a_file_is_said_by_all_that_reads_it(tmp_path):
    (tmp_path / "file").write_text("")
    for root in (tmp_path / "file", tmp_path / "file" / "below"):
        for read in (ArtifactCache(root).entries, ArtifactCache(root).prune):
            with pytest.raises(ResultError, match="is a file") as caught:
                read()
            assert "AEGISRT_CACHE_DIR" in caught.value.error.hint


def test_a_verification_that_cannot_open_the_file_does_not_call_it_damaged(cache, source, monkeypatch):
    file = build(cache, source).unwrap().path

    def refuse(*_, **__):
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(OSError, match="Too many open files"):
        CacheEntry(file.parent).damage()


def test_the_root_is_named_by_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("AEGISRT_CACHE_DIR", str(tmp_path))
    assert cache_root() == tmp_path
    monkeypatch.delenv("AEGISRT_CACHE_DIR")
    assert cache_root().name == "aegisrt"


@pytest.mark.parametrize(
    ("number", "code", "word"),
    [
        (errno.EACCES, ErrorCode.PERMISSION_DENIED, "write"),
        (errno.EROFS, ErrorCode.PERMISSION_DENIED, "write"),
        (errno.ENOSPC, ErrorCode.RESOURCE_EXHAUSTED, "free space"),
    ],
)
def test_a_cache_that_cannot_be_written_is_told_apart_from_a_full_one(cache, source, monkeypatch, number, code, word):
    def refuse(*_, **__):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(ArtifactCache, "get", refuse)
    error = build(cache, source).unwrap_err()
    assert error.code is code
    assert word in error.hint
    assert "AEGISRT_CACHE_DIR" in error.hint
