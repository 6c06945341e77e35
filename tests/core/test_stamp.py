"""A file is read once for as long as its stamp stays, and never answered from what it was before."""

from __future__ import annotations

import hashlib
import os
import time

import pytest

from aegisrt.core.stamp import PerFile, Stamp, file_sha256


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "m"
    path.write_bytes(b"first")
    return path


@pytest.fixture
def settled(file):
    time.sleep(0.05)
    return file


def counting(entries=256):
    read = []
    return read, PerFile(lambda path: read.append(path.name) or path.read_bytes(), entries)


def test_a_settled_file_is_read_once_under_each_of_its_names(settled):
    read, content = counting()
    assert [content(settled), content(settled)] == [b"first"] * 2
    other = settled.with_name("other")
    settled.rename(other)
    time.sleep(0.05)
    assert content(other) == b"first"
    os.link(other, settled)
    time.sleep(0.05)
    assert [content(other), content(settled)] == [b"first"] * 2
    assert read == ["m", "other", "other"], "a rename and a link change the time of the last change"


def test_two_writes_within_a_tick_are_both_seen(file):
    for number in range(300):
        content = f"{number:05}".encode()
        file.write_bytes(content)
        assert file_sha256(file) == hashlib.sha256(content).hexdigest()


def test_a_write_in_place_is_seen_also_with_its_times_set_back(settled):
    read, content = counting()
    before = settled.stat()
    assert content(settled) == b"first"
    settled.write_bytes(b"other")
    os.utime(settled, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert content(settled) == b"other"
    assert len(read) == 2


def test_a_file_that_changes_while_it_is_read_is_not_kept(settled):
    def read(path):
        found = path.read_bytes()
        path.write_bytes(b"later")
        return found

    content = PerFile(read)
    assert [content(settled), content(settled)] == [b"first", b"later"]


def test_the_least_recently_used_is_dropped_and_errors_are_not_kept(tmp_path):
    read, content = counting(entries=2)
    for name in "abc":
        (tmp_path / name).write_text(name)
    time.sleep(0.05)
    for name in "abacab":
        content(tmp_path / name)
    assert read == ["a", "b", "c", "b"]
    for _ in range(2):
        with pytest.raises(FileNotFoundError):
            content(tmp_path / "none")
    assert read[4:] == ["none"] * 2


def test_whole_seconds_may_be_a_coarse_clock():
    now = time.time_ns()
    second, later = now // 10**9 * 10**9, now // 10**9 * 10**9 - 5 * 10**9
    assert Stamp((0, 0), 1, second, second).unsettled_ns() > 0
    assert Stamp((0, 0), 1, later, later).unsettled_ns() == 0
    assert Stamp((0, 0), 1, now - 10**9 // 2 | 1, 0).unsettled_ns() == 0
    assert 0 < Stamp((0, 0), 1, now + 10**12 | 1, 0).unsettled_ns() <= 20_000_000, "a clock that is ahead"
