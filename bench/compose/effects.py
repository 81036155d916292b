"""What happens to a sound after it is made: placing, filtering, echo, reverb, limiting.

A mono sound is an array of shape (n,), a stereo one of shape (n, 2); full scale is 1.0.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, signal

Sound = NDArray[np.float64]


def place(bus: Sound, sound: Sound, start: int, gain: float = 1.0, pan: float = 0.0) -> None:
    """Add `sound` to the stereo `bus` from sample `start` on; `pan` runs from -1 (left) to 1, at equal power."""
    if start >= len(bus):
        return
    angle = (pan + 1) * np.pi / 4
    stereo = sound if sound.ndim == 2 else np.outer(sound, [np.cos(angle), np.sin(angle)]) * np.sqrt(2)
    piece = stereo[: len(bus) - start]
    bus[start : start + len(piece)] += gain * piece


def fade(sound: Sound, rate: int, attack: float, release: float) -> Sound:
    """The sound with a raised-cosine ramp at each end, in seconds."""
    envelope = np.ones(len(sound))
    for seconds, at_end in ((attack, False), (release, True)):
        ramp = 0.5 - 0.5 * np.cos(np.linspace(0, np.pi, min(len(sound), round(seconds * rate))))
        if at_end:
            envelope[len(sound) - len(ramp) :] *= ramp[::-1]
        else:
            envelope[: len(ramp)] *= ramp
    return sound * (envelope if sound.ndim == 1 else envelope[:, None])


def tone_filter(sound: Sound, rate: int, kind: str, edge: float | list[float], order: int = 2) -> Sound:
    """A Butterworth filter; `kind` as scipy names it ("lowpass", "highpass", "bandpass")."""
    return signal.sosfilt(signal.butter(order, edge, kind, fs=rate, output="sos"), sound, axis=0)


def sweep(sound: Sound, rate: int, cutoff: Sound, q: float = 0.9, block: int = 64) -> Sound:
    """A resonant low-pass whose cutoff (Hz, one value per sample) moves; the biquad of the Audio EQ Cookbook."""
    out = np.empty_like(sound)
    state = np.zeros((2, *sound.shape[1:]))
    for start in range(0, len(sound), block):
        w = 2 * np.pi * min(float(cutoff[start]), 0.45 * rate) / rate
        alpha, cosine = np.sin(w) / (2 * q), np.cos(w)
        b = np.array([1 - cosine, 2 * (1 - cosine), 1 - cosine]) / 2 / (1 + alpha)
        a = np.array([1 + alpha, -2 * cosine, 1 - alpha]) / (1 + alpha)
        part = slice(start, start + block)
        out[part], state = signal.lfilter(b, a, sound[part], axis=0, zi=state)
    return out


def ping_pong(sound: Sound, rate: int, seconds: float, feedback: float, repeats: int = 7) -> Sound:
    """Echoes only: they change sides and grow darker at each repeat."""
    out, echo, gap = np.zeros_like(sound), sound, round(seconds * rate)
    for _ in range(repeats):
        echo = feedback * tone_filter(np.roll(echo, gap, axis=0)[:, ::-1], rate, "lowpass", 4500, 1)
        echo[:gap] = 0
        out += echo
    return out


def room(rate: int, seconds: float, bright: float, seed: int) -> Sound:
    """A stereo impulse response: a few early reflections, then noise whose treble dies before its bass.

    `seconds` is the time to -60 dB of the middle; at the top it is `bright` times that.
    """
    rng = np.random.default_rng(seed)
    n = round(seconds * 1.3 * rate)
    t = np.arange(n) / rate
    edges = np.geomspace(90, min(16000, 0.4 * rate), 7)
    response = np.zeros((n, 2))
    for low, high, share in zip(edges, edges[1:], np.linspace(1.15, bright, 6), strict=False):
        band = tone_filter(rng.standard_normal((n, 2)), rate, "bandpass", [low, high])
        response += band * (10 ** (-3 * t / (seconds * share)))[:, None]
    response *= np.minimum(1, t / 0.03)[:, None]
    response /= np.sqrt((response**2).sum(axis=0))
    for tap in range(14):
        at = round(rng.uniform(0.006, 0.065) * rate)
        response[at, tap % 2] += rng.choice([-1, 1]) * 0.25 * 0.9**tap
    return response


def convolve(sound: Sound, response: Sound) -> Sound:
    """The stereo sound in the room, as long as it went in."""
    return signal.oaconvolve(sound, response, axes=0)[: len(sound)]


def widen(sound: Sound, rate: int, amount: float) -> Sound:
    """More of what differs between the sides, above 200 Hz; below it, none, so that the bass stays in the middle."""
    middle, side = sound.mean(axis=1), (sound[:, 0] - sound[:, 1]) / 2
    side = amount * tone_filter(side, rate, "highpass", 200)
    return np.stack([middle + side, middle - side], axis=1)


def limit(sound: Sound, ceiling: float, rate: int) -> Sound:
    """Keep the true peak, measured at four times the rate, below `ceiling` by turning down smoothly before it comes."""
    oversampled = np.abs(signal.resample_poly(sound, 4, 1, axis=0)).max(axis=1)
    peak = oversampled[: 4 * len(sound)].reshape(-1, 4).max(axis=1)
    span = round(0.015 * rate) | 1
    wanted = ndimage.minimum_filter1d(np.minimum(1, ceiling / np.maximum(peak, 1e-9)), 2 * span + 1)
    window = np.hanning(2 * span + 1)
    gain = ndimage.convolve1d(wanted, window / window.sum(), mode="nearest")
    return sound * gain[:, None]
