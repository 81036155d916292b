"""The built-in pieces, decoded by the real FFmpeg: what pieces.json says of them is so, and they are fit to hear."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from array import array
from importlib.resources import as_file, files
from typing import Any

import imageio_ffmpeg
from twisted.trial.unittest import SynchronousTestCase

PIECES = files("audiosvc.sources") / "pieces"
AU_FLOAT = 6
QUIET = 10 ** (-60 / 20)


def listed() -> list[dict[str, Any]]:
    return json.loads((PIECES / "pieces.json").read_text(encoding="utf-8"))


def ffmpeg(entry: dict[str, Any], *output: str) -> bytes:
    with as_file(PIECES / entry["file"]) as path:
        command = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-v", "error", "-i", str(path), *output, "-"]
        return subprocess.run(command, capture_output=True, check=True).stdout


def decoded(entry: dict[str, Any]) -> tuple[int, int, array[float]]:
    """Sample rate, channels and interleaved samples, by way of the AU format, whose header is six numbers."""
    au = ffmpeg(entry, "-f", "au", "-c:a", "pcm_f32be")
    magic, offset, _, encoding, rate, channels = struct.unpack_from(">4s5I", au)
    assert (magic, encoding) == (b".snd", AU_FLOAT)
    samples = array("f", au[offset:])
    if sys.byteorder == "little":
        samples.byteswap()
    return rate, channels, samples


def longest_silence(samples: array[float], rate: int, channels: int) -> float:
    """Seconds, in steps of 50 ms, during which no sample goes above -60 dBFS."""
    step = rate // 20 * channels
    longest = run = 0
    for start in range(0, len(samples), step):
        part = samples[start : start + step]
        run = run + 1 if max(max(part), -min(part)) < QUIET else 0
        longest = max(longest, run)
    return longest / 20


class PiecesTests(SynchronousTestCase):
    def test_at_least_two_pieces_are_listed_each_with_a_name_of_its_own(self) -> None:
        names = {entry["name"] for entry in listed()}
        self.assertGreaterEqual(len(names), 2)
        self.assertEqual(len(names), len(listed()))

    def test_the_folder_holds_the_listed_files_and_no_others(self) -> None:
        there = {item.name for item in PIECES.iterdir()}
        self.assertEqual(there, {entry["file"] for entry in listed()} | {"pieces.json"})

    def test_every_piece_is_stereo_and_as_long_as_listed(self) -> None:
        for entry in listed():
            rate, channels, samples = decoded(entry)
            self.assertEqual(channels, 2, entry["name"])
            self.assertNotEqual(samples[0::2], samples[1::2], f"{entry['name']}: both sides are the same")
            self.assertApproximates(len(samples) / channels / rate, entry["seconds"], 0.02, entry["name"])

    def test_every_piece_sounds_throughout_and_never_clips(self) -> None:
        for entry in listed():
            rate, channels, samples = decoded(entry)
            self.assertLess(max(max(samples), -min(samples)), 1.0, entry["name"])
            self.assertLess(longest_silence(samples, rate, channels), 1.5, entry["name"])
            first = samples[: rate // 10 * channels]
            self.assertGreater(max(first), 0.01, f"{entry['name']} does not begin at once")

    def test_the_tags_carry_the_listed_title_and_artist_and_the_licence(self) -> None:
        for entry in listed():
            lines = ffmpeg(entry, "-map_metadata", "0:s:a:0", "-f", "ffmetadata").decode().splitlines()
            tags = {name.lower(): value for name, _, value in (line.partition("=") for line in lines)}
            self.assertEqual(tags["title"], entry["title"])
            self.assertEqual(tags["artist"], entry["artist"])
            self.assertEqual(tags["license"], "CC0-1.0")

    def test_the_pieces_are_at_different_rates_so_that_both_roads_through_the_resampler_are_heard(self) -> None:
        self.assertEqual({decoded(entry)[0] for entry in listed()}, {44_100, 48_000})
