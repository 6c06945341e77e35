"""Real models through a manifest, on inputs whose right answer is known."""

from __future__ import annotations

import io
import json
import sys
import zipfile
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from aegisrt import ExecutionRequest
from tests.models.sounds import RATE_HZ, note, read_wav, silence, voice, write_wav

pytestmark = [pytest.mark.network, pytest.mark.engine("onnx")]
ROOT = Path(__file__).parents[2]


def ask(context, inputs):
    """Return the outputs of the deployed model `m`."""
    return context.execute(ExecutionRequest(model="m", inputs=inputs)).unwrap().outputs


class _Session:
    """Stands where an application holds its ONNX Runtime session, and answers through AegisRT."""

    def __init__(self, context):
        self.context, self.calls = context, 0

    def run(self, outputs, feeds):
        self.calls += 1
        inputs = {name: np.asarray(value, np.int32) for name, value in feeds.items()}
        result = self.context.execute(ExecutionRequest(model="m", inputs=inputs, outputs=outputs)).unwrap()
        return list(result.outputs.values())


@pytest.fixture
def files(tmp_path) -> dict[Path, str]:
    """Return real files of this repository and of this machine, without telling names, and what each of them is."""
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(ROOT / "pyproject.toml", "pyproject.toml")
    contents = {
        "python": (ROOT / "aegisrt" / "backends" / "base" / "backend.py").read_bytes(),
        "toml": (ROOT / "pyproject.toml").read_bytes(),
        "txt": (ROOT / "LICENSE").read_bytes(),
        "npy": (ROOT / "configs" / "model" / "digits.images.npy").read_bytes(),
        "onnx": (ROOT / "configs" / "model" / "digits.onnx").read_bytes(),
        "json": json.dumps({"sizes": list(range(50)), "name": {"first": "text"}}, indent=1).encode(),
        "zip": zipped.getvalue(),
    }
    if sys.platform == "linux":
        contents["elf"] = Path(sys.executable).resolve().read_bytes()
    paths = {tmp_path / f"file{number}": label for number, label in enumerate(contents)}
    for path, label in paths.items():
        path.write_bytes(contents[label])
    return paths


def test_magika_names_files_as_its_own_package_does(real_model, deployed, files):
    magika = pytest.importorskip("magika", reason="the package magika==1.0.3 is not installed")
    own, ours = magika.Magika(), magika.Magika()
    ours._onnx_session = _Session(deployed(real_model("magika")))
    for want, got in zip(own.identify_paths(list(files)), ours.identify_paths(list(files)), strict=True):
        assert got.output.label == want.output.label == files[want.path]
        assert got.dl.label == want.dl.label
        assert got.score == pytest.approx(want.score, abs=1e-6)
    assert ours._onnx_session.calls == 1


def test_silero_hears_a_voice_and_carries_its_state(real_model, deployed, bare_session, tmp_path):
    path = real_model("silero-vad")
    context, session = deployed(path), bare_session(path)
    rng = np.random.default_rng(3)
    hum = note(440, RATE_HZ, RATE_HZ)
    parts = [silence(1, rng), voice(8, rng), silence(1, rng), hum, silence(1, rng)]
    write_wav(tmp_path / "sound.wav", np.concatenate(parts))

    sound = read_wav(tmp_path / "sound.wav")
    heard = _listen(lambda feeds: ask(context, feeds).values(), sound)
    assert np.array_equal(heard, _listen(lambda feeds: session.run(None, feeds), sound))
    edges = np.cumsum([0, *map(len, parts)]) // 512
    quiet, spoken, pause, hummed, _ = (heard[start + 5 : end] for start, end in pairwise(edges))
    assert np.mean(spoken > 0.5) > 0.9, spoken
    assert max(quiet.max(), pause.max(), hummed.max()) < 0.3


def _listen(run, sound: np.ndarray) -> np.ndarray:
    """Return the probability of speech in each 512 samples, the way of silero_vad's own `OnnxWrapper`."""
    state, context = np.zeros((2, 1, 128), np.float32), np.zeros((1, 64), np.float32)
    heard = []
    for start in range(0, len(sound) - 511, 512):
        window = np.concatenate([context, sound[None, start : start + 512]], axis=1)
        probability, state = run({"input": window, "state": state, "sr": np.array(RATE_HZ, np.int64)})
        heard.append(probability.item())
        context = window[:, -64:]
    return np.array(heard)


@pytest.mark.parametrize(("key", "frequency_hz"), [(48, 440.0), (39, 261.63)])
def test_basic_pitch_hears_which_key_is_played(key, frequency_hz, real_model, deployed):
    sound = note(frequency_hz, 43844, 22_050, harmonics=4)[None, :, None]
    outputs = ask(deployed(real_model("basic-pitch")), {"serving_default_input_2:0": sound})
    played = outputs["StatefulPartitionedCall:1"][0].mean(axis=0)
    assert played.argmax() == key


def test_minilm_places_words_by_their_meaning(real_model, deployed):
    context = deployed(real_model("minilm-int8"))
    pairs = {"cat": "kitten", "car": "truck", "king": "queen", "ocean": "sea"}
    vocabulary = {"cat": 4937, "kitten": 18401, "car": 2482, "truck": 4744}
    vocabulary |= {"king": 2332, "queen": 3035, "ocean": 4153, "sea": 2712}

    def vector(word):
        ids = np.array([[101, vocabulary[word], 102]])
        inputs = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
        mean = (
            context.execute(ExecutionRequest(model="m", inputs=inputs)).unwrap().outputs["last_hidden_state"][0].mean(0)
        )
        return mean / np.linalg.norm(mean)

    vectors = {word: vector(word) for word in vocabulary}
    for word, near in pairs.items():
        others = {other: float(vectors[word] @ vectors[other]) for other in vocabulary if other != word}
        assert max(others, key=others.__getitem__) == near, f"{word}: {others}"


@pytest.fixture
def draw():
    """Return a function that draws black text on white, as FP32 (3, height, width) of 0..1."""
    images = pytest.importorskip("PIL.Image", reason="Pillow is not installed (the extra `images`)")
    from PIL import ImageDraw, ImageFont

    def picture(text: str, size: tuple[int, int], at: tuple[int, int], font_px: int, turn: int = 0) -> np.ndarray:
        image = images.new("RGB", size, "white")
        ImageDraw.Draw(image).text(at, text, fill="black", font=ImageFont.load_default(font_px))
        return (np.asarray(image.rotate(turn), np.float32) / 255).transpose(2, 0, 1)

    return picture


def test_rapidocr_finds_where_the_text_is(real_model, deployed, draw):
    mean, spread = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])
    image = draw("AegisRT 2026", (320, 160), (20, 20), 36)
    inputs = {"x": ((image - mean[:, None, None]) / spread[:, None, None])[None]}
    (found,) = (
        deployed(real_model("rapidocr-det"))
        .execute(ExecutionRequest(model="m", inputs=inputs))
        .unwrap()
        .outputs.values()
    )
    rows, columns = np.nonzero(found[0, 0] > 0.5)
    assert 20 <= rows.min() < rows.max() <= 64
    assert 20 <= columns.min() < columns.max() <= 260


def test_rapidocr_knows_text_that_stands_on_its_head(real_model, deployed, draw):
    both = [draw("AegisRT 2026", (192, 48), (8, 6), 28, turn) for turn in (0, 180)]
    inputs = {"x": (np.stack(both) - np.float32(0.5)) / np.float32(0.5)}
    (turned,) = (
        deployed(real_model("rapidocr-cls"))
        .execute(ExecutionRequest(model="m", inputs=inputs))
        .unwrap()
        .outputs.values()
    )
    assert turned.argmax(axis=1).tolist() == [0, 1]
    assert turned.max(axis=1).min() > 0.9
