"""What a pipeline tells between packets, and how it keeps the listener of a live source near its edge."""

from __future__ import annotations

from dataclasses import replace

from audiosvc.audio import FRAME_BYTES, FRAME_SECONDS, FRAMES_PER_SECOND
from audiosvc.flow.pipeline import HIGH_WATER, LAG_SECONDS, READ_FRAMES, Pipeline
from audiosvc.flow.supply import UNREAD_SECONDS
from audiosvc.sources.model import Source
from tests.fakes import FakeChild, frames
from tests.flow.support import RADIO, SONG, WEB
from tests.flow.test_pipeline import PipelineTestCase

ICY = "[verbose] Metadata update for StreamTitle: {}\n"
HLS = "[info] Input #0, hls, from 'x':\n[info]   Duration: N/A, bitrate: N/A\n"


class NotesTestCase(PipelineTestCase):
    def take(self, pipeline: Pipeline, most: int = 1) -> None:
        """Take as a session does, and write down packets between what else is told."""
        while most and (packets := pipeline.take(most)):
            most -= len(packets)
            self.reader.said += [str(packet[0]) for packet in packets]
            self.turn()

    @property
    def child(self) -> FakeChild:
        return self.reactor.children[-1]


class OrderTests(NotesTestCase):
    def test_a_recovery_is_told_before_the_first_packet_of_the_new_child(self) -> None:
        for all_at_once in (True, False):
            self.reader.said.clear()
            pipeline, child = self.begin(replace(SONG, duration=None))
            child.write(frames(7))
            child.exit(signal=9)
            self.reactor.advance(0.5)
            self.child.write(frames(7, 100))
            self.turn()
            for _ in range(20):
                self.take(pipeline, 99 if all_at_once else 1)
            numbers = [*map(str, range(7)), "recovered", *map(str, range(100, 106))]
            self.assertEqual(self.reader.said, numbers)

    def test_the_packet_that_the_break_goes_through_is_the_new_childs(self) -> None:
        pipeline, child = self.begin(replace(SONG, duration=None))
        child.write(frames(3) + frames(1, 3)[:1000])
        child.exit(signal=9)
        self.reactor.advance(0.5)
        self.child.write(frames(1, 3)[1000:] + frames(2, 4))
        self.turn()
        self.take(pipeline, 9)
        self.assertEqual(self.reader.said, ["0", "1", "2", "recovered", "3", "4"])

    def test_several_recoveries_and_titles_each_in_their_place(self) -> None:
        pipeline, _ = self.begin(WEB)
        for i in range(4):
            self.child.say(ICY.format(f"title {i}"))
            self.child.write(frames(60, 60 * i)[: 60 * FRAME_BYTES])
            self.turn()
            self.take(pipeline, 60)
            self.child.exit(signal=9)
            self.turn()
            self.reactor.advance(0.02)
        expected: list[str] = []
        for i in range(4):
            expected += [f"title {i}", "recovered"][: 1 + (i > 0)]
            expected += map(str, range(60 * i, 60 * (i + 1)))
        said = [word for word in self.reader.said if word.startswith(("t", "r"))]
        self.assertEqual(said, [word for word in expected if word.startswith(("t", "r"))])
        self.assertEqual([w for w in self.reader.said if w.isdigit()], [w for w in expected if w.isdigit()][:-1])

    def test_a_title_waits_behind_the_packets_before_it(self) -> None:
        pipeline, child = self.begin(WEB)
        child.write(frames(5))
        self.turn()
        child.say(ICY.format("New"))
        child.write(frames(5, 5))
        self.turn()
        self.take(pipeline, 3)
        self.assertEqual(self.reader.said, ["0", "1", "2"])
        self.take(pipeline, 9)
        self.assertEqual(self.reader.said, ["0", "1", "2", "3", "4", "New", "5", "6", "7", "8"])

    def test_a_child_that_is_dropped_announces_nothing_more(self) -> None:
        pipeline, child = self.begin(WEB)
        child.write(frames(5))
        self.turn()
        pipeline.close()
        child.say(ICY.format("Late"))
        self.take(pipeline, 9)
        self.assertEqual(self.reader.said, [])


class LiveTests(NotesTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.number = 0
        """Of the frame that the source makes next, every 20 ms."""
        self.sent = 0
        """Bytes of all frames up to that one which children have written, or which nobody was there to write."""

    def air(self, pipeline: Pipeline | None, seconds: float) -> None:
        """For so long the source makes a frame every 20 ms, and a listener takes one; None: nobody does."""
        for _ in range(round(seconds * FRAMES_PER_SECOND)):
            self.reactor.advance(FRAME_SECONDS)
            self.number += 1
            self.write()
            if pipeline is not None:
                self.take(pipeline)

    def write(self) -> None:
        """The child writes all it can of what the source has."""
        while self.sent < self.number * FRAME_BYTES and self.child.alive and not self.child.signals:
            first = self.sent // FRAME_BYTES
            sound = frames(min(self.number - first, 10), first)
            if not (taken := self.child.write(sound[self.sent % FRAME_BYTES :])):
                return
            self.sent += taken
            self.turn()

    def reap(self) -> None:
        """What was killed is gone; who comes next gets what is made from now on."""
        self.reactor.end()
        self.reactor.advance(FRAME_SECONDS)
        self.sent = self.number * FRAME_BYTES

    def on_air(self, source: Source = RADIO) -> Pipeline:
        pipeline, _ = self.begin(source)
        self.air(pipeline, 4)
        return pipeline

    def late(self) -> int:
        """By how many frames what was heard last is behind what is made."""
        return (self.number - 1 - int(self.reader.said[-1])) % 256

    def test_it_is_opened_without_a_position(self) -> None:
        self.on_air()
        self.assertNotIn("-ss", self.child.argv)

    def test_a_listener_on_time_misses_nothing(self) -> None:
        pipeline = self.on_air()
        self.air(pipeline, 30)
        heard = [int(word) for word in self.reader.said]
        self.assertEqual(heard, [i % 256 for i in range(len(heard))])
        self.assertEqual(pipeline.dropped, 0)
        self.assertLess(self.late(), 5)

    def test_one_who_is_less_than_10_s_late_misses_nothing(self) -> None:
        pipeline = self.on_air()
        self.air(None, LAG_SECONDS - 0.5)
        self.air(pipeline, 20)
        self.assertEqual(pipeline.dropped, 0)
        heard = [int(word) for word in self.reader.said]
        self.assertEqual(heard, [i % 256 for i in range(len(heard))])

    def test_one_who_is_later_loses_the_oldest_and_it_is_counted(self) -> None:
        pipeline = self.on_air()
        self.air(None, LAG_SECONDS + 1)
        heard = len(self.reader.said)
        self.air(pipeline, 1)
        # The queue, what was read ahead and what the pipe holds.
        self.assertTrue(60 < pipeline.dropped < HIGH_WATER + READ_FRAMES + 70, pipeline.dropped)
        self.assertEqual(int(self.reader.said[heard]), (heard + pipeline.dropped) % 256)
        self.assertEqual(self.workshop.tally.vitals().dropped, pipeline.dropped)
        self.assertEqual(len(self.reactor.children), 1)
        self.air(pipeline, 20)
        self.assertEqual(self.workshop.tally.dropped, pipeline.dropped)

    def test_one_who_is_too_late_for_that_is_brought_to_the_edge_by_a_new_child(self) -> None:
        pipeline = self.on_air()
        self.air(None, 40)
        first = self.child
        self.air(pipeline, 0.1)
        self.assertEqual(first.signals[0], "KILL")
        self.reap()
        dropped = pipeline.dropped
        self.air(pipeline, 30)
        self.assertEqual(pipeline.dropped, dropped, "once is enough")
        self.assertLess(self.late(), 5)
        self.assertEqual(len(self.reactor.children), 2)
        self.assertNotIn("recovered", self.reader.said)

    def test_after_a_minute_without_a_listener_it_goes_on_at_the_edge(self) -> None:
        pipeline = self.on_air()
        self.air(None, UNREAD_SECONDS + 5)
        self.reap()
        self.assertEqual(self.spawner.children, 0)
        heard = len(self.reader.said)
        self.assertEqual(pipeline.take(9), [])
        self.assertEqual((self.spawner.children, len(self.reader.said)), (1, heard))
        self.air(pipeline, 30)
        self.assertLess(self.late(), 5)
        self.assertEqual(len(self.reactor.children), 2)
        self.assertLess(pipeline.dropped, HIGH_WATER + READ_FRAMES + 1)

    def test_that_the_source_itself_stands_still_makes_nobody_late(self) -> None:
        pipeline = self.on_air()
        for _ in range(4):
            self.reactor.advance(9)
            self.air(pipeline, 4)
        self.assertEqual((pipeline.dropped, len(self.reactor.children)), (0, 1))
        heard = [int(word) for word in self.reader.said]
        self.assertEqual(heard, [i % 256 for i in range(len(heard))])

    def test_nor_that_its_clock_is_slow(self) -> None:
        pipeline = self.on_air()
        for _ in range(150):
            self.reactor.advance(0.1)
            self.air(pipeline, 1)
        self.assertEqual((pipeline.dropped, len(self.reactor.children)), (0, 1))

    def test_who_is_ahead_by_a_burst_is_late_after_that_only(self) -> None:
        pipeline, _ = self.begin(RADIO)
        for i in range(5):
            self.reactor.advance(5.9 if i else 0)
            for _ in range(30):
                self.number += 10
                self.write()
                self.take(pipeline, 99)
        # 5 times 6 s that were given in 23.6, less the frame that is kept back.
        self.assertEqual(pipeline.behind, -319)
        self.reactor.advance(LAG_SECONDS + 5)
        self.take(pipeline)
        self.assertEqual(pipeline.dropped, 0)
        self.reactor.advance(LAG_SECONDS)
        self.take(pipeline)
        self.assertGreater(pipeline.dropped, 0)

    def test_nor_that_it_had_to_be_opened_again(self) -> None:
        pipeline = self.on_air()
        self.reactor.advance(9)
        self.child.exit()
        self.turn()
        self.reactor.advance(6)
        self.air(pipeline, 20)
        self.assertEqual((pipeline.dropped, len(self.reactor.children)), (0, 2))
        self.assertNotIn("-ss", self.child.argv)
        self.assertEqual(self.reader.said.count("recovered"), 1)

    def test_one_that_ends_in_vain_again_and_again_is_over(self) -> None:
        pipeline = self.on_air()
        for delay in (0.02, 0.52, 2.02, 0):
            self.assertFalse(pipeline.ended)
            self.child.exit()
            self.turn()
            self.reactor.advance(delay)
        self.take(pipeline, 99)
        self.assertTrue(pipeline.drained)
        self.assertEqual(getattr(pipeline.failure, "code", None), "source_ended_early")

    def test_a_time_asked_for_is_an_end_of_a_live_source_too(self) -> None:
        pipeline, _ = self.begin(RADIO, duration=4.0)
        self.assertIn("-t 4.000000", " ".join(self.child.argv))
        self.air(pipeline, 2)
        self.child.exit()
        self.turn()
        self.assertIn("-t 2.000000", " ".join(self.child.argv))
        self.air(pipeline, 2)
        self.child.exit()
        self.turn()
        self.take(pipeline, 99)
        self.assertTrue(pipeline.drained)
        self.assertIsNone(pipeline.failure)

    def test_one_found_to_be_live_is_treated_as_such(self) -> None:
        pipeline, child = self.begin(replace(WEB, duration=None))
        child.say(HLS)
        self.air(pipeline, 4)
        self.air(None, 40)
        self.air(pipeline, 0.1)
        self.assertEqual(child.signals[0], "KILL")
        self.reap()
        self.assertNotIn("-ss", self.child.argv)

    def test_the_end_that_catching_up_leads_to_is_told(self) -> None:
        pipeline, child = self.begin(replace(RADIO), duration=3.0)
        self.air(pipeline, 1)
        self.air(None, 2)
        child.exit()
        self.turn()
        self.reactor.advance(LAG_SECONDS + 60)
        self.turn()
        self.assertEqual((pipeline.take(5), self.reader.ends), ([], 0))
        self.turn()
        self.assertTrue(pipeline.drained)
        self.assertEqual(self.reader.ends, 1)
