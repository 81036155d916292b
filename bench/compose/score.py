"""Pitches and tunes as text: "F#4" and "G4/1 B4/.5 r/2.5"."""

from __future__ import annotations

from typing import NamedTuple

STEPS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
STRENGTHS = {".": 0.0, "o": 0.45, "x": 0.7, "X": 1.0}


class Note(NamedTuple):
    """A note of a tune: start and length in beats, pitch as a MIDI key number."""

    start: float
    beats: float
    key: int


def key(name: str) -> int:
    """The MIDI key of a pitch such as "C4" (60), "Bb3" or "F#5"."""
    accidental = {"#": 1, "b": -1}.get(name[1], 0)
    return 12 * (int(name[-1]) + 1) + STEPS[name[0]] + accidental


def keys(names: str) -> list[int]:
    """The keys of several pitches separated by spaces."""
    return [key(name) for name in names.split()]


def hz(midi_key: float) -> float:
    """Frequency in equal temperament, A4 = 440 Hz."""
    return float(440.0 * 2 ** ((midi_key - 69) / 12))


def tune(text: str) -> list[Note]:
    """Notes of "pitch/beats" words; `r` is a rest; every bar, between two `|`, must hold four beats."""
    notes, beat = [], 0.0
    for number, bar in enumerate(text.split("|")):
        for word in bar.split():
            pitch, beats = word.split("/")
            if pitch != "r":
                notes.append(Note(beat, float(beats), key(pitch)))
            beat += float(beats)
        if beat != 4 * (number + 1):
            raise ValueError(f"bar {number + 1} does not hold four beats: {bar}")
    return notes


def steps(pattern: str) -> list[tuple[int, float]]:
    """(sixteenth, strength) of the strokes in a drum pattern such as "X...x.o."."""
    return [(index, STRENGTHS[mark]) for index, mark in enumerate(pattern) if mark != "."]
