"""Several processes and one cache: they build once, and a kill at any moment leaves it usable."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from aegisrt.artifacts.build import engine_file
from aegisrt.artifacts.cache import ArtifactCache
from tests.fakes.builder import FakeBackend

KILLS = int(os.environ.get("AEGISRT_TEST_KILLS", "20"))
REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "model.txt"
    path.write_text("weights")
    return path


def start(source: Path, root: Path, step_ms: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.fakes.builder", str(source), str(root), str(step_ms)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY)


def test_8_processes_that_ask_for_one_file_build_it_once(source, tmp_path):
    running = [start(source, tmp_path / "cache", 10.0) for _ in range(8)]
    said = [process.communicate(timeout=60)[0] for process in running]
    assert [process.returncode for process in running] == [0] * 8
    assert sum("True" in text for text in said) == 1
    assert len(source.with_suffix(".count").read_text().split()) == 1


def test_kills_at_random_moments_leave_a_usable_cache(source, tmp_path):
    chosen, root = random.Random(3), tmp_path / "cache"
    cache = ArtifactCache(root)
    for round_ in range(KILLS):
        process = start(source, root, 5.0)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(chosen.uniform(0, 0.12))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        broken = [entry.damage() for entry in cache.entries() if entry.damage()]
        assert not broken, f"kill {round_} left {broken}"
        if round_ % 5 == 4:
            made = engine_file(FakeBackend(), source, cache).unwrap()
            assert made.path.stat().st_size == 64 * 32
            cache.prune(max_bytes=0)
    assert engine_file(FakeBackend(), source, cache).unwrap().path.exists()
