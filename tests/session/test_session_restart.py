"""A session that goes on in the next daemon: what is remembered of it, and what it does with that."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

from msgspec.structs import replace as changed
from twisted.logger import capturedLogs

from audiosvc.audio import FRAME_SAMPLES, FRAME_SECONDS
from audiosvc.codec.ogg import OggDemuxer
from audiosvc.errors import BlockedAddress, NotSeekable, PositionOutOfRange
from audiosvc.flow.pipeline import PRE_ROLL
from audiosvc.session.memory import REACH_MOST, Memory, pack, unpack
from audiosvc.session.registry import WOKEN_A_TURN, WOKEN_MOST, Registry
from audiosvc.session.track import Play
from audiosvc.wire.messages import Paused, Resumed, Seeked
from tests.fakes import TONE
from tests.session.support import SONG, SessionTestCase

NOW = 1_800_000_000.0


class RestartTestCase(SessionTestCase):
    def sounding(self, packets: int = 20, **options: object) -> str:
        """A session that was sent so many packets, and is 5 ahead of that."""
        track_id = self.play(**options)  # type: ignore[arg-type]
        self.pull(packets)
        self.write(packets + 5)
        return track_id

    def remembered(self, session_id: str = "a") -> Memory:
        (found,) = [memory for memory in self.registry.memories() if memory.session_id == session_id]
        return found

    def restart(self, most: int = 3) -> None:
        """The daemon ends, and the next one takes up what was written down; nobody is told."""
        data, _ = pack(self.registry.memories(), NOW)
        log = {name: list(said) for name, said in self.listener.log.items()}
        self.registry.shut_down()
        self.reap()
        self.listener.log = defaultdict(list, log)
        self.listener.credit.clear()
        self.registry = Registry(self.house, most)
        kept = unpack(data, NOW)
        self.assertEqual(kept.bad, 0)
        self.registry.take_up(kept.memories)
        self.turn()

    def restart_with(self, sessions: int) -> None:
        """A daemon that takes so many up, at 5 s of the song."""
        play = Play(SONG.url, "pcm")
        self.registry = Registry(self.house, max_sessions=sessions)
        self.registry.take_up(
            Memory(f"s-{n}", f"{n:032x}", play, 5.0, False, 250, 250, 250, 1) for n in range(sessions)
        )

    def start_of(self, argv: list[str]) -> float:
        """Where FFmpeg is told to begin."""
        return float(argv[argv.index("-ss") + 1]) if "-ss" in argv else 0.0


class GoingOnTests(RestartTestCase):
    def test_it_goes_on_behind_the_last_packet_sent_and_its_listener_is_told_nothing(self) -> None:
        track_id = self.sounding()
        before = self.types()
        self.restart()
        self.assertEqual(self.registry.snapshot("a").track_id, track_id)
        self.assertEqual(self.registry.snapshot("a").status, "streaming")
        self.assertEqual(self.registry.snapshot("a").position, 0.4)
        self.assertAlmostEqual(self.start_of(self.child.argv), 0.4 - PRE_ROLL * FRAME_SECONDS)
        self.pull(6)
        # What its encoder has to have heard was heard already.
        self.write(PRE_ROLL + 9, first=20 - PRE_ROLL)
        self.assertEqual(self.types(), [*before, *map(str, range(20, 26))])
        snapshot = self.registry.snapshot("a")
        self.assertEqual((snapshot.packets_sent, snapshot.position), (26, 0.52))
        self.pull(9)
        self.exit()
        self.assertEqual(self.types()[-1], "finished")
        self.assertEqual(self.last().played, 0.58)  # type: ignore[attr-defined]
        self.assert_nothing_left()

    def test_everything_of_the_play_is_kept(self) -> None:
        asked = {"url": TONE.url, "start_at": 2.0, "duration": 9.0, "bitrate": 64_000}
        self.sounding(**asked)
        self.registry.set_volume("a", 0.5)
        memory = self.remembered()
        self.assertEqual(memory.play, Play(format="pcm", volume=0.5, **asked))  # type: ignore[arg-type]
        self.assertEqual((memory.position, memory.packets, memory.frames, memory.reach), (2.4, 20, 20, 20))
        self.assertEqual((memory.title, memory.duration, memory.live), (TONE.title, TONE.duration, False))
        self.assertEqual(memory.bytes, self.registry.snapshot("a").bytes_sent)
        before = self.registry.snapshot("a")
        self.restart()
        after = self.registry.snapshot("a")
        for name in (
            "url",
            "format",
            "volume",
            "bitrate",
            "bytes_sent",
            "packets_sent",
            "position",
            "title",
            "duration",
        ):
            self.assertEqual(getattr(after, name), getattr(before, name), name)
        # Of nine seconds 0.4 were heard, and what is not to be heard again is not part of them.
        lead = PRE_ROLL * FRAME_SECONDS
        self.assertIn(f"{9 - 0.4 + lead:.2f}", " ".join(self.child.argv))

    def test_of_what_nobody_has_heard_yet_there_is_a_ready(self) -> None:
        track_id = self.play(start_at=3.0)
        memory = self.remembered()
        self.assertEqual((memory.told, memory.position), (False, 3.0))
        self.restart()
        self.assertEqual(self.start_of(self.child.argv), 3.0)
        self.assertEqual(self.registry.snapshot("a").status, "extracting")
        self.pull(2)
        self.write(3)
        self.assertEqual(self.types(), ["ready", "0", "1"])
        self.assertEqual(self.listener.log["a"][0].track_id, track_id)  # type: ignore[union-attr]

    def test_it_survives_one_restart_after_another(self) -> None:
        self.sounding()
        self.restart()
        memory = self.remembered()
        self.restart()
        self.assertEqual(self.remembered(), memory)
        self.pull(3)
        self.write(PRE_ROLL + 6, first=20 - PRE_ROLL)
        self.restart()
        self.assertEqual(self.remembered().packets, 23)
        self.assertEqual(self.remembered().reach, 23)
        self.pull(1)
        self.write(PRE_ROLL + 6, first=23 - PRE_ROLL)
        self.assertEqual(self.types(), ["ready", *map(str, range(24))])

    def test_what_waits_to_be_sent_again_was_not_sent(self) -> None:
        self.sounding()
        self.listener.is_unsent = 5
        memory = self.remembered()
        self.assertEqual((memory.packets, memory.frames, memory.reach), (15, 15, 15))
        self.assertAlmostEqual(memory.position, 0.3)
        self.listener.is_unsent = 50
        self.assertEqual(self.remembered().packets, 0)

    def test_its_listener_reaches_back_no_further_than_to_the_last_seek(self) -> None:
        self.sounding()
        self.registry.seek("a", 60)
        self.reap()
        self.assertEqual((self.remembered().reach, self.remembered().position), (0, 60.0))
        self.pull(700)
        for _ in range(70):
            self.write(10)
        self.assertEqual(self.remembered().reach, REACH_MOST)

    def test_a_track_at_its_very_end_finishes(self) -> None:
        self.sounding()
        self.restart()
        self.exit()
        self.assertEqual(self.types()[-1], "finished")
        self.assert_nothing_left()

    def test_a_source_that_is_gone_ends_it_with_an_error(self) -> None:
        self.sounding()
        self.resolver.sources.clear()
        self.restart()
        self.assertEqual(self.types()[-1], "error")
        self.assert_nothing_left()


class RewindTests(RestartTestCase):
    def rewound(self, packets: int) -> bool:
        return self.listener.feeds["a"].rewind(packets)

    def test_a_client_that_did_not_get_all_hears_it_from_there(self) -> None:
        self.sounding()
        self.restart()
        self.write(PRE_ROLL + 5)
        self.assertTrue(self.rewound(12))
        self.reap()
        snapshot = self.registry.snapshot("a")
        self.assertEqual((snapshot.packets_sent, snapshot.position), (12, 0.24))
        self.assertAlmostEqual(self.start_of(self.child.argv), 0.24 - PRE_ROLL * FRAME_SECONDS)
        self.pull(3)
        self.write(PRE_ROLL + 6, first=12 - PRE_ROLL)
        self.assertEqual(self.types()[-3:], ["12", "13", "14"])
        self.assertFalse(self.rewound(13), "it has been sent since")

    def test_before_it_is_opened_too(self) -> None:
        self.sounding()
        self.registry.pause("a")
        self.restart()
        self.assertTrue(self.rewound(2))
        self.assertTrue(self.rewound(1))
        self.assertEqual(self.registry.snapshot("a").position, 0.02)
        self.registry.resume("a")
        self.assertEqual(self.start_of(self.child.argv), 0.0)
        self.pull(1)
        self.write(3)
        self.assertEqual(self.types()[-1], "1")

    def test_not_to_where_it_never_was(self) -> None:
        self.sounding()
        self.assertFalse(self.rewound(12), "it plays here already")
        self.registry.seek("a", 60)
        self.reap()
        self.pull(2)
        self.write(4)
        self.restart()
        for packets in (19, 22, 23, 10**9):
            self.assertFalse(self.rewound(packets), packets)
        self.assertTrue(self.rewound(20))
        self.assertEqual(self.registry.snapshot("a").position, 60.0)

    def test_after_a_seek_there_is_no_way_back(self) -> None:
        self.sounding()
        self.restart()
        self.registry.seek("a", 60)
        self.assertFalse(self.rewound(19))


class ControlTests(RestartTestCase):
    def test_paused_it_comes_back_paused_without_a_child_or_a_look(self) -> None:
        track_id = self.sounding()
        self.registry.pause("a")
        self.restart()
        self.reactor.advance(5)
        self.assertEqual(self.living, 0)
        snapshot = self.registry.snapshot("a")
        self.assertEqual((snapshot.status, snapshot.position, snapshot.title), ("paused", 0.4, SONG.title))
        self.assertEqual(self.types()[-1], "paused")
        self.registry.resume("a")
        self.assertEqual(self.last(), Resumed("a", track_id, 0.4))
        self.pull(2)
        self.write(PRE_ROLL + 6, first=20 - PRE_ROLL)
        self.assertEqual(self.types()[-3:], ["resumed", "20", "21"])

    def test_before_its_turn_has_come_it_can_be_paused_sought_in_and_stopped(self) -> None:
        self.resolver.hold = True
        self.restart_with(WOKEN_A_TURN + 1)
        name = f"s-{WOKEN_A_TURN}"
        self.registry.pause(name)
        self.registry.seek(name, 30)
        track_id = f"{WOKEN_A_TURN:032x}"
        self.assertEqual(self.listener.log[name], [Paused(name, track_id, 5.0), Seeked(name, track_id, 30.0, 5.0)])
        self.assertEqual(self.registry.snapshot(name).position, 30)
        self.registry.stop(name)
        self.assertEqual(self.types(name), ["paused", "seeked", "stopped"])
        self.reactor.advance(FRAME_SECONDS)
        self.assertEqual(len(self.resolver.waiting), WOKEN_A_TURN)

    def test_what_was_known_of_it_is_held_against_a_seek(self) -> None:
        self.sounding(url=TONE.url)
        self.registry.pause("a")
        self.restart()
        self.assertRaises(PositionOutOfRange, self.registry.seek, "a", 31)

    def test_another_play_takes_its_place(self) -> None:
        self.sounding()
        self.restart()
        self.play()
        self.assertEqual(self.types()[-1], "stopped")
        self.reap()
        self.pull(1)
        self.write(3)
        self.assertEqual(self.types()[-2:], ["ready", "0"])

    def test_a_live_source_goes_on_at_its_edge(self) -> None:
        self.resolver.sources["radio"] = replace(SONG, url="radio", live=True)
        self.sounding(url="radio", duration=10.0)
        memory = self.remembered()
        self.assertEqual((memory.live, memory.play.duration, memory.position), (True, 9.6, 0.4))
        # Whether it is live may only show once it is open.
        self.resolver.sources["radio"] = replace(SONG, url="radio")
        self.restart()
        self.assertRaises(NotSeekable, self.registry.seek, "a", 1)
        self.assertEqual(self.start_of(self.child.argv), 0.0)
        self.assertIn("9.6", " ".join(self.child.argv))
        self.pull(2)
        self.write(6, first=70)
        self.assertEqual(self.types()[-2:], ["70", "71"])
        self.assertEqual(self.registry.snapshot("a").position, 0.44)
        self.assertEqual(self.remembered().play.duration, 9.56)


class ManyTests(RestartTestCase):
    def test_they_are_opened_in_order_a_few_at_a_time(self) -> None:
        self.resolver.hold = True
        many = WOKEN_MOST + 10
        self.restart_with(many)
        looked_up = []
        for _ in range(10):
            looked_up.append(len(self.resolver.waiting))
            self.reactor.advance(FRAME_SECONDS)
        self.assertEqual(looked_up[:4], [WOKEN_A_TURN * n for n in range(1, 5)])
        self.assertEqual(looked_up[-1], WOKEN_MOST)
        self.assertEqual(self.registry.by_status(), {"streaming": many})
        self.assertEqual(self.registry.pending(), many)
        # One that is over makes room for the next.
        self.registry.stop("s-0")
        self.reactor.advance(FRAME_SECONDS)
        self.assertEqual(len(self.resolver.waiting), WOKEN_MOST + 1)
        self.registry.shut_down()
        self.assertEqual(len(self.listener.log), many)

    def test_what_may_no_longer_be_played_and_what_is_too_much_is_left_out(self) -> None:
        memories = [Memory(f"s-{n}", f"{n:032x}", Play(SONG.url), 5.0, False, 1, 1, 1, 1) for n in range(4)]
        with capturedLogs() as events:
            self.registry.take_up(memories)
        self.assertEqual((self.registry.taken_up, self.registry.left_out), (3, 1))
        self.assertEqual([e["code"] for e in events if "code" in e], ["too_many_sessions"])
        self.registry.shut_down()
        self.registry = Registry(self.house, 3)
        self.resolver.refusal = BlockedAddress()
        self.registry.take_up(memories[:1])
        self.assertEqual((self.registry.taken_up, self.registry.left_out), (0, 1))
        self.assertEqual(self.registry.snapshots(), [])

    def test_what_its_user_stops_while_the_daemon_ends_is_forgotten(self) -> None:
        forgotten: list[str] = []
        for name in "abc":
            self.play(name)
        self.registry.close({"a", "b"}, forgotten.append)
        self.assertEqual(self.types("c"), ["stopped"])
        self.assertEqual((self.types("a"), self.types("b")), ([], []))
        self.registry.stop("a")
        self.registry.shut_down()
        self.registry.stop("b")
        self.assertEqual(forgotten, ["a", "b"])


class OggTests(RestartTestCase):
    def test_its_pages_go_on_as_if_nothing_had_been(self) -> None:
        for rewound in (False, True):
            self.setUp()
            self.sounding(20, format="ogg")
            memory = self.remembered()
            self.assertEqual((memory.packets, memory.frames), (20, 18))
            self.restart()
            if rewound:
                self.assertTrue(self.listener.feeds["a"].rewind(12))
                del self.listener.log["a"][13:]
                self.reap()
            self.pull(20)
            self.write(PRE_ROLL + 5)
            self.exit()
            demuxer = OggDemuxer()
            packets = [packet for page in self.packets() for packet in demuxer.feed(page)]
            sound = 23 if not rewound else 15
            self.assertEqual(len({packet.serial for packet in packets}), 1)
            self.assertEqual(packets[-1].granule, sound * FRAME_SAMPLES)
            self.assertEqual(len(packets), 2 + sound)
            self.clean_up()

    def test_of_headers_alone_nobody_has_heard_anything(self) -> None:
        self.play(format="ogg")
        self.pull(2)
        self.write(3)
        self.assertEqual(len(self.packets()), 2)
        self.assertEqual(changed(self.remembered(), bytes=0).packets, 0)
