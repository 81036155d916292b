"""J. S. Bach, Prelude in C major, BWV 846, on a harp: 35 bars of broken chords."""

from __future__ import annotations

import numpy as np

from .effects import Sound, convolve, fade, place, room, tone_filter
from .instruments import harp_body, string
from .score import hz, keys

RATE = 44_100
SIXTEENTH = 60 / 97 / 4

CHORDS = """
C4 E4 G4 C5 E5   | C4 D4 A4 D5 F5  | B3 D4 G4 D5 F5  | C4 E4 G4 C5 E5  | C4 E4 A4 E5 A5   | C4 D4 F#4 A4 D5
B3 D4 G4 D5 G5   | B3 C4 E4 G4 C5  | A3 C4 E4 G4 C5  | D3 A3 D4 F#4 C5 | G3 B3 D4 G4 B4   | G3 Bb3 E4 G4 C#5
F3 A3 D4 A4 D5   | F3 Ab3 D4 F4 B4 | E3 G3 C4 G4 C5  | E3 F3 A3 C4 F4  | D3 F3 A3 C4 F4   | G2 D3 G3 B3 F4
C3 E3 G3 C4 E4   | C3 G3 Bb3 C4 E4 | F2 F3 A3 C4 E4  | F#2 C3 A3 C4 Eb4 | Ab2 F3 B3 C4 D4 | G2 F3 G3 B3 D4
G2 E3 G3 C4 E4   | G2 D3 G3 C4 F4  | G2 D3 G3 B3 F4  | G2 Eb3 A3 C4 F#4 | G2 E3 G3 C4 G4  | G2 D3 G3 C4 F4
G2 D3 G3 B3 F4   | C2 C3 G3 Bb3 E4
"""
FIGURE = (0, 1, 2, 3, 4, 2, 3, 4) * 2
CLOSE = (
    "C2 C3 F3 A3 C4 F4 C4 A3 C4 A3 F3 A3 F3 D3 F3 D3",
    "C2 B2 G4 B4 D5 F5 D5 B4 D5 B4 G4 B4 D4 F4 E4 D4",
)
LAST = "C2 C3 E4 G4 C5"
SWELL = {1: 0.55, 4: 0.5, 7: 0.66, 11: 0.5, 12: 0.72, 14: 0.66, 19: 0.45, 22: 0.78, 23: 0.82, 25: 0.65, 28: 0.95,
         29: 0.9, 32: 0.62, 34: 0.55, 35: 0.5}  # fmt: skip
"""Loudness at some bars; between them it grows and fades in a line."""


def bars() -> list[list[int]]:
    """The sixteenths of bars 1 to 34, as keys."""
    chords = [keys(chord) for chord in CHORDS.strip().replace("\n", "|").split("|")]
    return [[chord[index] for index in FIGURE] for chord in chords] + [keys(bar) for bar in CLOSE]


def render() -> Sound:
    """The whole piece, not yet mastered; stereo."""
    rng = np.random.default_rng(846)
    dry = np.zeros((round(102 * RATE), 2))

    def play(at: float, key: int, force: float, until: float, damp: float = 0.45) -> None:
        layer = float(np.ceil(force * 5) / 5)
        sound = string(hz(key), layer, RATE, 9.0 if until - at > 4 else 3.7)[: round((until - at + damp) * RATE)]
        pan = np.interp(key, [36, 62, 81], [-0.3, 0.0, 0.3])
        sides = np.array([1 - pan, 1 + pan]) / np.sqrt(1 + pan * pan)
        place(dry, fade(sound, RATE, 0, damp) * sides, round(at * RATE), gain=0.25 + 0.75 * force)

    now = 0.03
    for number, bar in enumerate(bars(), start=1):
        swell = np.interp(number, list(SWELL), list(SWELL.values()))
        slower = {32: 1.03, 33: 1.1, 34: 1.22}.get(number, 1 + 0.025 * np.cos(2 * np.pi * (number - 1) / 4))
        lengths = SIXTEENTH * slower * np.where(np.arange(16) % 8 == 0, 1.09, 0.987)
        if number == 34:
            lengths *= np.linspace(0.85, 1.45, 16)
        starts = now + np.concatenate([[0], np.cumsum(lengths)[:-1]])
        end = now + float(lengths.sum())
        for index, (at, key) in enumerate(zip(starts, bar, strict=True)):
            voice = (1.0, 0.8, 0.6, 0.66, 0.78, 0.56, 0.62, 0.74)[index % 8] * (1.0 if index < 8 else 0.9)
            force = float(np.clip(voice * swell * 1.2 * rng.normal(1, 0.06), 0.1, 1))
            again = next((later for later in range(index + 1, 16) if bar[later] == key), None)
            until, damp = (end, 0.45) if again is None else (float(starts[again]), 0.06)
            play(max(0.03, at + float(rng.normal(0, 0.004))), key, force, until, damp)
        now = end
    for index, key in enumerate(keys(LAST)):
        play(now + 0.16 * index, key, 0.72 - 0.05 * index, now + 8.6)

    body = 0.9 * dry + 0.05 * convolve(dry, harp_body(RATE))
    hall = convolve(tone_filter(body, RATE, "highpass", 120), room(RATE, 2.4, 0.4, seed=21))
    whole = tone_filter(body + 0.22 * hall, RATE, "highpass", 35)
    return fade(whole[: round((now + 8) * RATE)], RATE, 0.0, 3.0)
