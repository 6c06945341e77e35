"""An engine in processes of its own: the same answers, and crashes that stay there."""

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from aegisrt import ErrorCode, ExecutionRequest, Ok, ONNXBackend
from aegisrt.backends.isolation.arena import Arena
from aegisrt.backends.isolation.backend import isolated
from aegisrt.core.sidecar import file_sha256
from aegisrt.core.tensor import DataType
from aegisrt.runtime.served import ServedModel
from tests.backends.isolation.crashing import CRASH, LOSE, REFUSE, SLOW, Crashing
from tests.long import long
from tests.runtime.serving import declared, until

NAME = np.array(["a", b"b"], object)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "m.crash"
    path.write_text("fine")
    return path


@pytest.fixture
def backend(path):
    backend = isolated(Crashing)(instances=2)
    backend.load(path).unwrap()
    yield backend
    backend.unload().unwrap()


def request(*x, **fields):
    return ExecutionRequest(inputs={"x": np.array(x, np.float32), "name": NAME}, **fields)


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def is_running(pid):
    """Whether a child runs; one that died with all of its threads, and was not waited for, does not."""
    state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return state != "Z" or len(list(Path(f"/proc/{pid}/task").iterdir())) > 1


def test_it_answers_as_the_backend_does(backend, path):
    plain = Crashing()
    plain.load(path).unwrap()
    assert backend.signature == plain.signature
    for wanted in (None, ["text"], ["text", "y"]):
        ours = backend.execute(request(1, 2, outputs=wanted)).unwrap()
        theirs = plain.execute(request(1, 2, outputs=wanted)).unwrap()
        assert list(ours.outputs) == list(theirs.outputs)
        for name, value in theirs.outputs.items():
            np.testing.assert_array_equal(ours.outputs[name], value)
            assert ours.outputs[name].flags.writeable
        assert ours.metadata == theirs.metadata
    assert backend.execute(request(REFUSE)).unwrap_err() == plain.execute(request(REFUSE)).unwrap_err()
    assert backend.memory() == Ok(2000)
    assert backend.kind == "crashing"


def test_tensors_of_every_size_pass_and_results_stay_the_callers(backend):
    kept = []
    for size in (0, 1, 5, 100_000, 3, 1_000_000):
        x = np.arange(size, dtype=np.float32)
        kept.append((x, backend.execute(ExecutionRequest(inputs={"x": x, "name": NAME})).unwrap().outputs["y"]))
    for x, y in kept:
        np.testing.assert_array_equal(y, x * 2)


def test_a_crash_costs_its_own_request_and_no_other(backend):
    before = set(backend.pids)
    error = backend.execute(request(CRASH)).unwrap_err()
    assert error.code is ErrorCode.UNAVAILABLE
    assert "SIGSEGV" in error.message
    for value in range(6):
        assert backend.execute(request(value)).unwrap().outputs["y"][0] == value * 2
    assert len(set(backend.pids) & before) == 1


def test_a_process_that_lost_its_gpu_says_why_and_leaves_its_place_to_one_that_has_it(path):
    backend = isolated(Crashing)(device="cuda:0")
    backend.load(path).unwrap()
    for value in range(5):
        before = backend.pids
        assert backend.execute(request(LOSE)).unwrap_err().message == "the GPU is lost to this process"
        assert backend.execute(request(value)).unwrap().outputs["y"][0] == value * 2
        assert backend.pids != before
    backend.unload().unwrap()


@pytest.mark.parametrize("pause_s", [0.05, 0])
def test_a_process_that_died_idle_is_replaced_without_a_word(backend, pause_s):
    for pid in backend.pids:
        os.kill(pid, signal.SIGKILL)
    time.sleep(pause_s)
    for value in range(4):
        assert backend.execute(request(value)).unwrap().outputs["y"][0] == value * 2


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nobody tells that a message was not read")
def test_a_request_that_a_dying_process_has_not_read_goes_to_the_next(path):
    backend = isolated(Crashing)()
    backend.load(path).unwrap()
    for value in range(5):
        pid = hang(backend)
        threading.Timer(0.05, os.kill, (pid, signal.SIGKILL)).start()
        assert backend.execute(request(value)).unwrap().outputs["y"][0] == value * 2
        assert backend.pids != [pid]
    backend.unload().unwrap()


def spare(backend):
    """Return the id of the process that waits for another to die."""
    return backend._loaded.engine.spare.pid


def test_a_spare_process_takes_the_place_of_one_that_died_and_is_followed_by_another(backend):
    for _ in range(3):
        waiting, dead = spare(backend), backend.pids[0]
        os.kill(dead, signal.SIGKILL)
        until(lambda dead=dead: not is_running(dead))
        for _ in backend.pids:
            assert backend.execute(request(1)).unwrap().outputs["y"][0] == 2
        assert waiting in backend.pids
        assert spare(backend) not in (waiting, dead)


def test_a_spare_process_that_died_is_not_used(backend):
    for pid in (spare(backend), *backend.pids):
        os.kill(pid, signal.SIGKILL)
        until(lambda pid=pid: not is_running(pid))
    for value in range(4):
        assert backend.execute(request(value)).unwrap().outputs["y"][0] == value * 2


def test_a_spare_process_that_dies_when_it_is_needed_is_not_used(backend, monkeypatch):
    """A process whose threads are not all gone yet is neither dead to `waitpid` nor of any use."""
    waiting = backend._loaded.engine.spare
    monkeypatch.setattr(waiting, "is_alive", lambda: True, raising=False)
    for pid in (waiting.pid, *backend.pids):
        os.kill(pid, signal.SIGKILL)
        until(lambda pid=pid: not is_running(pid))
    for value in range(4):
        assert backend.execute(request(value)).unwrap().outputs["y"][0] == value * 2
    assert waiting.pid not in backend.pids


def test_no_process_is_left_after_unload(path):
    backend = isolated(Crashing)(instances=2)
    backend.load(path).unwrap()
    pids = [*backend.pids, spare(backend)]
    assert len(set(pids)) == 3
    backend.unload().unwrap()
    assert not any(map(is_alive, pids))
    assert backend.execute(request(1)).unwrap_err().code is ErrorCode.NOT_LOADED


def test_a_model_that_does_not_load_is_the_childs_own_error(path):
    backend = isolated(Crashing)()
    path.write_text("damaged")
    error = backend.load(path).unwrap_err()
    assert (error.code, error.hint) == (ErrorCode.DATA_LOSS, "copy it again")
    path.write_text("crash")
    error = backend.load(path).unwrap_err()
    assert error.code is ErrorCode.UNAVAILABLE
    assert "SIGSEGV" in error.message
    assert backend.pids == []


def test_a_process_ends_with_its_parent(tmp_path, path):
    script = (
        "import sys, os\n"
        "from aegisrt.backends.isolation.backend import isolated\n"
        "from tests.backends.isolation.crashing import Crashing\n"
        f"backend = isolated(Crashing)(); backend.load({str(path)!r}).unwrap()\n"
        "print(backend.pids[0], flush=True); os.kill(os.getpid(), 9)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)
    pid = int(done.stdout)
    end = time.monotonic() + 5
    while is_alive(pid) and time.monotonic() < end:
        time.sleep(0.01)
    assert not is_alive(pid)


def test_a_process_whose_engine_hangs_ends_with_its_parent(path):
    script = (
        "import sys, os, threading\n"
        "from aegisrt.backends.isolation.backend import isolated\n"
        "from tests.backends.isolation.crashing import HANG\n"
        "from tests.backends.isolation.test_backend import Crashing, request\n"
        f"backend = isolated(Crashing)(); backend.load({str(path)!r}).unwrap()\n"
        "print(backend.pids[0], flush=True)\n"
        "threading.Timer(0.5, os.kill, (os.getpid(), 9)).start()\n"
        "backend.execute(request(HANG))\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)
    pid = int(done.stdout)
    until(lambda: not is_alive(pid), 20)


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, TimeoutError])
def test_an_interrupted_call_leaves_its_answer_to_nobody_else(backend, interrupt):
    def handle(*_):
        raise interrupt

    before = signal.signal(signal.SIGALRM, handle)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        try:
            assert backend.execute(request(SLOW)).unwrap_err().code is ErrorCode.DEADLINE_EXCEEDED
        except KeyboardInterrupt:
            assert interrupt is KeyboardInterrupt
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    for count in (3, 1, 2, 4):
        values = range(10, 10 + count)
        np.testing.assert_array_equal(
            backend.execute(request(*values)).unwrap().outputs["y"], [2 * value for value in values]
        )


def test_a_load_that_is_interrupted_is_done_again_and_closes_nothing_twice(path, monkeypatch):
    backend = isolated(Crashing)()
    backend.load(path).unwrap()
    for process in (backend._seats[0].process, backend._loaded.engine.spare):
        os.kill(process.pid, signal.SIGKILL)
        until(lambda pid=process.pid: not is_running(pid))

    def be_interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("aegisrt.backends.isolation.channel.Channel.receive", be_interrupted)
        with pytest.raises(KeyboardInterrupt):
            backend.execute(request(1))
    assert backend.execute(request(3)).unwrap().outputs["y"][0] == 6
    backend.unload().unwrap()


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.skipif(sys.platform != "linux", reason="it counts its files in /proc")
def test_a_process_that_cannot_be_started_takes_nothing_and_what_serves_goes_on(path, monkeypatch):
    backend = isolated(Crashing)()
    backend.load(path).unwrap()

    def refuse(*_, **__):
        raise OSError(errno.EMFILE, "Too many open files")

    engine = backend._loaded.engine
    engine.next().end()
    assert backend.execute(request(1)).is_ok()  # each of its maps keeps a file open
    engine.next().end()
    before = open_files()
    with monkeypatch.context() as patch:
        patch.setattr("aegisrt.backends.isolation.process.subprocess.Popen", refuse)
        for value in range(5):
            assert backend.execute(request(value)).unwrap().outputs["y"][0] == value * 2
        assert engine.spare is None
        assert open_files() == before
        assert backend.execute(request(CRASH)).unwrap_err().code is ErrorCode.UNAVAILABLE
        for value in range(5):
            assert backend.execute(request(value)).unwrap_err().code is ErrorCode.RESOURCE_EXHAUSTED
        assert open_files() < before
    assert backend.execute(request(1)).unwrap().outputs["y"][0] == 2
    assert engine.spare is not None
    backend.unload().unwrap()


def test_a_load_that_finds_no_room_for_a_process_says_so_and_keeps_nothing(path, monkeypatch):
    def refuse(*_, **__):
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr("aegisrt.backends.isolation.process.subprocess.Popen", refuse)
    before = open_files()
    for _ in range(3):
        assert isolated(Crashing)().load(path).unwrap_err().code is ErrorCode.RESOURCE_EXHAUSTED
    assert open_files() == before


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_unload_ends_its_processes_at_once_although_a_forked_copy_holds_their_connections(path):
    backend = isolated(Crashing)()
    backend.load(path).unwrap()
    pid, process = os.fork(), backend._seats[0].process
    if not pid:
        time.sleep(60)
        os._exit(0)
    try:
        assert process.end() == "ended with exit code 0"
        backend.unload().unwrap()
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def hang(backend):
    """Stop the process of the first instance, as an engine that never comes back would; return its id."""
    pid = backend.pids[0]
    os.kill(pid, signal.SIGSTOP)
    return pid


def test_a_process_that_hangs_is_replaced_when_its_time_is_up(path):
    backend = isolated(Crashing)({"isolation_timeout_ms": 300.0})
    backend.load(path).unwrap()
    for _ in range(2):
        pid, started = hang(backend), time.monotonic()
        error = backend.execute(request(1)).unwrap_err()
        assert error.code is ErrorCode.UNAVAILABLE
        assert "300 ms without an answer" in error.message
        assert 0.3 <= time.monotonic() - started < 5
        assert not is_alive(pid)
        assert backend.execute(request(2)).unwrap().outputs["y"][0] == 4
    pids = [*backend.pids, pid]
    backend.unload().unwrap()
    assert not any(map(is_alive, pids))


def test_a_caller_goes_at_its_deadline_and_the_model_serves_again_after_a_hang(path):
    backend = isolated(Crashing)({"isolation_timeout_ms": 600.0})
    backend.load(path).unwrap()
    model = ServedModel("m", backend, declared())
    try:
        assert model.intake.execute(request(1, timeout_ms=60_000)).is_ok()
        pid = hang(backend)
        for _ in range(3):
            started = time.monotonic()
            assert model.intake.execute(request(1, timeout_ms=50)).unwrap_err().code is ErrorCode.DEADLINE_EXCEEDED
            assert time.monotonic() - started < 0.5
        assert model.intake.execute(request(3)).unwrap().outputs["y"][0] == 6
        assert not is_alive(pid)
        assert model.life.metrics().requests == {"OK": 2, "DEADLINE_EXCEEDED": 3}
    finally:
        model.life.close(time.perf_counter_ns()).unwrap()
        model.watch.close()


def test_without_a_limit_a_call_takes_as_long_as_it_takes(path):
    backend = isolated(Crashing)({"isolation_timeout_ms": None})
    backend.load(path).unwrap()
    pid = hang(backend)
    threading.Timer(0.5, os.kill, (pid, signal.SIGCONT)).start()
    assert backend.execute(request(1)).unwrap().outputs["y"][0] == 2
    assert backend.pids == [pid]
    backend.unload().unwrap()


def kill_under_load(path, kills: int) -> list[float]:
    """Kill a process `kills` times under load; check every answer, and return how long each recovery took."""
    backend = isolated(Crashing)(instances=2)
    backend.load(path).unwrap()
    model = ServedModel("m", backend, declared(instances=2))
    sent, answers, stop = [0] * 4, [[] for _ in range(4)], threading.Event()

    def client(seed: int) -> None:
        """Every second client submits; whoever answers a request twice calls its callback twice, or raises."""
        while not stop.is_set():
            value = seed * 100_000 + sent[seed]
            sent[seed] += 1
            if seed % 2:
                future = model.intake.submit(request(value))
                future.add_done_callback(lambda done, value=value: answers[seed].append((value, done.result())))
                future.result(30)
            else:
                answers[seed].append((value, model.intake.execute(request(value))))

    threads = [threading.Thread(target=client, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    recoveries = []
    for _ in range(kills):
        seat = backend._seats[len(recoveries) % 2]
        while seat.process is None or not seat.process.is_alive() or seat.process._ready is None:
            time.sleep(0.001)
        before, started = backend.restarts, time.monotonic()
        os.kill(seat.process.pid, signal.SIGKILL)
        while backend.restarts == before or seat.process is None or seat.process._ready is None:
            time.sleep(0.001)
        recoveries.append(time.monotonic() - started)
    stop.set()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive(), "a request was lost: its client still waits"
    model.life.close(time.perf_counter_ns()).unwrap()
    model.watch.close()
    for seed, found in enumerate(answers):
        assert [value for value, _ in found] == [seed * 100_000 + index for index in range(sent[seed])]
    codes = Counter("OK" if result.is_ok() else result.unwrap_err().code for found in answers for _, result in found)
    assert set(codes) <= {"OK", "UNAVAILABLE"}  # what a process had not read goes to the next one, and is answered
    assert codes["OK"] > kills >= codes["UNAVAILABLE"]
    assert model.life.metrics().requests == codes
    right = [
        result.unwrap().outputs["y"][0] == value * 2 for found in answers for value, result in found if result.is_ok()
    ]
    assert all(right)
    return recoveries


def test_killing_processes_under_load_loses_no_request(path):
    assert len(kill_under_load(path, 20)) == 20, "each kill is followed by a recovery; the long test measures them"


@long
def test_a_hundred_kills_under_load(path):
    """A second each; or, where other work has the cores, three times what a process takes to start there."""
    starts = [bare_start_s()]
    recoveries = kill_under_load(path, 100)
    starts.append(bare_start_s())
    most, limit = max(recoveries), max(1.0, 3 * max(starts))
    print(f"recovery: {sorted(recoveries)[50]:.2f} s median, {most:.2f} s at most; a bare start: {max(starts):.2f} s")
    assert most < limit, f"recovery took {most:.2f} s at most, {limit:.2f} s are allowed"


def bare_start_s() -> float:
    """Return the longest of five starts of a process that imports what an isolated one does."""
    command = [sys.executable, "-P", "-c", "import aegisrt.backends.isolation.child, tests.backends.isolation.crashing"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    found = []
    for _ in range(5):
        started = time.monotonic()
        subprocess.run(command, env=environment, check=True)
        found.append(time.monotonic() - started)
    return max(found)


@pytest.mark.parametrize("dtype", [dtype for dtype in DataType if dtype is not DataType.BF16])
def test_an_arena_carries_every_dtype_and_shape(dtype):
    ours = Arena()
    theirs = Arena(os.dup(ours.descriptor))
    for shape in ((), (0, 3), (7,), (2, 3, 5)):
        values = np.arange(int(np.prod(shape))).reshape(shape)
        array = values.astype(str).astype(object) if dtype is DataType.BYTES else values.astype(dtype.numpy)
        for found in theirs.read(ours.write({"a": array, "b": array}), copy=True):
            np.testing.assert_array_equal(found, array)
            assert found.dtype == array.dtype
            assert found.flags.writeable
    ours.close()
    theirs.close()


def replaced(file, content):
    fresh = file.with_name("fresh")
    fresh.write_bytes(content)
    fresh.replace(file)


def kill_one(backend):
    pid = backend.pids[0]
    os.kill(pid, signal.SIGKILL)
    until(lambda: not Path(f"/proc/{pid}").exists() or not is_running(pid))


class TestWhatWasDeployedIsServed:
    def test_another_file_at_the_path_is_never_loaded(self, backend, path):
        deployed = file_sha256(path)
        replaced(path, b"other")
        kill_one(backend)
        results = [backend.execute(request(1)) for _ in range(8)]
        assert {result.unwrap_err().code for result in results if result.is_err()} == {ErrorCode.DATA_LOSS}
        message = next(result.unwrap_err().message for result in results if result.is_err())
        assert deployed in message
        assert file_sha256(path) in message

    def test_the_same_bytes_are_loaded_again(self, backend, path):
        replaced(path, path.read_bytes())
        kill_one(backend)
        for value in range(6):
            assert backend.execute(request(value)).unwrap().outputs["y"][0] == value * 2

    def test_a_file_that_is_restored_serves_again(self, backend, path):
        content = path.read_bytes()
        replaced(path, b"other")
        kill_one(backend)
        while backend.execute(request(1)).is_ok():
            pass
        replaced(path, content)
        for value in range(6):
            assert backend.execute(request(value)).unwrap().outputs["y"][0] == value * 2

    def test_no_process_is_started_for_a_file_that_it_would_refuse(self, path):
        backend = isolated(Crashing)()
        backend.load(path).unwrap()
        replaced(path, b"other")
        kill_one(backend)
        assert backend.execute(request(1)).unwrap_err().code is ErrorCode.DATA_LOSS
        started = time.monotonic()
        for _ in range(20):
            assert backend.execute(request(1)).unwrap_err().code is ErrorCode.DATA_LOSS
        assert time.monotonic() - started < 1
        backend.unload().unwrap()

    def test_a_relative_path_stays_the_same_file(self, path, monkeypatch):
        monkeypatch.chdir(path.parent)
        backend = isolated(Crashing)()
        backend.load(path.name).unwrap()
        monkeypatch.chdir("/")
        kill_one(backend)
        assert backend.execute(request(2)).unwrap().outputs["y"][0] == 4
        backend.unload().unwrap()


@pytest.mark.engine("onnx")
def test_weights_beside_a_model_of_onnx_runtime_are_the_deployed_ones(tmp_path):
    made = pytest.importorskip("tests.backends.onnx_models")
    onnx = pytest.importorskip("onnx")
    graph = made.model(
        [made.node("Mul", "x k", "y")], [made.tensor("x")], [made.tensor("y")], [made.weight("k", np.float32([3]))]
    )
    onnx.save_model(graph, str(tmp_path / "m.onnx"), save_as_external_data=True, location="m.data", size_threshold=0)
    backend = isolated(ONNXBackend)()
    backend.load(tmp_path / "m.onnx").unwrap()
    ask = ExecutionRequest(inputs={"x": np.ones(1, np.float32)})
    assert backend.execute(ask).unwrap().outputs["y"][0] == 3
    replaced(tmp_path / "m.data", np.float32([5]).tobytes())
    kill_one(backend)
    error = backend.execute(ask).unwrap_err()
    assert error.code is ErrorCode.DATA_LOSS
    assert "m.data is not the file that was deployed" in error.message
    backend.unload().unwrap()


LOCAL = """
import os, signal, sys
import numpy as np
from aegisrt import ExecutionRequest
from aegisrt.backends.isolation.backend import isolated
from only_here.engine import Local

backend = isolated(Local)()
backend.load("m.crash").unwrap()
ask = ExecutionRequest(inputs={"x": np.ones(1, np.float32), "name": np.array(["a"], object)})
print(backend.execute(ask).unwrap().outputs["y"])
os.chdir("/")
os.kill(backend.pids[0], signal.SIGKILL)
for _ in range(2):  # the spare process, and one that is started now
    print(backend.execute(ask).unwrap().outputs["y"])
    os.kill(backend.pids[0], signal.SIGKILL)
backend.unload().unwrap()
"""


@pytest.mark.parametrize("way", ["-c", "script", "stdin", "relative"])
def test_a_package_of_the_current_folder_is_importable_in_the_process(way, tmp_path):
    """As with `python -c`, at a prompt, from a script, and with a relative entry of PYTHONPATH."""
    folder = tmp_path / "src" if way == "relative" else tmp_path
    package = folder / "only_here"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "engine.py").write_text(
        "from tests.backends.isolation.crashing import Crashing\n\n\nclass Local(Crashing):\n    pass\n"
    )
    (tmp_path / "m.crash").write_text("fine")
    (tmp_path / "main.py").write_text(LOCAL)
    root = str(Path(__file__).resolve().parents[3])
    words = {"-c": ["-c", LOCAL], "script": ["main.py"], "stdin": ["-"], "relative": ["-P", "main.py"]}[way]
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([root, "src"]) if way == "relative" else root}
    command, given = [sys.executable, *words], LOCAL if way == "stdin" else None
    done = subprocess.run(command, cwd=tmp_path, env=environ, input=given, capture_output=True, text=True)
    assert done.stdout == "[2.]\n" * 3, done.stderr
