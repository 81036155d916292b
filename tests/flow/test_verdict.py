"""What each kind of end of a child means."""

from __future__ import annotations

from dataclasses import replace

from twisted.trial.unittest import SynchronousTestCase

from audiosvc.errors import (
    AudioServiceError,
    DecoderFailed,
    NotAudio,
    NotSeekable,
    SourceEndedEarly,
    SourceNotFound,
    SourceRefused,
    SourceTimeout,
    SourceUnreachable,
)
from audiosvc.ffmpeg.report import Report
from audiosvc.flow.verdict import SHORT_SECONDS, Past, Sequel, judge
from audiosvc.sources.model import Source
from tests.flow.support import BROKEN, PAGE, RADIO, REFUSED, SONG, WEB

KILLED = DecoderFailed("FFmpeg was killed")
TIMEOUT = "[in#0 @ 0x1] [error] Error opening input: Connection timed out\n"
NONSENSE = "[in#0 @ 0x1] [error] Error opening input: Invalid data found when processing input\n"
ODD = "[out#0 @ 0x1] [error] Something went wrong\n"
CEASED = "[in#0/mp3 @ 0x1] [error] Error during demuxing: Input/output error\n"
SCRAPS = "[dec:pcm_s16be @ 0x1] [error] Decoding error: Invalid data found when processing input\n"
PREPARED = "[info]   Stream #0:0: Audio: mp3, 44100 Hz\n[info] Output #0, s16le, to 'pipe:1':\n"


def past(
    said: str = "",
    reached: float = 30.0,
    end: float | None = 60.0,
    gave: bool = True,
    heard: bool = True,
    torn: bool = False,
    killed: AudioServiceError | None = None,
    trouble: AudioServiceError | None = None,
    measured: bool = True,
) -> Past:
    report = Report()
    report.feed(("[info] Input #0, mp3, from 'x':\n" + said).encode())
    return Past(report, trouble, reached, end, end if measured else None, gave, heard, torn, killed)


class VerdictTests(SynchronousTestCase):
    def check(
        self,
        past: Past,
        sequel: Sequel,
        error: type[AudioServiceError] | None = None,
        *sources: Source,
        live: bool = False,
    ) -> None:
        for source in sources or (SONG, WEB, PAGE):
            found, why = judge(source, live, past)
            self.assertEqual((found, type(why)), (sequel, type(None) if error is None else error), source)

    def test_all_of_it_and_no_more(self) -> None:
        for said in ("", BROKEN):
            for reached in (60.0, 60.0 - SHORT_SECONDS, 61.0):
                self.check(past(said, reached), Sequel.END)

    def test_less_than_was_stated_is_forgiven_where_nothing_broke_off(self) -> None:
        self.check(past(), Sequel.END)
        self.check(past(end=None), Sequel.END)

    def test_what_broke_off_is_fetched_again_from_a_server_and_not_from_a_file(self) -> None:
        for end in (60.0, None):
            for heard in (True, False):
                self.check(past(BROKEN, end=end, heard=heard), Sequel.AGAIN, SourceEndedEarly, WEB, PAGE)
                self.check(past(BROKEN, end=end, heard=heard), Sequel.FAIL, SourceEndedEarly, SONG)

    def test_an_answer_whose_length_nobody_knows_is_complete_where_it_ends(self) -> None:
        for end in (60.0, None):
            for gave in (True, False):
                ended = past(CEASED, end=end, gave=gave, measured=False)
                self.check(ended, Sequel.END, None, WEB, PAGE)
            self.check(past(BROKEN + CEASED, end=end, measured=False), Sequel.AGAIN, SourceEndedEarly, WEB, PAGE)
        for live in (replace(RADIO, extracted=False), RADIO):
            self.check(past(CEASED, end=None), Sequel.AGAIN, SourceEndedEarly, live, live=True)

    def test_one_that_broke_off_before_it_came_so_far_again_is_not(self) -> None:
        torn = past(CEASED, end=None, gave=False, torn=True)
        self.check(torn, Sequel.AGAIN, SourceEndedEarly, WEB, PAGE)

    def test_where_it_is_known_the_same_is_a_break(self) -> None:
        self.check(past(CEASED), Sequel.AGAIN, SourceEndedEarly, WEB, PAGE)
        self.check(past(CEASED, gave=False), Sequel.AGAIN, SourceEndedEarly, WEB, PAGE)
        self.check(past(CEASED, gave=False, heard=False), Sequel.FAIL, SourceEndedEarly, WEB, PAGE)
        self.check(past(CEASED, reached=59.5), Sequel.END)

    def test_a_disk_that_fails_is_one_too(self) -> None:
        for end in (60.0, None):
            for heard in (True, False):
                self.check(past(CEASED, end=end, heard=heard), Sequel.FAIL, SourceEndedEarly, SONG)
            self.check(past(CEASED, end=end, gave=False, heard=False), Sequel.FAIL, SourceEndedEarly, SONG)

    def test_a_child_that_was_killed_is_followed_up_to_the_very_end(self) -> None:
        for reached, end in ((30.0, 60.0), (59.99, 60.0), (30.0, None), (0.0, 60.0)):
            for gave in (True, False):
                for heard in (True, False):
                    self.check(
                        past(reached=reached, end=end, gave=gave, heard=heard, killed=KILLED),
                        Sequel.AGAIN,
                        DecoderFailed,
                    )
        self.check(past(reached=60.0, killed=KILLED), Sequel.END)
        self.check(past(BROKEN, reached=60.0, gave=False, killed=KILLED), Sequel.END)

    def test_nothing_from_the_start(self) -> None:
        nothing = past(reached=0.0, gave=False, heard=False)
        self.check(nothing, Sequel.FAIL, NotAudio)
        self.check(replace(nothing, reached=5.0), Sequel.END)
        self.check(replace(nothing, reached=5.0), Sequel.FAIL, NotAudio, RADIO, live=True)

    def test_a_start_behind_the_end_finds_nothing_and_no_fault(self) -> None:
        for said in ("", CEASED, PREPARED + SCRAPS, PREPARED + SCRAPS + CEASED):
            for reached, end, measured in ((61.0, 60.0, True), (20.0, 21.0, False), (20.0, None, False)):
                beyond = past(said, reached, end, gave=False, heard=False, measured=measured)
                self.check(beyond, Sequel.END, None, WEB, PAGE)

    def test_before_it_the_same_is_a_fault(self) -> None:
        for said, error in ((CEASED, SourceEndedEarly), (PREPARED + SCRAPS, NotAudio)):
            self.check(past(said, gave=False, heard=False), Sequel.FAIL, error, WEB, PAGE)
        for said in (CEASED, PREPARED + SCRAPS):
            self.check(past(said, 0.0, None, gave=False, heard=False), Sequel.FAIL, NotAudio, WEB, PAGE)

    def test_so_is_what_was_never_sound_or_broke_off(self) -> None:
        for said, error in (
            (SCRAPS, NotAudio),
            (NONSENSE, NotAudio),
            (PREPARED + TIMEOUT, SourceTimeout),
            (PREPARED + BROKEN, DecoderFailed),
        ):
            for reached, end in ((61.0, 60.0), (20.0, None)):
                self.check(past(said, reached, end, gave=False, heard=False), Sequel.FAIL, error, WEB, PAGE)

    def test_nothing_from_the_start_and_a_reason(self) -> None:
        for said, sequel, error in (
            (TIMEOUT, Sequel.FAIL, SourceTimeout),
            (REFUSED.format(500), Sequel.FAIL, SourceRefused),
            (REFUSED.format(429), Sequel.FAIL, SourceRefused),
            (REFUSED.format(401), Sequel.ANEW, SourceRefused),
            (REFUSED.format(403), Sequel.ANEW, SourceRefused),
            (REFUSED.format(404), Sequel.ANEW, SourceNotFound),
            (REFUSED.format(410), Sequel.ANEW, SourceNotFound),
        ):
            for reached in (0.0, 20.0):
                self.check(past(said, reached, gave=False, heard=False), sequel, error)

    def test_a_file_whose_index_is_at_its_end_by_a_server_that_gives_no_parts(self) -> None:
        report = Report()
        report.feed(
            b"[info] Input #0, mov,mp4,m4a, from 'x':\n[info]   Stream #0:0: Audio: aac (mp4a)\n"
            b"[http @ 0x1] [error] Stream ends prematurely at 44, should be 404113\n"
            b"[in#0/mov @ 0x1] [error] Error during demuxing: Input/output error\n"
        )
        self.check(replace(past(gave=False, heard=False, reached=0.0), report=report), Sequel.FAIL, NotSeekable)

    def test_nothing_when_it_was_opened_again(self) -> None:
        for said, sequel, error in (
            (TIMEOUT, Sequel.AGAIN, SourceTimeout),
            (REFUSED.format(503), Sequel.AGAIN, SourceRefused),
            (REFUSED.format(403), Sequel.ANEW, SourceRefused),
            (REFUSED.format(404), Sequel.ANEW, SourceNotFound),
            (NONSENSE, Sequel.AGAIN, SourceEndedEarly),
            (ODD, Sequel.AGAIN, SourceEndedEarly),
            (BROKEN, Sequel.AGAIN, SourceEndedEarly),
        ):
            for end in (60.0, None):
                self.check(past(said, end=end, gave=False), sequel, error)

    def test_nothing_and_not_a_word_when_it_was_opened_again(self) -> None:
        self.check(past(gave=False), Sequel.AGAIN, SourceEndedEarly)
        self.check(past(gave=False, end=None), Sequel.END)
        self.check(past(gave=False, end=None, torn=True), Sequel.AGAIN, SourceEndedEarly)
        self.check(past(gave=False, reached=59.5), Sequel.END)

    def test_what_the_door_knows_goes_before_what_ffmpeg_makes_of_it(self) -> None:
        trouble = SourceUnreachable("no such host")
        for said in (REFUSED.format(502), REFUSED.format(404)):
            self.check(past(said, gave=False, trouble=trouble), Sequel.AGAIN, SourceUnreachable)
            self.check(past(said, gave=False, heard=False, trouble=trouble), Sequel.FAIL, SourceUnreachable)

    def test_what_only_the_door_has_seen_break_off_has_not_ended(self) -> None:
        early = SourceEndedEarly()
        for end in (60.0, None):
            self.check(past(end=end, trouble=early), Sequel.AGAIN, SourceEndedEarly, WEB, PAGE)
            self.check(past(end=end, gave=False, trouble=early), Sequel.AGAIN, SourceEndedEarly, WEB, PAGE)
        self.check(past(reached=59.5, trouble=early), Sequel.END)
        for said in ("", CEASED, NONSENSE, PREPARED + SCRAPS):
            for reached in (0.0, 20.0):
                unopened = past(said, reached, None, gave=False, heard=False, trouble=early)
                self.check(unopened, Sequel.FAIL, SourceEndedEarly, WEB, PAGE)

    def test_a_live_source_never_ends_by_itself(self) -> None:
        live = replace(RADIO, extracted=False)
        for said in ("", BROKEN):
            self.check(past(said, end=None), Sequel.AGAIN, SourceEndedEarly, live, live=True)
            self.check(past(said, end=None, gave=False), Sequel.AGAIN, SourceEndedEarly, live, live=True)
        self.check(past(reached=60.0), Sequel.END, None, live, live=True)

    def test_a_live_source_that_is_away_may_come_back_but_one_from_a_page_is_looked_up(self) -> None:
        away = past(REFUSED.format(404), end=None, gave=False)
        self.check(away, Sequel.AGAIN, SourceNotFound, RADIO, live=True)
        self.check(away, Sequel.ANEW, SourceNotFound, replace(RADIO, extracted=True), live=True)
