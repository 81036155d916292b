"""The sounds themselves: a plucked string, saw-tooth voices, and a drum kit."""

from __future__ import annotations

from functools import cache

import numpy as np
from scipy import signal

from .effects import Sound, fade, place, sweep, tone_filter


def mode(n: int, rate: int, freq: float, level: float, t60: float, phase: float) -> Sound:
    """A dying sine, as the impulse response of a two-pole resonator."""
    w, r = 2 * np.pi * freq / rate, 10 ** (-3 / (t60 * rate))
    impulse = np.zeros(n)
    impulse[0] = level
    return signal.lfilter([np.sin(phase), r * np.sin(w - phase)], [1, -2 * r * np.cos(w), r * r], impulse)


@cache
def string(freq: float, force: float, rate: int, seconds: float) -> Sound:
    """A gut string plucked a quarter of the way along: stiff partials, each in two planes that beat and die apart."""
    rng = np.random.default_rng(round(freq * 10))
    n = round(seconds * rate)
    out = np.zeros((n, 2))
    base = 12 * (130 / freq) ** 0.55
    for k in range(1, 48):
        partial = k * freq * np.sqrt(1 + 9e-5 * k * k)
        if partial > min(12000, 0.45 * rate):
            break
        level = np.sin(np.pi * k * 0.23) / k**0.6 * np.exp(-partial / (1300 + 4500 * force))
        phase = rng.uniform(0, 2 * np.pi)
        t60 = base / (1 + 0.25 * (k - 1) + (partial / 4000) ** 2)
        for plane, (share, cents, longer) in enumerate(((0.85, 0.0, 0.4), (0.42, 0.9, 1.6))):
            freq_here = partial * 2 ** (cents / 1200)
            sound = mode(n, rate, freq_here, level * share, t60 * longer, phase + 1.5 * plane)
            place(out, sound, 0, pan=(-0.12, 0.16)[plane])
    finger = rng.standard_normal(n) * np.exp(-np.arange(n) / (0.007 * rate))
    place(out, tone_filter(finger, rate, "bandpass", [700, 3500], 1), 0, gain=0.12 * force)
    early = out[: round(0.4 * rate)]
    return fade(out / np.sqrt((early**2).mean()) * 0.1 * (freq / 220) ** 0.25, rate, 0.0025, 0.3)


@cache
def harp_body(rate: int) -> Sound:
    """The sound board's short answer: eighty wood modes between 80 Hz and 2.5 kHz."""
    rng = np.random.default_rng(5)
    n = round(0.25 * rate)
    out = np.zeros((n, 2))
    for freq in np.geomspace(80, 2500, 80) * rng.uniform(0.97, 1.03, 80):
        ring = mode(n, rate, freq, rng.uniform(0.3, 1), 0.1 / (1 + freq / 900), rng.uniform(0, 2 * np.pi))
        place(out, ring, 0, pan=rng.uniform(-0.6, 0.6))
    return out / np.sqrt((out**2).sum(axis=0))


def saw(freq: Sound, rate: int, phase: float = 0.0) -> Sound:
    """A saw-tooth whose step is rounded (PolyBLEP) against aliasing; `freq` in Hz, one value per sample."""
    dt = freq / rate
    at = (phase + np.cumsum(dt)) % 1.0
    rising, falling = at < dt, at > 1 - dt
    out = 2 * at - 1
    x = at[rising] / dt[rising]
    out[rising] -= 2 * x - x * x - 1
    x = (at[falling] - 1) / dt[falling]
    out[falling] -= x * x + 2 * x + 1
    return out


def pad(freq: float, rate: int, seconds: float, seed: int) -> Sound:
    """Six saws a few cents apart across the whole width."""
    rng = np.random.default_rng(seed)
    n = round(seconds * rate)
    out = np.zeros((n, 2))
    for cents, pan in zip((-11, -7, -2, 3, 6, 12), (-0.9, 0.6, -0.3, 0.3, -0.6, 0.9), strict=True):
        place(out, saw(np.full(n, freq * 2 ** (cents / 1200)), rate, rng.uniform()), 0, 0.17, pan)
    return fade(out, rate, 0.12, 0.35)


@cache
def pluck(freq: float, rate: int, seconds: float, peak: float, q: float) -> Sound:
    """Two saws, one of them an octave down, through a filter that snaps shut from `peak` Hz."""
    n = round(seconds * rate)
    t = np.arange(n) / rate
    raw = 0.6 * saw(np.full(n, freq * 1.002), rate) + 0.5 * saw(np.full(n, freq / 2), rate, 0.3)
    closed = sweep(raw, rate, 180 + freq + peak * np.exp(-t / (0.3 * seconds)), q)
    return fade(closed * np.exp(-t / (0.6 * seconds)), rate, 0.002, 0.03)


def bell(freq: float, rate: int, seconds: float) -> Sound:
    """An electric piano: one sine bends another, the more so the younger the note."""
    t = np.arange(round(seconds * rate)) / rate
    tine = 0.5 * np.exp(-t / 0.08) * np.sin(2 * np.pi * 14 * freq * t) if freq < 700 else 0.0
    body = np.sin(2 * np.pi * freq * t + 1.6 * np.exp(-t / 0.5) * np.sin(2 * np.pi * freq * t + tine))
    return fade(body * np.exp(-t / (0.45 * seconds)), rate, 0.003, 0.1)


def kick(rate: int) -> Sound:
    """A sine that falls from 190 to 47 Hz, and a click."""
    t = np.arange(round(0.34 * rate)) / rate
    phase = 2 * np.pi * np.cumsum(47 + 143 * np.exp(-t / 0.028)) / rate
    click = 0.35 * np.exp(-t / 0.0015) * np.sin(2 * np.pi * 2600 * t)
    return fade(np.tanh(1.8 * np.exp(-t / 0.13) * np.sin(phase)) + click, rate, 0.0005, 0.06)


def tom(freq: float, rate: int) -> Sound:
    """A smaller, slower kick."""
    t = np.arange(round(0.4 * rate)) / rate
    phase = 2 * np.pi * np.cumsum(freq * (1 + 0.7 * np.exp(-t / 0.05))) / rate
    return fade(np.exp(-t / 0.14) * np.sin(phase), rate, 0.001, 0.08)


def snare(rate: int, seed: int) -> Sound:
    """Two modes of the skin under the wires' noise, and three claps close together."""
    n = round(0.3 * rate)
    t = np.arange(n) / rate
    noise = np.random.default_rng(seed).standard_normal((n, 2))
    skin = np.exp(-t / 0.045) * (np.sin(2 * np.pi * 188 * t) + 0.6 * np.sin(2 * np.pi * 331 * t))
    clap = sum(np.where(t >= gap, np.exp(-(t - gap) / (0.006 if gap < 0.02 else 0.05)), 0) for gap in (0, 0.011, 0.022))
    wires = tone_filter(noise, rate, "bandpass", [1500, 9500]) * (np.exp(-t / 0.075) * 0.7)[:, None]
    hands = tone_filter(noise[:, ::-1], rate, "bandpass", [900, 2400]) * (0.45 * np.asarray(clap))[:, None]
    return fade(wires + hands + 0.7 * skin[:, None], rate, 0.0005, 0.05)


def cymbal(rate: int, seconds: float, edge: float, seed: int) -> Sound:
    """Six clashing square waves and noise above `edge` Hz: a closed hat at 0.06 s, a crash at 2 s."""
    n = round(seconds * rate)
    t = np.arange(n) / rate
    metal = sum(np.sign(np.sin(2 * np.pi * f * t)) for f in (2052, 3001, 3697, 4115, 5409, 8003))
    noise = np.random.default_rng(seed).standard_normal((n, 2))
    raw = tone_filter(noise + 0.12 * np.asarray(metal)[:, None], rate, "highpass", edge, 3)
    return fade(raw * np.exp(-t / (0.28 * seconds))[:, None], rate, 0.0008, 0.3 * seconds)
