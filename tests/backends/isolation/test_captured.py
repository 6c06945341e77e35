"""A captured child harms neither its parent nor a client: stand-ins break the protocol in every field."""

import json
import re
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from aegisrt import ErrorCode, ExecutionRequest
from aegisrt.backends.isolation import process
from aegisrt.backends.isolation.arena import Arena
from aegisrt.backends.isolation.backend import isolated
from aegisrt.backends.isolation.strings import packed, unpacked
from aegisrt.core.sidecar import file_sha256
from tests.backends.isolation.captured import ANYTIME, CALLS, READY
from tests.backends.isolation.crashing import WIDE, Crashing
from tests.backends.isolation.test_backend import NAME, request

LIMIT_S = 20.0
"""More than a process takes to start on a busy machine; a drip would take far longer."""


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "m.crash"
    path.write_text("fine")
    return path


@pytest.fixture
def captured(path, tmp_path, monkeypatch):
    """Return a function that loads a model in a captured process; no attack may make the marker."""
    marker = tmp_path / "marker"
    monkeypatch.setenv("AEGISRT_TEST_MARKER", str(marker))
    loaded = []

    def load(moment, attack, **options):
        call = f"main({moment!r}, {attack!r}, {file_sha256(path)!r})"
        monkeypatch.setattr(process, "_CHILD", f"from tests.backends.isolation.captured import main; {call}")
        backend = isolated(Crashing)(options)
        loaded.append(backend)
        return backend, backend.load(path)

    yield load
    for backend in loaded:
        backend.unload().unwrap()
    assert not marker.exists()


def refused(backend):
    """Send a request; check that it is refused and that the process is gone."""
    before = backend.pids
    error = backend.execute(request(1, 2, outputs=["y"])).unwrap_err()
    assert error.code is ErrorCode.UNAVAILABLE, error
    assert not set(before) & set(backend.pids)
    return error


@pytest.mark.parametrize("attack", ANYTIME)
def test_an_answer_that_is_none(attack, captured):
    backend, loaded = captured("any", attack, isolation_timeout_ms=500.0)
    loaded.unwrap()
    started = time.monotonic()
    refused(backend)
    assert time.monotonic() - started < LIMIT_S


@pytest.mark.parametrize("attack", ["pickle", "huge-length", "deep-json", "unknown-code", "half", "drip"])
def test_a_first_answer_that_is_none(attack, captured, monkeypatch):
    monkeypatch.setattr(process, "_LEAST_TO_LOAD_S", 4.0)
    started = time.monotonic()
    _, loaded = captured("ready", attack, isolation_timeout_ms=500.0)
    assert loaded.unwrap_err().code is ErrorCode.UNAVAILABLE
    assert time.monotonic() - started < LIMIT_S


@pytest.mark.parametrize("attack", READY)
def test_a_wrong_field_of_the_first_answer(attack, captured):
    _, loaded = captured("field", attack)
    error = loaded.unwrap_err()
    assert error.code is ErrorCode.UNAVAILABLE
    assert "not one of this protocol" in error.message


@pytest.mark.parametrize("attack", CALLS)
def test_a_wrong_field_of_an_answer(attack, captured):
    backend, loaded = captured("call", attack)
    loaded.unwrap()
    assert "not one of this protocol" in refused(backend).message


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        '["a"]',
        '["a", 4]',
        '["a", -2]\n',
        '["a", true]\n',
        '["a", []]',
        '["a", "b"]\nc',
        "[-2, 2]\n\u20ac",
        "[%s, 0]\n" % ("9" * 30),
        "[" * 9999,
    ],
)
def test_strings_that_are_none(text, captured):
    backend, loaded = captured("other", f"strings:{text}")
    loaded.unwrap()
    before = backend.pids
    error = backend.execute(request(1, outputs=["text"])).unwrap_err()
    assert error.code is ErrorCode.UNAVAILABLE, error
    assert not set(before) & set(backend.pids)


@pytest.mark.skipif(sys.platform != "linux", reason="memory is sealed on Linux alone")
def test_memory_that_is_taken_away_does_not_end_the_parent(captured):
    backend, loaded = captured("other", "truncated")
    loaded.unwrap()
    outputs = backend.execute(request(1, outputs=["y"])).unwrap().outputs
    np.testing.assert_array_equal(outputs["y"], np.zeros(1 << 20, np.float32))


@pytest.mark.skipif(sys.platform != "linux", reason="memory is sealed on Linux alone")
def test_the_memory_of_the_outputs_does_not_grow(captured, capfd):
    backend, loaded = captured("other", "grown", isolation_output_bytes=1 << 16)
    loaded.unwrap()
    y = backend.execute(request(1, outputs=["y"])).unwrap().outputs["y"]
    np.testing.assert_array_equal(y, np.zeros(1 << 14, np.float32), "memory that was never written")
    backend.unload().unwrap()
    assert "growth refused" in capfd.readouterr().err
    backend, loaded = captured("other", "larger", isolation_output_bytes=1 << 16)
    loaded.unwrap()
    assert "beyond the memory" in refused(backend).message


def test_what_a_child_prints_is_escaped(captured, capfd):
    backend, loaded = captured("other", "terminal")
    loaded.unwrap()
    refused(backend)
    printed = capfd.readouterr().err
    assert r"\x1b]0;owned\x07\r::set-output name=x::y" in printed
    assert "  \\x3a:error::no\ufffd\n" in printed
    assert "x" * 20_000 in printed.replace("\n", "")
    assert not set(printed) & {"\x1b", "\x07", "\r"}


def test_processes_that_outlive_a_child_cost_no_thread_and_no_descriptor(captured):
    backend, loaded = captured("other", "heirs", isolation_timeout_ms=5000.0)
    loaded.unwrap()
    counts = []
    for _ in range(4):
        refused(backend)
        counts.append((threading.active_count(), len(list(Path("/dev/fd").iterdir()))))
    assert max(counts[2:]) <= max(counts[:2]), counts


def test_a_child_that_floods_its_output_is_ended_by_its_deadline(captured, capfd):
    backend, loaded = captured("other", "flood", isolation_timeout_ms=1000.0)
    loaded.unwrap()
    started = time.process_time()
    refused(backend)
    assert time.process_time() - started < 1.0, "seconds of this process's CPU"
    assert "\x1b" not in capfd.readouterr().err


@pytest.mark.skipif(sys.platform != "linux", reason="memory is sealed on Linux alone")
def test_the_child_does_not_seal_the_memory_of_its_parent(captured):
    backend, loaded = captured("other", "sealed")
    loaded.unwrap()
    for size in (1, 10, 1_000_000):
        x = np.ones(size, np.float32)
        assert backend.execute(ExecutionRequest(inputs={"x": x, "name": NAME}, outputs=["y"])).is_ok()


def test_outputs_that_differ_from_the_signature_are_the_backends_error(path):
    """A backend that declares another dtype is not captured: its process stays."""
    backend = isolated(Crashing)()
    backend.load(path).unwrap()
    before = backend.pids
    error = backend.execute(request(WIDE, 2)).unwrap_err()
    assert error.code is ErrorCode.FAILED_PRECONDITION
    assert error.message == "output `y` is FP64, and the model declares FP32"
    assert backend.pids == before
    assert backend.execute(request(3)).unwrap().outputs["y"][0] == 6
    backend.unload().unwrap()


def test_the_texts_of_an_error_are_bounded(captured):
    backend, loaded = captured("other", "long-error")
    loaded.unwrap()
    error = backend.execute(request(1, outputs=["y"])).unwrap_err()
    assert error.code is ErrorCode.DATA_LOSS
    assert len(error.message) == len(error.hint) == len(error.cause) == 10_000


def test_the_environment_is_an_allow_list(captured, monkeypatch):
    for name in (
        "MY_TOKEN",
        "AWS_SECRET_ACCESS_KEY",
        "GITHUB_TOKEN",
        "LICENSE_FILE",
        "OMP_NUM_THREADS",
        "CUDA_MODULE_LOADING",
    ):
        monkeypatch.setenv(name, "1")
    backend, loaded = captured("other", "environment", environment=["LICENSE_FILE"])
    loaded.unwrap()
    names = json.loads(backend.execute(request(1, outputs=["y"])).unwrap_err().message)
    assert {"PATH", "PYTHONPATH", "LICENSE_FILE", "OMP_NUM_THREADS", "CUDA_MODULE_LOADING"} <= set(names)
    assert not {"MY_TOKEN", "AWS_SECRET_ACCESS_KEY", "GITHUB_TOKEN"} & set(names)


def test_a_name_of_the_environment_is_a_name_and_no_pattern():
    assert Crashing.Options.parse({"environment": ["A_1"]}).environment == ("A_1",)
    for wrong in ("*", "A=1", "", "A*"):
        with pytest.raises(ValueError, match="environment"):
            Crashing.Options.parse({"environment": [wrong]})


def test_the_parent_unpickles_nothing():
    """`pickle.loads` stands in the child's code alone."""
    folder = Path(process.__file__).parent
    readers = re.compile(r"pickle\.loads?\(|\.recv\(\)|Unpickler|multiprocessing")
    assert [file.name for file in folder.glob("*.py") if readers.search(file.read_text())] == ["child.py"]


def test_a_bool_is_0_or_1():
    """numpy counts the bytes of bools, and would write beyond an array for others."""
    ours = Arena()
    laid = ours.write({"a": np.full(100, 255, np.uint8).view(bool)})
    (found,) = ours.read(laid, copy=True)
    assert set(found.view(np.uint8).tolist()) == {1}
    assert np.ones(100)[found].shape == (100,)
    ours.close()


@pytest.mark.parametrize(
    "values",
    [
        [],
        ["a"],
        [b"\x00\xff", "\u20ac", ""],
        ["\ud800", "\udc00", b""],
        ["\ud800\udc00", '"', "\x00\n"],
        ["a", "\u20ac" * 999_999, b"\n" * 9, "b"],
    ],
)
def test_strings_pass_unchanged(values):
    array = np.empty(len(values), object)
    array[:] = values
    found = unpacked(packed(array).tobytes(), array.shape)
    assert found.tolist() == values
    with pytest.raises(TypeError, match="int is not a string"):
        packed(np.array([1], object))
