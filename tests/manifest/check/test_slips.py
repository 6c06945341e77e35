"""What messages say of slips, in the words of a user: the hint is what to write."""

from __future__ import annotations

from pathlib import Path

import pytest

from aegisrt import deploy
from aegisrt.deployment import resolve

GOOD = "models:\n  digits: {path: digits.onnx, backend: mock}\n"


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits.onnx").write_bytes(b"x")


def said(text, *overrides):
    """Return message, label and hint of the first error."""
    Path("deploy.yaml").write_text(text)
    one = deploy("deploy.yaml", overrides).unwrap_err().diagnostics[0]
    return f"{one.message}; {one.label}; {one.hint}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (GOOD.replace("digits: {", "digits\n    a: {"), "write `digits:`"),
        ("models:\n  digits:\n    path = x.onnx\n    backend: mock\n", "write `path: x.onnx`"),
        ("models:\n  digits:\n    path = x.onnx\n", "write `path: x.onnx`"),
        (GOOD.replace("path: digits.onnx", "path digits.onnx"), "write `path: digits.onnx`"),
        (f"<<<<<<< HEAD\n{GOOD}=======\n{GOOD}>>>>>>> x\n", "a merge conflict"),
        (
            GOOD.replace("digits.onnx", "{{ path }}"),
            "`{{ path }}` is a template's placeholder; None; render the template",
        ),
        (GOOD.replace("digits.onnx", "'{{ path }}'"), "`{{ path }}` is a template's placeholder"),
        (GOOD.replace("mock", "mock, instances: '{{ n }}'"), "`{{ n }}` is a template's placeholder"),
        (GOOD.replace("digits.onnx", '"${MODEL_PATH}"'), "write `${oc.env:MODEL_PATH}`"),
        (GOOD.replace("digits.onnx", '"${MODEL_PATH:-x.onnx}"'), "write `${oc.env:MODEL_PATH,x.onnx}`"),
        (GOOD.replace("digits.onnx", '"${env:MODEL_PATH}"'), "write `${oc.env:MODEL_PATH}`"),
        (GOOD.replace("digits.onnx", '"${env.MODEL_PATH}"'), "write `${oc.env:MODEL_PATH}`"),
        (GOOD.replace("digits.onnx", "$HOME/x.onnx"), "write `${oc.env:HOME}`"),
        (GOOD.replace("mock", "mock, instances: 089"), "drop the leading 0: `89`"),
        (GOOD.replace("digits:", "${oc.env:X}:"), "not a name; write the name itself"),
        (GOOD.replace("{path", "{name: x, path"), "unknown field; remove it: the name is the key above, `digits`"),
        (
            GOOD.replace("digits.onnx", "file:///srv/x.onnx"),
            "`file:///srv/x.onnx` is an address, not a file; not a file; write the path: `/srv/x.onnx`",
        ),
        (GOOD.replace("digits.onnx", "https://host/x.onnx"), "`https://host/x.onnx` is an address"),
        (GOOD.replace("path:", "path:\u00a0"), "a non-breaking space (U+00A0)"),
        (GOOD.replace("digits:", "digits\uff1a").replace(" {", "\n    {"), "a full-width colon (U+FF1A)"),
        (GOOD.replace("digits.onnx", "\u201cdigits.onnx\u201d"), "a curly quote (U+201C)"),
    ],
)
def test_a_slip_in_a_file(text, expected):
    assert expected in said(text)


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ('+models.b={"path":"x","backend":"mock"}', "write `path: ...`"),
        ("models.digits.instances =2", "write `models.digits.instances=2`"),
        ("models.digits.instances = 2", "write `models.digits.instances=2`"),
        ("models.digits.instances=choice(1,2)", "a sweep, one run for each value"),
        ("models[digits].instances=2", "write `models.digits.instances=2`"),
        ("'models.digits.instances'=2", "write `models.digits.instances=2`"),
        ("models.digits.instances=089", "drop the leading 0: `89`"),
        ("models.digits\u00a0.instances=2", "a non-breaking space (U+00A0), not a blank; None; remove it"),
        ("models.digits.instances\uff1d2", "a full-width equals sign (U+FF1D)"),
        ("models.digits.path=a)", "this `)` has no opening bracket"),
        ("models.digits.path=a(b)c", "cannot be read"),
    ],
)
def test_a_slip_in_an_override(override, expected):
    assert expected in said(GOOD, override)


def test_a_broken_link_names_its_target(tmp_path):
    (tmp_path / "link.onnx").symlink_to("blobs/gone")
    (tmp_path / "folder").symlink_to("nowhere")
    assert "is a link to `blobs/gone`, which does not exist" in said(GOOD.replace("digits.onnx", "link.onnx"))
    assert "`folder` is a link to `nowhere`" in said(GOOD.replace("digits.onnx", "folder/x.onnx"))
    (tmp_path / "link.yaml").symlink_to("gone.yaml")
    assert "is a link to `gone.yaml`" in str(deploy("link.yaml").unwrap_err().diagnostics[0].hint)


def test_an_address_that_is_a_file_is_that_file(tmp_path):
    (tmp_path / "file:").mkdir()
    (tmp_path / "file:/x.onnx").write_bytes(b"x")
    assert resolve({"models": {"digits": {"path": "file:/x.onnx", "backend": "mock"}}}).is_ok()
    (tmp_path / "{{ x }}$HOME~.onnx").write_bytes(b"x")
    assert resolve({"models": {"digits": {"path": "{{ x }}$HOME~.onnx", "backend": "mock"}}}).is_ok()
