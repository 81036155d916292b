"""What is written down of sessions, and what is not believed of what is read."""

from __future__ import annotations

import re
import zlib

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from twisted.trial.unittest import SynchronousTestCase

from audiosvc.session import memory
from audiosvc.session.memory import (
    AGE_MOST,
    BYTES_MOST,
    HEADER_MOST,
    REACH_MOST,
    Kept,
    Memory,
    NoMemory,
    pack,
    short,
    unpack,
)
from audiosvc.session.track import Play

NOW = 1_800_000_000.0

SONG = Memory(
    "guild-a",
    "0123456789abcdef" * 2,
    Play("demo:tone?hz=440", "opus", 2.0, 30.0, 0.5, 64_000),
    position=12.34,
    paused=False,
    packets=517,
    frames=517,
    reach=500,
    bytes=90_000,
    title="Tone",
    duration=30.0,
)

memories = st.builds(
    lambda n, play, position, paused, frames, reach, live, title: Memory(
        f"s-{n}",
        f"{n:032x}",
        play,
        position,
        paused,
        frames + (2 if frames and play.format in ("ogg", "web") else 0),
        frames,
        min(frames, reach),
        frames * 100,
        live,
        title,
    ),
    st.integers(0, 10**9),
    st.builds(
        Play,
        st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30),
        st.sampled_from(["opus", "ogg", "web", "pcm"]),
        st.floats(0, 1000),
        st.none() | st.floats(0.02, 1000),
        st.floats(0, 2),
        st.none() | st.integers(6000, 510_000),
    ),
    st.floats(0, 10_000),
    st.booleans(),
    st.integers(0, 10**7),
    st.integers(0, REACH_MOST),
    st.booleans(),
    st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
)


def written(*values: object, now: float = NOW, **header: object) -> bytes:
    """A file of `values`, with other things in its header if need be."""
    body = msgspec.json.encode(values)
    head = {"audiosvc": "sessions", "version": 1, "written": now, "bytes": len(body), "crc32": zlib.crc32(body)}
    return msgspec.json.encode({**head, **header}) + b"\n" + body


def plain(value: Memory = SONG, **changes: object) -> dict[str, object]:
    known: dict[str, object] = msgspec.to_builtins(value)
    return {**known, **changes}


class MemoryTests(SynchronousTestCase):
    def refused(self, data: bytes, words: str, now: float = NOW) -> None:
        error = self.assertRaises(NoMemory, unpack, data, now)
        self.assertTrue(re.search(words, str(error)), str(error))

    @settings(deadline=None, max_examples=50)
    @given(st.lists(memories, max_size=5, unique_by=lambda m: m.session_id))
    def test_what_was_written_is_read(self, given_memories: list[Memory]) -> None:
        data, kept = pack(given_memories, NOW)
        self.assertEqual(kept, {m.session_id for m in given_memories})
        self.assertEqual(unpack(data, NOW), Kept(given_memories, 0))

    def test_its_url_is_not_in_the_first_line(self) -> None:
        head, _, _ = pack([SONG], NOW)[0].partition(b"\n")
        self.assertLess(len(head), HEADER_MOST)
        self.assertNotIn(b"demo", head)

    def test_who_has_been_sent_something_has_heard_of_it(self) -> None:
        self.assertTrue(SONG.told)
        self.assertFalse(replace(SONG, packets=0, frames=0, reach=0).told)

    def test_a_text_is_cut(self) -> None:
        self.assertEqual(short("ä" * 5000), "ä" * 1000)
        self.assertEqual(short("no such name: \udcff"), "no such name: ?")
        self.assertIsNone(short(None))

    def test_a_file_takes_what_fits(self) -> None:
        large = [replace(SONG, session_id=f"s-{n}", play=Play("u" * 8000)) for n in range(BYTES_MOST // 8000)]
        data, kept = pack([*large, SONG], NOW)
        self.assertLessEqual(len(data), BYTES_MOST)
        self.assertGreater(len(kept), len(large) * 0.9)
        self.assertLess(len(kept), len(large))
        self.assertEqual({m.session_id for m in unpack(data, NOW).memories}, kept)

    def test_what_is_old_is_not_taken_up(self) -> None:
        data, _ = pack([SONG], NOW)
        for age in (0.0, AGE_MOST, -AGE_MOST):
            self.assertEqual(unpack(data, NOW + age).memories, [SONG])
        self.refused(data, "301 s ago", NOW + AGE_MOST + 1)
        # The clock was set back, or the file is not from here.
        self.refused(data, "-301 s ago", NOW - AGE_MOST - 1)
        self.refused(written(written=1e300), "ago")

    def test_what_is_not_whole_is_not_read(self) -> None:
        data, _ = pack([SONG, replace(SONG, session_id="b")], NOW)
        for end in range(len(data)):
            self.assertRaises(NoMemory, unpack, data[:end], NOW)
        self.refused(data + b" ", "damaged")

    @settings(deadline=None, max_examples=50)
    @given(st.data())
    def test_what_was_changed_is_not_read(self, choice: st.DataObject) -> None:
        data, _ = pack([SONG], NOW)
        at = choice.draw(st.integers(0, len(data) - 1))
        byte = choice.draw(st.integers(0, 255).filter(lambda b: b != data[at]))
        changed = data[:at] + bytes([byte]) + data[at + 1 :]
        try:
            found = unpack(changed, NOW)
        except NoMemory:
            return
        # Only the time is not covered by the sum.
        self.assertEqual(found.memories, [SONG])
        self.assertLess(at, data.index(b"\n"))

    @settings(deadline=None, max_examples=50)
    @given(st.binary(max_size=300))
    def test_anything_is_refused_in_order(self, junk: bytes) -> None:
        self.assertRaises(NoMemory, unpack, junk, NOW)
        self.assertRaises(NoMemory, unpack, memory.MAGIC + junk, NOW)

    def test_other_files_and_other_versions_are_not_read(self) -> None:
        self.refused(b"", "no file of sessions")
        self.refused(b"root:x:0:0:root:/root:/bin/bash\n", "no file of sessions")
        self.refused(memory.MAGIC + b" " * HEADER_MOST + b"}\n", "no file of sessions")
        self.refused(written(version=2), "of version 2")
        self.refused(written(more=1), "first line")
        self.refused(written(crc32="x"), "first line")
        self.refused(written(bytes=3), "damaged")

    def test_a_body_that_is_no_list_is_damaged(self) -> None:
        for body in (b"{}", b"[", b"[" * 100_000, b"null"):
            head = {"audiosvc": "sessions", "version": 1, "written": NOW, "bytes": len(body), "crc32": zlib.crc32(body)}
            self.refused(msgspec.json.encode(head) + b"\n" + body, "damaged")

    def test_one_that_does_not_fit_is_left_out_and_counted_and_the_others_are_not(self) -> None:
        play: dict[str, object] = msgspec.to_builtins(SONG.play)
        bad: list[object] = [
            None,
            7,
            [],
            {},
            plain(session_id="a b"),
            plain(session_id="x" * 37),
            plain(session_id="a\n"),
            plain(track_id="../../etc/passwd"),
            plain(track_id="0" * 32 + "\n"),
            plain(position=-1),
            plain(position=1e9),
            plain(position="1"),
            plain(paused=1),
            plain(packets=-1),
            plain(packets=2**64),
            plain(packets=516),
            plain(packets=518),
            plain(frames=0),
            plain(reach=REACH_MOST + 1),
            plain(frames=3, packets=3, reach=4),
            plain(title="x" * 1001),
            plain(duration=-1),
            plain(unheard_of=1),
            plain(play={**play, "volume": 3}),
            plain(play={**play, "bitrate": 1}),
            plain(play={**play, "format": "mp3"}),
            plain(play={**play, "url": ""}),
            plain(play={**play, "url": "u" * 8193}),
            plain(play={**play, "start_at": None}),
            plain(play={**play, "argv": []}),
        ]
        found = unpack(written(*bad, plain(), plain(position=1.0)), NOW)
        self.assertEqual(found, Kept([SONG], len(bad) + 1))

    def test_pages_without_sound_are_no_packets_that_were_heard(self) -> None:
        ogg = plain(play={**msgspec.to_builtins(SONG.play), "format": "ogg"}, packets=2, frames=0, reach=0)
        self.assertEqual(unpack(written(ogg), NOW).bad, 1)

    def test_a_memory_of_deep_nesting_is_left_out(self) -> None:
        body = b'[{"session_id":' + b"[" * 2000 + b"]" * 2000 + b"}]"
        head = {"audiosvc": "sessions", "version": 1, "written": NOW, "bytes": len(body), "crc32": zlib.crc32(body)}
        try:
            found = unpack(msgspec.json.encode(head) + b"\n" + body, NOW)
        except NoMemory:
            return
        self.assertEqual(found.memories, [])
