"""Night Drive: forty bars of synthwave in E minor at 108 beats a minute."""

from __future__ import annotations

from functools import partial

import numpy as np
from scipy import signal

from .effects import Sound, convolve, fade, ping_pong, place, room, sweep, tone_filter, widen
from .instruments import bell, cymbal, kick, pad, pluck, saw, snare, tom
from .score import Note, hz, key, keys, steps, tune

RATE = 48_000
BEAT = 60 / 108
BAR = 4 * BEAT
BARS = 40
SECONDS = BARS * BAR + 5.0

CHORDS = {  # bass root, pad voicing
    "C": ("C2", "E3 G3 B3 D4"),
    "D": ("D2", "F#3 A3 D4 E4"),
    "Bm": ("B1", "F#3 A3 B3 D4"),
    "Em": ("E2", "G3 B3 D4 F#4"),
    "Am": ("A1", "G3 A3 C4 E4"),
    "G": ("G1", "G3 B3 D4 F#4"),
    "B": ("B1", "F#3 A3 B3 D#4"),
    "E": ("E2", "G3 B3 E4 F#4"),
}
SECTIONS = (
    "C D Bm Em",  # bar 0, intro
    "C D Bm Em",  # 4, build
    "C D Bm Em C D Em Em",  # 8, verse
    "Am D G C Am Bm C D",  # 16, chorus
    "C Bm Am B",  # 24, break
    "C D Bm Em C D Em Em",  # 28, return
    "C D E E",  # 36, outro
)
HARMONY = [chord for section in SECTIONS for chord in section.split()]
VERSE = """G4/1 B4/.5 D5/1.5 B4/1 | A4/1 F#4/.5 A4/1.5 B4/.5 C5/.5 | D5/1.5 B4/.5 A4/1 F#4/1 | G4/2.5 r/.5 E4/.5 F#4/.5
    | G4/1 B4/.5 D5/1.5 E5/1 | F#5/1.5 E5/.5 D5/1 A4/1 | B4/1.5 D5/.5 E5/1.5 D5/.5 | E5/3 r/1"""
CHORUS = """E5/.75 D5/.75 C5/.5 B4/1 A4/1 | D5/.75 C5/.75 A4/.5 F#4/2 | B4/.75 C5/.75 D5/.5 G5/1.5 F#5/.5
    | E5/2.5 r/.5 D5/.5 E5/.5 | G5/1.5 E5/.5 C5/1 E5/1 | F#5/1.5 D5/.5 B4/1 D5/1 | E5/1 G5/1 B5/1.5 A5/.5
    | A5/1 F#5/1 D5/1 F#5/1"""
BREAK = "G5/1.5 F#5/.5 E5/2 | D5/1.5 E5/.5 F#5/1 B4/1 | C5/1.5 D5/.5 E5/1 G5/1 | F#5/1.5 E5/.5 D#5/2"
THIRDS = """E4/1 G4/.5 B4/1.5 G4/1 | F#4/1 D4/.5 F#4/1.5 G4/.5 A4/.5 | B4/1.5 G4/.5 F#4/1 D4/1 | E4/2.5 r/.5 B3/.5 D4/.5
    | E4/1 G4/.5 B4/1.5 B4/1 | D5/1.5 C5/.5 A4/1 F#4/1 | G4/1.5 B4/.5 B4/1.5 A4/.5 | B4/3 r/1"""
OUTRO = "G4/1 B4/.5 D5/1.5 B4/1 | A4/1.5 F#4/.5 D4/1 F#4/1"
VOICES = (
    (VERSE, 8, 0.42, 0.0),
    (CHORUS, 16, 0.46, 0.0),
    (VERSE, 28, 0.44, -0.2),
    (THIRDS, 28, 0.3, 0.45),
    (OUTRO, 36, 0.32, 0.0),
)
"""Tune, bar at which it begins, level, pan."""

KICK, HALF, ROLL = "X...X...X...X...", "X.........x.....", "X.......X......."
BACKBEAT, LATE = "....X.......X...", "........X......."
HATS, BUSY = "x.o.x.o.x.o.x.o.", "xoxoxoxoxoxoxoxo"
DRUMS = [  # from bar, to bar, kick, snare, closed hat, open hat
    (0, 4, "................", "................", "o...o...o...o...", "................"),
    (4, 8, HALF, LATE, HATS, "................"),
    (8, 16, KICK, BACKBEAT, HATS, "..............x."),
    (16, 24, KICK, BACKBEAT, BUSY, "..x...x...x...x."),
    (26, 28, ROLL, "................", "o...o...o...o...", "................"),
    (28, 36, KICK, BACKBEAT, BUSY, "..x...x...x...x."),
    (36, 38, HALF, LATE, HATS, "................"),
]
FILLS = {
    7: "........ooxxxxXX",
    15: "..........x.x.XX",
    23: "........xxx.xx.X",
    27: "ooooooooxxxxXXXX",
    35: "........x.x.xXxX",
}
CRASHES = (4, 8, 16, 28, 36, 38)


def curve(*points: tuple[float, float]) -> Sound:
    """A line through (bar, value) points, one value per sample."""
    bars, values = zip(*points, strict=True)
    return np.interp(np.arange(round(SECONDS * RATE)) / RATE / BAR, bars, values)


def silence() -> Sound:
    return np.zeros((round(SECONDS * RATE), 2))


def sample(beat: float, late: float = 0.0) -> int:
    """The sample at which a beat falls, `late` seconds behind it."""
    return max(0, round((beat * BEAT + late) * RATE))


def drums() -> tuple[Sound, list[int]]:
    """The kit, and where its kicks fall."""
    rng = np.random.default_rng(108)
    kit, kicks, skins = silence(), [], silence()
    kick_sound, closed = kick(RATE), [cymbal(RATE, 0.07, 7500, seed) for seed in range(6)]
    snares, opened = [snare(RATE, seed) for seed in range(4)], cymbal(RATE, 0.3, 6500, 9)
    for first, last, *patterns in DRUMS:
        for bar in range(first, last):
            kick_steps, snare_steps, hat_steps, open_steps = (steps(pattern) for pattern in patterns)
            fill = steps(FILLS.get(bar, ""))
            for step, strength in kick_steps:
                kicks.append(sample(4 * bar + step / 4))
                place(kit, kick_sound, kicks[-1], 0.85 * strength)
            for step, strength in snare_steps:
                if not fill or step < fill[0][0]:
                    place(skins, snares[bar % 4], sample(4 * bar + step / 4, 0.004), 0.62 * strength)
            for step, strength in fill:
                drop = (step - fill[0][0]) / 16
                place(skins, tom(210 - 150 * drop, RATE), sample(4 * bar + step / 4), 0.7 * strength, 0.7 - 2 * drop)
            for step, strength in hat_steps:
                late = 0.006 * (step % 2) + rng.normal(0, 0.0015)
                hat = closed[rng.integers(6)]
                place(kit, hat, sample(4 * bar + step / 4, late), 0.17 * strength * rng.uniform(0.8, 1.1))
            for step, strength in open_steps:
                place(kit, opened, sample(4 * bar + step / 4), 0.13 * strength)
    for bar in CRASHES:
        place(kit, cymbal(RATE, 2.6, 4200, 50 + bar), sample(4 * bar), 0.17)
    gate = convolve(skins, fade(room(RATE, 1.6, 0.8, seed=3)[: round(0.26 * RATE)], RATE, 0, 0.05))
    return kit + skins + 0.35 * gate, kicks


def duck(kicks: list[int], depth: float) -> Sound:
    """A gain that dips at each kick and swells back in a third of a second, shape (n, 1)."""
    dip = depth * np.exp(-((np.arange(round(0.4 * RATE)) / RATE / 0.14) ** 2))
    gain = np.ones((round(SECONDS * RATE), 1))
    for at in kicks:
        part = gain[at : at + len(dip), 0]
        np.minimum(part, 1 - dip[: len(part)], out=part)
    return gain


def pads() -> Sound:
    """The chords, their filter opening towards each chorus."""
    bus = silence()
    for bar, name in enumerate(HARMONY):
        if bar == BARS - 1:
            continue
        length = BAR * 2 + 4.5 if bar == BARS - 2 else BAR + 0.33
        for index, note in enumerate(keys(CHORDS[name][1])):
            place(bus, pad(hz(note), RATE, length, 10 * bar + index), sample(4 * bar, -0.03), 0.5)
    octaves = curve((0, 9.2), (4, 9.8), (8, 11.2), (9, 10.4), (16, 11), (20, 11.8), (24, 10.8), (25, 9), (28, 12.4),
                    (29, 11.2), (36, 11.8), (40, 9), (43, 7.5))  # fmt: skip
    wave = 0.25 * np.sin(2 * np.pi * np.arange(len(bus)) / RATE / (2 * BAR))
    return sweep(tone_filter(bus, RATE, "highpass", 170, 1), RATE, 2 ** (octaves + wave))


def bass() -> Sound:
    """Eighths on the root with octaves; long notes where the drums rest."""
    bus = silence()
    for bar, name in enumerate(HARMONY):
        root = key(CHORDS[name][0])
        if bar < 4 or 24 <= bar < 26 or bar >= 38:
            continue
        for eighth in range(8):
            up = 12 if eighth in (3, 6) else 0
            accent = 1.0 if eighth % 2 else 0.85
            sound = pluck(hz(root + up), RATE, 0.92 * BEAT / 2 * 1.15, 900 if bar < 8 else 1500, 1.3)
            place(bus, sound, sample(4 * bar + eighth / 2), 0.75 * accent)
            place(bus, sub(root, BEAT / 2), sample(4 * bar + eighth / 2), 0.42)
    for bar in (0, 1, 2, 3, 24, 25, 38):
        last = bar == 38
        root = key(CHORDS[HARMONY[bar]][0])
        place(bus, sub(root, (12 if last else 4.1) * BEAT, 5.0 if last else 0.3), sample(4 * bar), 0.2)
    return np.tanh(1.3 * bus)


def sub(note: int, seconds: float, release: float = 0.12) -> Sound:
    t = np.arange(round(seconds * RATE)) / RATE
    wave = np.sin(2 * np.pi * hz(note) * t) + 0.3 * np.sin(4 * np.pi * hz(note) * t)
    return fade(wave, RATE, 0.006, release)


def arpeggio() -> Sound:
    """Sixteenths up and down the chord, left and right in turn."""
    bus = silence()
    loud = partial(
        np.interp, xp=[0, 4, 8, 9, 24, 25, 27.9, 28, 36, 40], fp=[0.8, 0.8, 0.6, 0.4, 0.45, 0.35, 0.9, 0.5, 0.6, 0.3]
    )
    rng = np.random.default_rng(4)
    for bar, name in enumerate(HARMONY):
        chord = keys(CHORDS[name][1])
        ladder = [note + 12 for note in chord] + [note + 24 for note in chord[:2]]
        for step in range(16 if bar < 38 else 16 - 8 * (bar - 37)):
            note = ladder[(0, 2, 1, 3, 2, 4, 3, 5, 4, 3, 5, 2, 3, 1, 2, 0)[step]]
            peak = float(np.interp(bar, [0, 8, 24, 25, 27, 28, 36, 39], [1200, 4200, 3500, 800, 4000, 3800, 3000, 900]))
            force = loud(bar + step / 16) * (1.0 if step % 4 == 0 else 0.72) * rng.uniform(0.9, 1.05)
            place(
                bus,
                pluck(hz(note), RATE, 0.28, round(peak, -2), 1.6),
                sample(4 * bar + step / 4),
                0.42 * force,
                (-0.7, 0.7)[step % 2],
            )
    return bus + 0.8 * ping_pong(bus, RATE, 0.75 * BEAT, 0.5)


def lead(notes: list[Note], phase: float) -> Sound:
    """One voice that glides from note to note, with vibrato on what it holds; mono, over the notes only."""
    n = round((notes[-1].start + notes[-1].beats) * BEAT * RATE + 0.5 * RATE)
    pitch, gate, held = np.full(n, float(notes[0].key)), np.zeros(n), np.zeros(n)
    for note in notes:
        begin, end = sample(note.start), sample(note.start + note.beats)
        pitch[begin:] = note.key
        gate[begin + round(0.012 * RATE) : end - round(0.03 * RATE)] = 1
        held[begin:end] = np.clip(np.arange(end - begin) / RATE / 0.5 - 0.5, 0, 1)

    def smooth(values: Sound, seconds: float) -> Sound:
        pole = np.exp(-1 / (seconds * RATE))
        start = signal.lfiltic([1 - pole], [1, -pole], values[:1])
        return signal.lfilter([1 - pole], [1, -pole], values, zi=start)[0]

    pitch = smooth(pitch, 0.014) + 0.22 * held * np.sin(2 * np.pi * 5.4 * np.arange(n) / RATE)
    freq = 440 * 2 ** ((pitch - 69) / 12)
    raw = saw(freq * 1.0025, RATE, phase) + saw(freq * 0.9975, RATE, 0.37)
    square = saw(freq, RATE) - saw(freq, RATE, 0.5)
    level = smooth(gate, 0.018)
    return sweep(0.4 * raw + 0.35 * square, RATE, 700 + 2.2 * freq + 1500 * smooth(gate, 0.08), 1.1) * level


def leads() -> Sound:
    bus = silence()
    for text, bar, level, pan in VOICES:
        place(bus, lead(tune(text), bar / 40), sample(4 * bar), level, pan)
    for note in tune(BREAK):
        place(bus, bell(hz(note.key), RATE, note.beats * BEAT + 1.2), sample(4 * 24 + note.start), 0.36, 0.15)
    for index, note in enumerate(keys("E4 B4 F#5 G5 B5")):
        place(bus, bell(hz(note), RATE, 4.5), sample(4 * 38 + 0.5 * index), 0.22, 0.4 * (-1) ** index)
    return bus + 0.5 * ping_pong(bus, RATE, 0.75 * BEAT, 0.42)


def risers() -> Sound:
    """Noise that climbs into bars 8, 16 and 28."""
    bus = silence()
    for bar, length in ((8, 2), (16, 1), (28, 2)):
        n = round(length * BAR * RATE)
        rise = np.linspace(0, 1, n)
        noise = np.random.default_rng(bar).standard_normal((n, 2)) * (rise**2)[:, None]
        air = sweep(tone_filter(noise, RATE, "highpass", 500), RATE, 500 * 2 ** (4.3 * rise), 2.5)
        place(bus, fade(air, RATE, 0.05, 0.02), sample(4 * bar) - n, 0.13)
    return bus


def render() -> Sound:
    """The whole piece, not yet mastered; stereo."""
    kit, kicks = drums()
    soft, deep = duck(kicks, 0.35), duck(kicks, 0.7)
    chords, tune_bus, arp = pads(), leads(), arpeggio()
    send = 0.35 * chords * deep + 0.3 * tune_bus + 0.35 * arp + 0.4 * risers() + 0.03 * kit
    plate = convolve(tone_filter(send, RATE, "highpass", 250), room(RATE, 2.1, 0.55, seed=9))
    mix = 1.35 * kit + 0.6 * bass() * soft + 0.62 * chords * deep + 0.8 * tune_bus * (0.4 + 0.6 * soft) + arp * deep
    mix += risers() + 0.42 * plate * soft
    glued = np.tanh(0.55 * widen(tone_filter(mix, RATE, "highpass", 28), RATE, 1.6))
    return fade(glued, RATE, 0.0, 3.5)
