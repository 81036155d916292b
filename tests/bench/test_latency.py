from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from bench.latency import stages
from bench.receiver import heard
from bench.site import Asked

MS = 1_000_000


def asked(path: str, agent: str, began: int, ended: int) -> Asked:
    return Asked(path, agent, began * MS, ended * MS)


class StagesTests(SynchronousTestCase):
    def test_of_a_file_nothing_shows_but_the_whole_beside_a_bare_ffmpeg(self) -> None:
        self.assertEqual(stages(0, 20 * MS, 14.0, []), {"bare FFmpeg's first byte": 14, "all else": 6})

    def test_of_a_url_the_look_and_the_fetch_show(self) -> None:
        requests = [asked("/media/a?1", "audiosvc", 3, 4), asked("/media/a?1", "Lavf/63", 18, 900)]
        self.assertEqual(
            stages(0, 28 * MS, 14.0, requests),
            {"until look": 3, "look": 1, "until media": 14, "first packet": 10, "the site's own": 1},
        )

    def test_what_the_daemon_fetches_itself_is_no_look(self) -> None:
        requests = [asked("/media/a?1", "audiosvc", 3, 4), asked("/media/a?1", "audiosvc", 5, 900)]
        found = stages(0, 8 * MS, 14.0, requests)
        self.assertEqual((found["look"], found["until media"], found["first packet"]), (1, 1, 3))

    def test_of_a_page_what_yt_dlp_asks_shows_too(self) -> None:
        requests = [
            asked("/page/a?1", "audiosvc", 3, 4),
            asked("/page/a?1", "Mozilla/5.0", 80, 82),
            asked("/media/a?1", "Mozilla/5.0", 110, 900),
        ]
        found = stages(0, 116 * MS, 14.0, requests)
        self.assertEqual((found["until yt-dlp"], found["yt-dlp"], found["until media"]), (76, 2, 28))
        self.assertEqual(found["the site's own"], 3)
        self.assertEqual(sum(found.values()) - found["the site's own"], 116)

    def test_a_play_that_got_no_further_than_its_look_has_no_more_stages(self) -> None:
        self.assertEqual(set(stages(0, 9 * MS, 14.0, [asked("/media/a?1", "audiosvc", 3, 4)])) & {"look"}, set())


class HeardTests(SynchronousTestCase):
    def test_a_line_a_packet_is_enough(self) -> None:
        noted = heard(b"guild 7 20000000\nother 30000000\nguild 7 40000000\n")
        self.assertEqual(noted.packets, {"guild 7": [20_000_000, 40_000_000], "other": [30_000_000]})

    def test_what_the_bench_s_own_receiver_writes_is_read(self) -> None:
        noted = heard(b'{"packets":{"a":[1,2]},"events":[[1,"a","Ready",0]]}')
        self.assertEqual((noted.packets, noted.events[0].kind), ({"a": [1, 2]}, "Ready"))

    def test_anything_else_is_an_error(self) -> None:
        self.assertRaises(ValueError, heard, b"no number\n")
