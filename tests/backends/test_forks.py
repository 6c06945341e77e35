"""Real engines in a program that forks after it deployed: each child ends with an exit code of its own, at once."""

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time

import pytest

from aegisrt.artifacts.location import cache_root
from aegisrt.core.resources import configs_dir

ENGINES = [pytest.param(name, marks=pytest.mark.engine(name)) for name in ("onnx", "tvm")]
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
COMMON = f"""
import multiprocessing, os, sys, warnings
import numpy as np
from aegisrt import ExecutionRequest, deploy

warnings.simplefilter("ignore", DeprecationWarning)  # of a fork beside threads
DIGITS = {str(configs_dir() / "model" / "digits.onnx")!r}
MANIFEST = {{"models": {{"digits": {{"path": DIGITS, "backend": sys.argv[1]}}}}}}
REQUEST = ExecutionRequest(inputs={{"image": np.ones((3, 1, 8, 8), np.float32)}})
context = deploy(MANIFEST).unwrap()

def shape(context):
    return context.execute(REQUEST).unwrap().outputs["probabilities"].shape

def serve():
    with deploy(MANIFEST).unwrap() as mine:
        return shape(mine)

assert shape(context) == (3, 10)
"""
BY_OS = """
for code, work in ((7, lambda: None), (8, serve), (9, context.close)):
    child = os.fork()
    if not child:
        work()
        sys.exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == code, code
assert shape(context) == (3, 10)
context.close().unwrap()
"""
BY_MULTIPROCESSING = """
fork = multiprocessing.get_context("fork")
process = fork.Process(target=serve)
process.start()
process.join()
assert process.exitcode == 0, process.exitcode
with fork.Pool(2) as pool:
    assert pool.starmap(serve, [()] * 3) == [(3, 10)] * 3
    pool.close()
    pool.join()
assert shape(context) == (3, 10)
"""
DROPPED_BY_THE_CHILD = """
child = os.fork()
if not child:
    import gc
    del context
    gc.collect()
    os._exit(5)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 5
"""


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("program", [BY_OS, BY_MULTIPROCESSING, DROPPED_BY_THE_CHILD])
def test_each_child_ends_with_its_own_code(program, engine, tmp_path):
    command = [sys.executable, "-c", COMMON + program, engine]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    assert done.stderr == ""


@pytest.mark.engine("onnx")
def test_a_backend_in_direct_use_too(tmp_path):
    program = f"""
import os, sys, warnings
import numpy as np
from aegisrt import ExecutionRequest, ONNXBackend

warnings.simplefilter("ignore", DeprecationWarning)
backend = ONNXBackend(instances=2)
backend.load({str(configs_dir() / "model" / "digits.onnx")!r}).unwrap()
child = os.fork()
if not child:
    backend.unload().unwrap()
    sys.exit(6)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 6
"""
    subprocess.run([sys.executable, "-c", program], timeout=60, check=True)


APPLICATION = """
import json, os, sys
sys.argv = ["app", os.environ["ENGINE"]]
{common}

def app(environ, start_response):
    body = json.dumps([os.getpid(), serve()]).encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
"""


class _Unix(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=60)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self.path))


def ask(path):
    connection = _Unix(path)
    connection.request("GET", "/")
    pid, shape = json.loads(connection.getresponse().read())
    connection.close()
    return pid, tuple(shape)


def wait_for_socket(path, server):
    end = time.monotonic() + 60
    while not path.exists():
        assert server.poll() is None, "gunicorn has ended"
        assert time.monotonic() < end, "gunicorn does not listen"
        time.sleep(0.05)


@pytest.mark.parametrize("engine", ENGINES)
def test_gunicorn_with_preload(engine, tmp_path):
    """Each worker ends after one request (`--max-requests`), and another takes its place: none may hang or crash."""
    pytest.importorskip("gunicorn", reason="gunicorn is not installed; run: pip install 'aegisrt-runtime[test]'")
    (tmp_path / "application.py").write_text(APPLICATION.format(common=COMMON))
    listens, log = tmp_path / "s", tmp_path / "log"
    arguments = ["--preload", "--workers", "1", "--max-requests", "1", "--bind", f"unix:{listens}"]
    command = [sys.executable, "-m", "gunicorn", *arguments, "--chdir", str(tmp_path), "application:app"]
    home = {"HOME": str(tmp_path), "AEGISRT_CACHE_DIR": str(cache_root())}  # gunicorn puts a socket into HOME
    environment = {**os.environ, **home, "ENGINE": engine}
    with log.open("wb") as output:
        server = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=output, stderr=output)
        try:
            wait_for_socket(listens, server)
            answers = [ask(listens) for _ in range(3)]
            server.send_signal(signal.SIGTERM)
            code = server.wait(60)
        finally:
            server.kill()
            server.wait()
    text = log.read_text()
    assert [shape for _, shape in answers] == [(3, 10)] * 3, text
    assert len({pid for pid, _ in answers}) == 3, text
    assert code == 0, text
    assert not re.search("SIGSEGV|SIGABRT|SIGKILL|SIGBUS|TIMEOUT|ERROR", text), text
