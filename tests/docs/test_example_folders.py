"""Each folder of docs/examples is complete: its commands run, and its program does what its README promises."""

import ast
import asyncio
import importlib.util
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from aegisrt.cli.main import main
from tests.docs.examples import run_copy
from tests.docs.pages import ROOT, read_page

EXAMPLES = ROOT / "docs" / "examples"
FOLDERS = sorted(path for path in EXAMPLES.iterdir() if path.is_dir())
OF_ITS_OWN = {"openvino-backend"}
"""A package with tests of its own: test_openvino_backend.py runs them."""
PLAIN = [folder for folder in FOLDERS if folder.name not in OF_ITS_OWN]
SERVER = "uvicorn app:app"


@pytest.fixture
def folder(request, tmp_path, monkeypatch, capsys):
    """A copy of an example's folder as the current folder, with the files of `aegisrt init --example`."""
    copy = tmp_path / request.param
    shutil.copytree(EXAMPLES / request.param, copy)
    monkeypatch.chdir(copy)
    assert main(["init", "--example"]) == 0
    capsys.readouterr()
    return copy


def in_folder(name):
    return pytest.mark.parametrize("folder", [name], indirect=True)


def test_every_example_is_listed():
    text = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"\]\(([\w-]+)/README\.md\)", text)) == [folder.name for folder in FOLDERS]


@pytest.mark.parametrize("folder", PLAIN, ids=lambda path: path.name)
def test_a_readme_has_three_sentences(folder):
    text = (folder / "README.md").read_text(encoding="utf-8")
    text = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    prose = re.sub(r"^#.*$|^    .*$", "", text, flags=re.MULTILINE)
    assert len(re.findall(r"[.](?=\s)", re.sub(r"`[^`]*`", "x", prose))) == 3


@pytest.mark.engine("onnx")
@pytest.mark.parametrize("folder", PLAIN, ids=lambda path: path.name)
def test_its_commands_run(folder, tmp_path):
    copy = tmp_path / folder.name
    shutil.copytree(folder, copy)
    page = read_page(folder / "README.md")
    assert [link for _, link in page.links if not (folder / link).exists()] == []
    wrong = run_copy(page, copy, frozenset({SERVER}))
    assert not wrong, "\n\n".join(wrong)


@pytest.mark.engine("onnx")
@in_folder("fastapi")
def test_fastapi_answers_and_refuses(folder):
    httpx = pytest.importorskip("httpx", reason="httpx is not installed; run: pip install 'aegisrt-runtime[test]'")
    pytest.importorskip("fastapi", reason="FastAPI is not installed; run: pip install 'aegisrt-runtime[test]'")
    module = _module(folder / "app.py")
    images, labels = np.load("digits.images.npy"), np.load("digits.labels.npy")

    async def ask() -> list:
        transport = httpx.ASGITransport(app=module.app)
        async with module.lifespan(module.app), httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            bodies = [{"rows": image[0].tolist()} for image in images[:32]]
            answers = await asyncio.gather(*(client.post("/digits", json=body) for body in bodies))
            wrong = await client.post("/digits", json={"rows": [[2.0]]})
            calls = module.running["context"].metrics()["digits"].compute_us.count
        late = await _ask_closed(httpx, transport, bodies[0])
        return [answers, wrong, calls, late]

    answers, wrong, calls, late = asyncio.run(ask())
    assert [answer.status_code for answer in answers] == [200] * 32
    assert sum(answer.json()["digit"] == label for answer, label in zip(answers, labels[:32], strict=True)) >= 30
    assert calls < 32, "requests that wait together are one call"
    assert wrong.status_code == 422
    assert (late.status_code, late.json()["detail"]["code"]) == (500, "NOT_LOADED")


async def _ask_closed(httpx, transport, body):
    async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
        return await client.post("/digits", json=body)


@pytest.mark.engine("onnx")
@in_folder("notebook")
def test_the_cells_of_the_notebook_run_in_turn(folder, capsys):
    book = json.loads(Path("digits.ipynb").read_text(encoding="utf-8"))
    assert (book["nbformat"], book["nbformat_minor"]) == (4, 5)
    assert len({cell["id"] for cell in book["cells"]}) == len(book["cells"])
    names, shown = {}, {}
    for cell in book["cells"]:
        if cell["cell_type"] == "code":
            assert (cell["outputs"], cell["execution_count"]) == ([], None), "outputs are not committed"
            shown[cell["id"]] = _run_cell("".join(cell["source"]), names)
    assert shown["accuracy"] > 0.99
    assert shown["error"].code == "INVALID_ARGUMENT"
    assert shown["close"].is_ok()
    assert "@" in capsys.readouterr().out


@in_folder("gpu")
def test_the_manifest_for_a_gpu_is_valid_and_uses_it(folder, capsys):
    assert main(["graph", "service.yaml", "--json"]) == 0
    nodes = json.loads(capsys.readouterr().out)["nodes"]
    assert {(node["model"], node["backend"], node["device"]) for node in nodes if node["kind"] == "model"} == {
        ("digits", "onnx", "gpu0"), ("digits-fp16", "trt", "gpu0"),
    }  # fmt: skip


@in_folder("serving")
def test_the_dashboard_shows_metrics_of_the_server(folder):
    pytest.importorskip("prometheus_client", reason="the extra `serve` is not installed")
    from tests.serving.running import running
    from tests.serving.test_life import ask

    listeners = {"models": {"digits": {"path": "digits.onnx", "backend": "mock"}}}
    with running(listeners) as server:
        text = ask(server.metrics, "/metrics")[1].decode()
    known = set(re.findall(r"^# TYPE (\w+)", text, re.MULTILINE))
    known |= {f"{name}_bucket" for name in known}
    dashboard = json.loads(Path("grafana.json").read_text(encoding="utf-8"))
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    assert set(re.findall(r"aegisrt_\w+", " ".join(expressions))) <= known


@in_folder("serving")
def test_the_containers_and_the_unit_serve_files_that_are_there(folder):
    for name in ("Dockerfile", "Dockerfile.cuda"):
        text = Path(name).read_text(encoding="utf-8")
        copied = re.search(r"^COPY (.*) \./$", text, re.MULTILINE)[1].split()
        assert all(Path(file).is_file() for file in copied)
        command = json.loads(re.search(r"^ENTRYPOINT (.*)$", text, re.MULTILINE)[1])
        overrides = [word for word in command[3:] if "gpu0" not in word]
        assert command[:2] == ["aegisrt", "serve"]
        assert main(["validate", command[2], *overrides]) == 0
    assert "aegisrt serve /opt/aegisrt/service.yaml" in Path("aegisrt.service").read_text(encoding="utf-8")


def _module(file):
    spec = importlib.util.spec_from_file_location("app", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _run_cell(source, names):
    """Run a cell as a notebook does, and return the value of its last line if that is an expression."""
    tree = ast.parse(source)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "cell", "exec"), names)
    return eval(compile(ast.Expression(last.value), "cell", "eval"), names) if last else None
