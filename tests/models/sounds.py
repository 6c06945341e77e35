"""Sounds made by rule: a voice that a speech detector takes for one, a tone, a played note."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np

RATE_HZ = 16_000
# Resonances of five vowels in Hz: three after G. Peterson and H. Barney (JASA 24, 1952), and a typical fourth.
VOWELS = ((730, 1090, 2440, 3400), (270, 2290, 3010, 3600), (530, 1840, 2480, 3500), (300, 870, 2240, 3300),
          (570, 840, 2410, 3400))  # fmt: skip
BANDWIDTHS = (60, 90, 120, 180)


def voice(syllables: int, rng: np.random.Generator) -> np.ndarray:
    """Return `syllables` spoken ones of 0.27 s each, FP32 in -1..1: a hiss, a vowel with a moving pitch, a gap."""
    parts = []
    for number in range(syllables):
        hiss = 0.015 * np.diff(rng.standard_normal(RATE_HZ * 6 // 100), prepend=0.0)
        vowel = _vowel(VOWELS[number % len(VOWELS)], 0.18, 120 + 10 * (number % 3), rng)
        parts += [hiss, 0.5 * vowel / np.abs(vowel).max(), np.zeros(RATE_HZ * 3 // 100)]
    return np.concatenate(parts).astype(np.float32)


def _vowel(resonances: tuple[int, ...], seconds: float, pitch_hz: float, rng: np.random.Generator) -> np.ndarray:
    """Return pulses of the voice through the resonances of the mouth (a cascade formant synthesizer)."""
    n = int(seconds * RATE_HZ)
    position = np.arange(n) / n
    wobble = 1 + 0.01 * rng.standard_normal(n).cumsum() / np.sqrt(n)
    cycles = np.cumsum(pitch_hz * (1 + 0.15 * np.sin(np.pi * position)) * wobble / RATE_HZ)
    sound = np.diff(np.floor(cycles), prepend=0.0) + 0.002 * rng.standard_normal(n)
    for frequency, bandwidth in zip(resonances, BANDWIDTHS, strict=True):
        sound = _resonate(sound, frequency, bandwidth)
    return np.diff(sound, prepend=0.0) * np.sqrt(np.sin(np.pi * position))


def _resonate(sound: np.ndarray, frequency: float, bandwidth: float) -> np.ndarray:
    radius = np.exp(-np.pi * bandwidth / RATE_HZ)
    first, second = float(2 * radius * np.cos(2 * np.pi * frequency / RATE_HZ)), float(-radius * radius)
    out, last, before = [], 0.0, 0.0
    for value in sound.tolist():
        last, before = (1 - first - second) * value + first * last + second * before, last
        out.append(last)
    return np.array(out)


def silence(seconds: float, rng: np.random.Generator) -> np.ndarray:
    """Return the faint noise of a quiet room, FP32."""
    return (0.0005 * rng.standard_normal(int(seconds * RATE_HZ))).astype(np.float32)


def note(frequency_hz: float, samples: int, rate_hz: int, harmonics: int = 1) -> np.ndarray:
    """Return a note with its first `harmonics` partials, each weaker than the one before, FP32."""
    time = np.arange(samples) / rate_hz
    partials = [np.sin(2 * np.pi * frequency_hz * k * time) / k for k in range(1, harmonics + 1)]
    return (0.3 * sum(partials)).astype(np.float32)


def write_wav(path: Path, sound: np.ndarray) -> None:
    """Write FP32 in -1..1 as 16 bit, mono, 16 kHz."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE_HZ)
        file.writeframes((sound * 32767).astype("<i2").tobytes())


def read_wav(path: Path) -> np.ndarray:
    """Return the sound of a file as `write_wav` writes it, FP32 in -1..1."""
    with wave.open(str(path), "rb") as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, RATE_HZ)
        return np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float32) / 32768
