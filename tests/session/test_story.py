from __future__ import annotations

from pathlib import Path

from msgspec.structs import replace
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from audiosvc.log.journal import entry
from audiosvc.session.story import Story
from audiosvc.session.track import Play
from audiosvc.sources.model import File, Http, Media, Source, Tone
from audiosvc.wire.messages import Seeked
from tests.api.support import snapshot


class Steps(SynchronousTestCase):
    def test_each_step_is_a_line_with_its_session(self) -> None:
        story, play = Story("u:1"), Play("http://h/a.mp3?token=1")
        source = Source(play.url, Http(play.url), title="T", duration=9.5)
        with capturedLogs() as events:
            story.accepted("t1", play)
            story.resolved(source)
            story.opened(0.0)
            story.sounds("transcode", source)
            story.sent(0.04567)
            story.announced(Seeked("u:1", "t1", 1.0, 2.0), 2.0)
            story.ended("finished", replace(snapshot("u:1", play), packets_sent=7, bytes_sent=900, underruns=2))
        told = [entry(event, "debug") for event in events]
        self.assertEqual({event["log_level"].name for event in events}, {"debug"})
        self.assertEqual({each.fields["session"] for each in told}, {"u:1"})
        self.assertEqual(
            [each.message for each in told],
            [
                "u:1: http://h/a.mp3 is to be played as opus, track t1",
                "u:1: it is http at http://h/a.mp3; live: False, opus: False, from a page: False",
                "u:1: it is opened at 0.0 s",
                "u:1: there is sound, transcode; 9.5 s, live: False, called T",
                "u:1: the first packet is sent, 0.0457 s after it was asked for",
                "u:1: seeked at 2.0 s",
                "u:1: finished at 0.0 s; 7 packets, 900 bytes, 2 underruns, 0 recoveries, 0 dropped; track t1",
            ],
        )

    def test_where_the_media_are_is_told_without_what_may_be_secret(self) -> None:
        places: list[tuple[Media, str | None]] = [
            (Tone(440, 1), None),
            (File(Path("/music/a.mp3")), "/music/a.mp3"),
            (Http("https://h/a b?x=1"), "https://h/a b"),
        ]
        for media, place in places:
            with capturedLogs() as events:
                Story("u:1").resolved(Source("x", media))
            self.assertEqual(entry(events[0], "debug").fields["place"], place)

    def test_a_packet_that_is_missing_for_many_ticks_is_one_line(self) -> None:
        story = Story("u:1")
        with capturedLogs() as events:
            for packets in (0, 0, 0, 5, 5, 9):
                story.underran(packets, 0.0)
        self.assertEqual(len(events), 3)
