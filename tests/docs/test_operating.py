"""The files that docs/operating.md shows for gunicorn serve the model, and end cleanly."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from aegisrt.artifacts.location import cache_root
from aegisrt.cli.main import main
from tests.backends.test_forks import _Unix, wait_for_socket
from tests.docs.pages import ROOT, read_page

FILES = {block.file: block.text for block in read_page(ROOT / "docs" / "operating.md").blocks if block.file}

pytestmark = [pytest.mark.slow, pytest.mark.engine("onnx")]


@pytest.fixture
def folder(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["init", "--example"]) == 0
    for name in ("app.py", "gunicorn.conf.py"):
        Path(name).write_text(FILES[name], encoding="utf-8")
    return tmp_path


def ask(path, image):
    connection = _Unix(path)
    connection.request("POST", "/", json.dumps(image.tolist()))
    answer = connection.getresponse()
    body = json.loads(answer.read())
    connection.close()
    return answer.status, body


@pytest.mark.parametrize("preload", [False, True], ids=["in each worker", "--preload"])
def test_gunicorn(preload, folder):
    pytest.importorskip("gunicorn", reason="gunicorn is not installed; run: pip install 'aegisrt-runtime[test]'")
    listens, log = folder / "s", folder / "log"
    command = [sys.executable, "-m", "gunicorn", "-c", "gunicorn.conf.py", "--bind", f"unix:{listens}", "app:app"]
    environment = {**os.environ, "HOME": str(folder), "AEGISRT_CACHE_DIR": str(cache_root())}
    with log.open("wb") as output:
        server = subprocess.Popen(
            [*command, *(["--preload"] if preload else [])], env=environment, stdout=output, stderr=output
        )
        try:
            wait_for_socket(listens, server)
            time.sleep(1)  # the second worker starts too
            answers = [ask(listens, np.load("digit.npy")) for _ in range(8)]
            server.send_signal(signal.SIGTERM)
            code = server.wait(60)
        finally:
            server.kill()
            server.wait()
    text = log.read_text()
    if preload:
        assert {(status, body["code"]) for status, body in answers} == {(500, "FAILED_PRECONDITION")}, text
    else:
        assert answers == [(200, {"digit": 9})] * 8, text
    assert code == 0, text
    assert not re.search("SIGSEGV|SIGABRT|SIGKILL|TIMEOUT|Traceback", text), text
