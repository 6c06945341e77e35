"""The cache with a real compiler: many who ask at once, kills at any moment, and damage of any byte."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from aegisrt import ExecutionRequest, TVMBackend
from aegisrt.artifacts.build import engine_file
from aegisrt.artifacts.cache import ArtifactCache
from aegisrt.artifacts.entry import CacheEntry
from aegisrt.core.result import ErrorCode
from aegisrt.core.sidecar import sidecar_path
from tests.long import long

pytestmark = [pytest.mark.engine("tvm"), pytest.mark.slow]
REPOSITORY = Path(__file__).resolve().parents[2]
DAMAGES = 500


@pytest.fixture
def source(tmp_path) -> Path:
    path = tmp_path / "digits.onnx"
    shutil.copy(REPOSITORY / "configs" / "model" / "digits.onnx", path)
    return path


def start(source: Path, root: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.artifacts.tvm_builder", str(source), str(root)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY)


def build(source: Path, cache: ArtifactCache) -> Path:
    """Return the file after a build that is let end, once the library has answered."""
    file = engine_file(TVMBackend(), source, cache).unwrap().path
    backend = TVMBackend()
    backend.load(file).unwrap()
    images = np.zeros((2, 1, 8, 8), np.float32)
    assert backend.execute(ExecutionRequest(inputs={"image": images})).unwrap().outputs["probabilities"].shape == (
        2,
        10,
    )
    backend.unload().unwrap()
    return file


def test_8_processes_that_ask_for_one_library_build_it_once(source, tmp_path):
    running = [start(source, tmp_path / "cache") for _ in range(8)]
    said = [process.communicate(timeout=300)[0] for process in running]
    assert [process.returncode for process in running] == [0] * 8
    assert sum("built=True" in text for text in said) == 1
    assert sum("linking" in text for text in said) == 1
    assert len(ArtifactCache(tmp_path / "cache").entries()) == 1


def children(process: subprocess.Popen[str]) -> list[int]:
    """Return the processes that it started, which are compilers."""
    psutil = pytest.importorskip("psutil")
    try:
        return [child.pid for child in psutil.Process(process.pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def kill_builds(source: Path, root: Path, kills: int) -> tuple[int, int]:
    """Kill builders, or only their compilers, at random moments of a build; return in how many the build had ended."""
    chosen, cache = random.Random(5), ArtifactCache(root)
    started = time.monotonic()
    build(source, cache)
    took_s, finished, orphans = time.monotonic() - started, 0, 0
    for round_ in range(kills):
        cache.prune(max_bytes=0)
        process = start(source, root)
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
        time.sleep(chosen.uniform(0, 1.2 * took_s))
        compilers = children(process)
        for victim in compilers if compilers and chosen.random() < 0.25 else [process.pid]:
            try:
                os.kill(victim, signal.SIGKILL)
            except ProcessLookupError:
                finished += 1
        process.communicate(timeout=60)
        broken = [entry.damage() for entry in cache.entries() if entry.damage()]
        assert not broken, f"kill {round_} left {broken}"
        orphans += sum(alive(pid) for pid in compilers)
        if round_ % 10 == 9:
            build(source, cache)
    build(source, cache)
    return finished, orphans


def alive(pid: int) -> bool:
    """Return whether a process is there still after it has had time to notice that its parent is gone."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return False
        if state == "Z":
            return False
        time.sleep(0.02)
    return True


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_20_kills_at_random_moments_leave_a_usable_cache(source, tmp_path):
    _, orphans = kill_builds(source, tmp_path / "cache", 20)
    assert orphans == 0


@long
def test_200_kills_at_random_moments_leave_a_usable_cache(source, tmp_path):
    _, orphans = kill_builds(source, tmp_path / "cache", 200)
    assert orphans == 0


def test_500_damaged_bytes_are_all_found_before_anything_is_loaded(source, tmp_path):
    cache = ArtifactCache(tmp_path / "cache")
    file = build(source, cache)
    chosen, entry = random.Random(7), CacheEntry(file.parent)
    for _ in range(DAMAGES):
        path = chosen.choice((file, sidecar_path(file)))
        whole = path.read_bytes()
        at = chosen.randrange(len(whole))
        path.write_bytes(whole[:at] + bytes([whole[at] ^ chosen.randrange(1, 256)]) + whole[at + 1 :])
        assert entry.damage(), f"byte {at} of {path.name} was changed and not found"
        assert not cache.contains(file)
        assert TVMBackend().load(file).unwrap_err().code is ErrorCode.DATA_LOSS, f"byte {at} of {path.name}"
        path.write_bytes(whole)
    assert entry.damage() is None
    assert TVMBackend().load(file).is_ok()
