"""Composing runs nothing of the user's, and leaves the process as found; threads may compose at once."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import pytest

from tests.manifest.composing import MODEL, deploy_yaml, errors, values, write

pytestmark = pytest.mark.usefixtures("folder")


def test_nothing_of_a_user_s_files_is_imported_or_run(folder, monkeypatch):
    write(
        folder,
        conf__env__evil="# @package _global_\nhydra:\n  searchpath: ['pkg://evil_module']\n"
        "  callbacks: {a: {_target_: evil_module.run}}\n",
    )
    for module in ("evil_module", "hydra_plugins/evil_plugin", "conf/evil_module", "conf/hydra_plugins/evil_plugin"):
        file = folder / f"{module}.py"
        file.parent.mkdir(exist_ok=True)
        file.write_text("from pathlib import Path\nPath('owned').touch()\n")
    monkeypatch.syspath_prepend(str(folder))
    hydra = "hydra: {searchpath: ['pkg://evil_module'], launcher: {_target_: evil_module.x}}\n"
    target = "models: {a: {_target_: evil_module.run, path: x, backend: mock}}\n"
    for text in (
        hydra,
        target,
        "models: !!python/object/apply:evil_module.run []\n",
        "defaults: [hydra/launcher: evil]\n",
    ):
        deploy_yaml(text)
        assert errors("deploy.yaml", config_dir="conf")
    deploy_yaml(MODEL)
    assert errors("deploy.yaml", "env=evil", config_dir="conf")
    assert values("deploy.yaml", config_dir="conf")
    assert not (folder / "owned").exists()
    assert not any("evil" in name for name in sys.modules)


def test_a_hydra_plugin_beside_the_manifest_is_not_loaded(folder):
    (folder / "hydra_plugins").mkdir()
    (folder / "hydra_plugins/__init__.py").write_text("from pathlib import Path\nPath('owned').touch()\n")
    script = (
        "import sys\nfrom tests.manifest.composing import values\nassert values('deploy.yaml', 'env=dev')\n"
        "assert not [name for name in sys.modules if 'plugins' in name and name.startswith('hydra._internal')]\n"
    )
    path = os.pathsep.join([str(folder), str(Path(__file__).parents[2])])
    subprocess.run([sys.executable, "-c", script], check=True, env={**os.environ, "PYTHONPATH": path})
    assert not (folder / "owned").exists()


def test_hydra_s_own_state_is_left_as_found(folder):
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.core.config_store import ConfigStore
    from hydra.core.global_hydra import GlobalHydra
    from hydra.version import getbase

    write(folder, theirs__main="x: 1\n")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with initialize_config_dir(str(folder / "theirs"), version_base="1.1"):
            hydra_before, base, store = GlobalHydra.instance().hydra, getbase(), set(ConfigStore.instance().repo)
            assert values("deploy.yaml", "env=dev")
            assert errors("deploy.yaml", "a")
            assert GlobalHydra.instance().hydra is hydra_before
            assert (getbase(), set(ConfigStore.instance().repo)) == (base, store)
            assert hydra_compose("main").x == 1
    assert not GlobalHydra.instance().is_initialized()
    assert values("deploy.yaml")


def test_the_process_is_left_as_found(folder):
    import logging

    def state():
        return (
            Path.cwd(),
            list(sys.path),
            list(warnings.filters),
            logging.root.handlers[:],
            logging.root.level,
            dict(os.environ),
        )

    values("deploy.yaml")
    before = state()
    values("deploy.yaml", "env=dev")
    errors("deploy.yaml", "env=[")
    assert state() == before
    assert sorted(entry.name for entry in folder.iterdir()) == ["deploy.yaml"]


def test_threads_compose_at_once_without_mixing_up():
    wrong = []

    def run(number):
        for _ in range(5):
            got = values("deploy.yaml", f"devices.cpu.threads={number}", f"env={['dev', 'prod'][number % 2]}")
            if got["devices"]["cpu"]["threads"] != number or ("deterministic" in got["backends"]["onnx"]) != (
                number % 2 == 0
            ):
                wrong.append((number, got))

    threads = [threading.Thread(target=run, args=(number,)) for number in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
