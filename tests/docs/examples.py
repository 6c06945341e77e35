"""`Example`: a block of a page that can be run; and `run`, which does what the page says and compares.

What is run, in a folder of its own for each block:

    sh, and indented blocks of commands    each line; nothing is compared but the exit code
    console                                each line after `$ `, and what follows is compared with what it prints
    python                                 the whole block

The folder holds the packaged digits, one of them as `digit.npy`, and the files that the page has shown so far: a block
whose first line is a comment with a file's name, or whose attribute `file` is one. Attributes stand after a fence's
language, or before a block in a comment `<!-- example: NAME=VALUE ... -->`:

    exit=2       the block's last command exits with 2; without it, and the commands before, with 0
    exit=0|1     with either: a benchmark, whose bounds are no matter of a test
    needs=onnx   skipped where that engine is not installed; `onnx,tvm` needs both; or a package, `matplotlib`
    session=1    goes on in the folder of the page's earlier blocks of that session, which run before it
    swap=OLD:NEW the block is run with this change in the files that the page has shown
    empty=1      the folder is empty at first, as a new user's is; so it is for later blocks of the same session
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
import traceback
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from aegisrt.cli.main import main
from aegisrt.core.resources import configs_dir
from tests.docs.pages import Block, Page

RUNNABLE = ("aegisrt", "python")
COMMANDS = (*RUNNABLE, "make", "pip", "uvicorn")
"""What the first line of an indented block begins with where it is a block of commands."""
_DIGITS = ("digits.onnx", "digits.images.npy", "digits.labels.npy")
_ASSIGNMENT = re.compile(r"[A-Z_]+=")
_HIDDEN = ("AEGISRT_", "ORT_")


@dataclass(frozen=True)
class Step:
    """One command, and what the page says that it prints; None where it says nothing."""

    command: str
    output: str | None = None


@dataclass(frozen=True)
class Example:
    """A block that is run, and the blocks before it on its page that show files."""

    block: Block
    steps: tuple[Step, ...]
    """Empty for a block of Python."""
    files: tuple[Block, ...] = field(default=(), repr=False)
    before: tuple[Example, ...] = field(default=(), repr=False)
    """The earlier blocks of its session."""

    @property
    def needs(self) -> tuple[str, ...]:
        """Return the engines and packages that it needs, or `gpu`."""
        return tuple(filter(None, self.block.attributes.get("needs", "").split(",")))

    def __str__(self) -> str:
        return str(self.block)


def examples(page: Page) -> list[Example]:
    """Return what can be run of a page, in order."""
    found: list[Example] = []
    files: list[Block] = []
    for block in page.blocks:
        if block.file is not None:
            files.append(block)
        elif (steps := _steps(block)) or block.language == "python":
            session = block.attributes.get("session")
            before = [one for one in found if session and one.block.attributes.get("session") == session]
            found.append(Example(block, tuple(steps), tuple(files), tuple(before)))
    return found


def run(example: Example, folder: Path, skip: frozenset[str] = frozenset(), binaries: Path | None = None) -> list[str]:
    """Return what is not as the page says; runs in `folder`, which becomes the current one meanwhile.

    With `binaries`, the `aegisrt` and the `python` of that folder run; without, this process and its interpreter. Of
    its session, the earlier blocks run that need nothing else than it needs itself.
    """
    earlier = [one for one in example.before if set(one.needs) <= set(example.needs)]
    folder.mkdir(exist_ok=True)
    if not any("empty" in one.block.attributes for one in (*earlier, example)):
        _prepare(folder)
    return _run_in_turn((*earlier, example), folder, skip, binaries)


def run_page(page: Page, folder: Path, engines: frozenset[str], skip: frozenset[str], binaries: Path) -> list[str]:
    """Return what is not as the page says for a person who does all of it in one folder, which is empty at first.

    Blocks that need another engine than `engines` are left out, and commands in `skip`.
    """
    return _run_in_turn([one for one in examples(page) if engines.issuperset(one.needs)], folder, skip, binaries)


def run_copy(page: Page, folder: Path, skip: frozenset[str]) -> list[str]:
    """Return what is not as the page says, run from top to bottom in `folder`, a copy of the page's own folder."""
    return _run_in_turn(examples(page), folder, skip, None)


def _run_in_turn(chosen: Iterable[Example], folder: Path, skip: frozenset[str], binaries: Path | None) -> list[str]:
    wrong: list[str] = []
    with contextlib.chdir(folder):
        for example in chosen:
            _show_files(example)
            wrong += _run(example, skip, binaries)
    return wrong


def _run(example: Example, skip: frozenset[str], binaries: Path | None) -> list[str]:
    if not example.steps:
        return _run_python(example.block, binaries)
    steps = [step for step in example.steps if step.command not in skip]
    return [wrong for step in steps for wrong in _run_step(step, example, binaries)]


def differs(printed: str, expected: str) -> bool:
    """Return whether output is not what a page says.

    Blanks count as one, `...` in a line stands for any text, and `...` alone for any lines.
    """
    lines = [re.escape(_plain(line)).replace(r"\.\.\.", ".*") for line in expected.strip().split("\n")]
    pattern = "".join(r"(?:.*\n)*?" if line == ".*" else f"{line}\n" for line in lines)
    whole = "".join(f"{_plain(line)}\n" for line in printed.strip().split("\n"))
    return re.fullmatch(pattern, whole) is None


def _steps(block: Block) -> list[Step]:
    if block.language == "console":
        parts = re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]
        return [Step(*part.partition("\n")[::2]) for part in parts]
    if block.language not in ("", "sh", "bash", "shell"):
        return []
    if block.language == "" and block.text.split()[0] not in COMMANDS:
        return []
    lines = block.text.replace("\\\n", " ").split("\n")
    commands = [re.sub(r"(^|\s+)#\s.*", "", line).strip() for line in lines]
    return [Step(command) for command in commands if command]


def _prepare(folder: Path) -> None:
    for name in _DIGITS:
        shutil.copyfile(configs_dir() / "model" / name, folder / name)
    np.save(folder / "digit.npy", np.load(folder / "digits.images.npy")[:1])


def _show_files(example: Example) -> None:
    """Write the files that the page has shown before the example into the current folder."""
    old, _, new = example.block.attributes.get("swap", ":").partition(":")
    for block in example.files:
        file = Path(str(block.file))
        file.parent.mkdir(parents=True, exist_ok=True)
        text = block.text.replace(old, new) if old else block.text
        file.write_text(text + "\n", encoding="utf-8")


def _run_step(step: Step, example: Example, binaries: Path | None) -> list[str]:
    words, target = _redirected(_words(step.command))
    variables = dict(word.split("=", 1) for word in words if _ASSIGNMENT.match(word))
    program, *rest = [word for word in words if not _ASSIGNMENT.match(word)]
    if program not in RUNNABLE:
        return [f"{example}: `{step.command}` is not a command that the tests run"]
    hidden = _HIDDEN if binaries is None else (*_HIDDEN, "PYTHON")
    with _environment({"AEGISRT_CACHE_DIR": str(Path.cwd() / "cache"), **variables}, hidden):
        if binaries is not None:
            code, printed = _process([str(binaries / program), *rest])
        else:
            code, printed = _aegisrt(rest) if program == "aegisrt" else _process([sys.executable, *rest])
    if target:
        Path(target).write_text(printed, encoding="utf-8")
        printed = ""
    wanted = example.block.attributes.get("exit", "0") if step is example.steps[-1] else "0"
    right = str(code) in wanted.split("|")
    found = [] if right else [f"{example}: `{step.command}` exits with {code}, not {wanted}\n{printed}"]
    if not found and step.output is not None and differs(printed, step.output):
        found = [f"{example}: `{step.command}` prints\n{printed}\nand not\n{step.output}"]
    return found


def _run_python(block: Block, binaries: Path | None) -> list[str]:
    if binaries is not None:
        with _environment({}, (*_HIDDEN, "PYTHON")):
            code, told = _process([str(binaries / "python"), "-c", block.text])
        return [f"{block}: {told}"] if code else []
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            exec(compile(block.text, str(block), "exec"), {"__name__": "__main__"})
    except Exception:  # noqa: BLE001  (whatever the page's code raises is what is wrong with it)
        return [f"{block}: {traceback.format_exc()}"]
    return []


def _aegisrt(words: list[str]) -> tuple[int, str]:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        try:
            code = main(words)
        except SystemExit as stop:
            code = int(stop.code or 0)
    return code, printed.getvalue()


def _process(command: list[str]) -> tuple[int, str]:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    return done.returncode, done.stdout


@contextlib.contextmanager
def _environment(variables: dict[str, str], hidden: tuple[str, ...]):
    before = dict(os.environ)
    for name in list(os.environ):
        if name.startswith(hidden):
            del os.environ[name]
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _words(command: str) -> list[str]:
    return shlex.split(command, comments=True)


def _redirected(words: list[str]) -> tuple[list[str], str | None]:
    return (words[:-2], words[-1]) if len(words) > 2 and words[-2] == ">" else (words, None)


def _plain(line: str) -> str:
    return " ".join(line.split())
