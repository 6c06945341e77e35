"""Attacks by links, endless files and hints: a manifest from a pull request shows nothing of the machine's files."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from pathlib import Path

import pytest

from aegisrt.cli.main import main
from aegisrt.manifest.contained import NotRegularError, read_at_most
from aegisrt.manifest.diagnostics.snippet import MOST_BYTES, read_lines
from tests.manifest.composing import MODEL, errors, values, write

SECRET = "SECRET_TOKEN=hunter2"


@pytest.fixture
def secret(tmp_path_factory):
    """A folder that is not the repository's."""
    folder = tmp_path_factory.mktemp("elsewhere")
    (folder / "secret.yaml").write_text(f"{SECRET}\n")
    (folder / "keys.yaml").write_text("hunter2: {hunter2: hunter2}\nmodels: [hunter2]\n")
    (folder / "syntax.yaml").write_text("a: [hunter2\nb: {hunter2\n")
    (folder / "hunter2.onnx").write_bytes(b"x")
    (folder / "hunter2").mkdir()
    return folder


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits.onnx").write_bytes(b"weights")
    return tmp_path


def output(capsys, *argv):
    """Return the exit code and everything that a command prints, in each format."""
    printed = []
    for form in ("text", "github", "json"):
        code = main(["validate", *argv, "--format", form])
        printed += capsys.readouterr()
    return code, "".join(printed)


@pytest.mark.parametrize("name", ["secret.yaml", "keys.yaml", "syntax.yaml", "hunter2"])
def test_a_manifest_that_is_a_link_shows_nothing_of_its_target(folder, secret, capsys, name):
    (folder / "deploy.yaml").symlink_to(secret / name)
    code, printed = output(capsys, "deploy.yaml")
    assert code == 2
    assert "deploy.yaml:1:1" in printed
    assert "hunter2" not in printed.replace(str(secret), "")


def test_the_environment_of_the_process_is_not_shown(folder, monkeypatch, capsys):
    monkeypatch.setenv("AEGISRT_TEST_SECRET", "hunter2")
    (folder / "deploy.yaml").symlink_to("/proc/self/environ")
    code, printed = output(capsys, "deploy.yaml")
    assert (code, "hunter2" in printed, "link-away" in printed) == (2, False, True)
    assert read_lines("deploy.yaml") is None


@pytest.mark.parametrize("target", ["keys.yaml", "secret.yaml", "syntax.yaml"])
def test_a_group_s_file_out_of_its_folder_is_refused(folder, secret, capsys, target):
    (folder / "deploy.yaml").write_text(MODEL)
    write(folder, groups__env__dev="{}")
    (folder / "groups/env/site.yaml").symlink_to(secret / target)
    assert errors("deploy.yaml", "env=site", config_dir="groups") == ["link-away groups/env/site.yaml:1:1"]
    code, printed = output(capsys, "deploy.yaml", "env=site", "--config-dir", "groups")
    assert (code, "hunter2" in printed) == (2, False)


def test_a_valid_file_out_of_its_folder_is_refused_too(folder, secret):
    (folder / "deploy.yaml").write_text(MODEL)
    (secret / "valid.yaml").write_text("backends: {onnx: {intra_op_threads: 3}}\n")
    write(folder, groups__env__dev="{}")
    (folder / "groups/env/site.yaml").symlink_to(secret / "valid.yaml")
    assert errors("deploy.yaml", "env=site", config_dir="groups") == ["link-away groups/env/site.yaml:1:1"]


def test_a_group_that_is_a_link_out_of_the_folder_is_not_listed(folder, secret, capsys):
    (folder / "deploy.yaml").write_text(MODEL)
    (folder / "groups").mkdir()
    (folder / "groups/own").symlink_to(secret)
    code, printed = output(capsys, "deploy.yaml", "own=keys", "--config-dir", "groups")
    assert (code, "syntax" in printed) == (2, False)
    (folder / "groups/env").symlink_to(secret)
    code, printed = output(capsys, "deploy.yaml", "env=key", "--config-dir", "groups")
    assert (code, "keys" in printed) == (2, False)


def test_links_within_the_folder_are_followed(folder):
    """As a mounted ConfigMap of Kubernetes has them: `deploy.yaml -> ..data/deploy.yaml`."""
    (folder / "..data").mkdir()
    (folder / "..data/deploy.yaml").write_text(MODEL)
    (folder / "deploy.yaml").symlink_to("..data/deploy.yaml")
    write(folder, groups__real__site="backends: {onnx: {intra_op_threads: 3}}\n", groups__env__dev="{}")
    (folder / "groups/env/site.yaml").symlink_to("../real/site.yaml")
    composed = values("deploy.yaml", "env=site", config_dir="groups")
    assert composed["backends"]["onnx"]["intra_op_threads"] == 3


def test_a_valid_manifest_that_is_a_link_is_read(folder, secret, capsys):
    shutil.copy(folder / "digits.onnx", secret)
    (secret / "release.yaml").write_text(MODEL.replace("onnx}", "mock}"))
    (folder / "deploy.yaml").symlink_to(secret / "release.yaml")
    assert output(capsys, "deploy.yaml")[0] == 0


def test_no_more_is_read_than_the_limit_whatever_the_size(folder):
    """Files of /proc have a size of 0."""
    os.mkfifo("pipe")
    begin = time.monotonic()
    with pytest.raises(NotRegularError):
        read_at_most(folder / "pipe", MOST_BYTES)
    assert read_lines("pipe") is None
    assert time.monotonic() - begin < 5
    (folder / "long").write_bytes(b"x" * 11)
    assert read_at_most(folder / "long", 10) is None
    status = Path("/proc/self/status")
    assert status.stat().st_size == 0
    assert read_at_most(status, 10) is None


@pytest.mark.parametrize("path", ["{secret}/hunter.onnx", "{secret}", "inside/hunter.onnx", "inside", "../gone.onnx"])
def test_neighbors_elsewhere_are_not_listed(folder, secret, capsys, path):
    (folder / "inside").symlink_to(secret)
    (folder.parent / "hunter2.npz").write_bytes(b"")
    written = path.format(secret=secret)
    (folder / "deploy.yaml").write_text(f"models:\n  m: {{path: '{written}', backend: mock}}\n")
    code, printed = output(capsys, "deploy.yaml")
    assert (code, "hunter2" in printed, "secret.yaml" in printed) == (2, False, False)


@pytest.mark.parametrize("path", ["{secret}/hunter2.onnx", "link.onnx"])
def test_the_digest_of_a_file_elsewhere_is_not_shown(folder, secret, capsys, path):
    (folder / "link.onnx").symlink_to(secret / "hunter2.onnx")
    written = path.format(secret=secret)
    text = f"models:\n  m: {{path: '{written}', backend: mock, sha256: {'ab' * 32}}}\n"
    (folder / "deploy.yaml").write_text(text)
    code, printed = output(capsys, "deploy.yaml")
    assert (code, hashlib.sha256(b"x").hexdigest() in printed, "wrong-sha256" in printed) == (2, False, True)
