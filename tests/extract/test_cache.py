"""What is kept of answers, and for how long."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from audiosvc.extract.cache import LIFE_MOST, LIFE_SECONDS, MARGIN_SECONDS, Cache, life

NOW = 1_800_000_000.0


class CacheTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.cache: Cache[str] = Cache(entries=3, size=100)

    def test_an_answer_is_kept_until_it_expires(self) -> None:
        self.cache.put("a", "one", 10, now=5, life=60)
        self.assertEqual(self.cache.get("a", 64.9), "one")
        self.assertIsNone(self.cache.get("a", 65))
        self.assertIsNone(self.cache.get("b", 5))

    def test_that_it_was_answered_is_known_for_longer(self) -> None:
        self.cache.put("a", "one", 10, now=0, life=0)
        self.assertIsNone(self.cache.get("a", 0))
        self.assertIn("a", self.cache)
        self.assertNotIn("b", self.cache)

    def test_the_least_recently_used_goes_first(self) -> None:
        for key in "abc":
            self.cache.put(key, key, 10, 0, 60)
        self.cache.get("a", 0)
        self.cache.put("d", "d", 10, 0, 60)
        self.assertEqual([key for key in "abcd" if key in self.cache], ["a", "c", "d"])

    def test_bytes_are_bounded_too(self) -> None:
        self.cache.put("a", "a", 60, 0, 60)
        self.cache.put("b", "b", 60, 0, 60)
        self.assertNotIn("a", self.cache)
        self.cache.put("c", "c", 101, 0, 60)
        self.assertEqual(len(self.cache), 0)

    def test_an_answer_replaces_the_one_before(self) -> None:
        for text in ("old", "new"):
            self.cache.put("a", text, 60, 0, 60)
        self.assertEqual((self.cache.get("a", 0), len(self.cache)), ("new", 1))

    @settings(deadline=None)
    @given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 60))))
    def test_it_never_holds_more_than_it_may(self, puts: list[tuple[int, int]]) -> None:
        cache: Cache[int] = Cache(entries=4, size=100)
        sizes: dict[int, int] = {}
        for key, size in puts:
            cache.put(key, size, size, 0, 60)
            sizes[key] = size
            held = [key for key in sizes if key in cache]
            self.assertLessEqual(len(held), 4)
            self.assertLessEqual(sum(sizes[key] for key in held), 100)


class LifeTests(SynchronousTestCase):
    def test_a_url_says_when_it_expires(self) -> None:
        at = int(NOW + 3600)
        for url in (
            f"https://r1.googlevideo.example/videoplayback?expire={at}&ei=x",
            f"https://manifest.example/api/manifest/hls_playlist/expire/{at}/ei/x/playlist/index.m3u8",
            f"https://h/a.mp3?Expires={at}&Signature=x",
            f"https://h/a.mp3?x=1&exp={at}",
            f"https://h/a.mp3?hdnts=st={int(NOW)}~exp={at}~acl=/*",
            f"https://h/a.mp3?token=expires%3D{at}",
            f"https://h/a.mp3?e={at}",
        ):
            with self.subTest(url):
                self.assertEqual(life(url, NOW), 3600 - MARGIN_SECONDS)

    def test_the_earliest_counts(self) -> None:
        self.assertEqual(life(f"https://h/?exp={int(NOW + 900)}&expire={int(NOW + 9000)}", NOW), 900 - MARGIN_SECONDS)

    def test_what_has_expired_is_not_kept(self) -> None:
        self.assertEqual(life(f"https://h/?expire={int(NOW)}", NOW), 0)

    def test_nothing_is_kept_for_ever(self) -> None:
        self.assertEqual(life("https://h/?expire=9999999999", NOW), LIFE_MOST)

    def test_others_are_kept_for_a_while(self) -> None:
        for url in (
            "https://h/a.mp3",
            "https://h/?expire=soon",
            "https://h/?exp=12345678901",
            "https://h/?rate=1800003600",
        ):
            self.assertEqual(life(url, NOW), LIFE_SECONDS)
