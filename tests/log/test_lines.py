from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from audiosvc.log.lines import (
    FIELD_MOST,
    INTEGER_MOST,
    LOOKED_AT_MOST,
    MESSAGE_MOST,
    OWN,
    TRACEBACK_MOST,
    Entry,
    bare,
    clean,
    clean_lines,
    json_line,
    text_line,
    value,
)

EVIL = "a\x1b[31m\r\n2026-01-01 [x#info] forged\x00\x7f\x85\u2028\u202e\ud800 {0.__class__} %s"


def entry(**changes: object) -> Entry:
    return Entry(**{"time": 0.0, "level": "info", "logger": "a.b", "message": "m", "fields": {}} | changes)  # type: ignore[arg-type]


class Clean(SynchronousTestCase):
    def test_what_can_be_printed_stays_as_it_is(self) -> None:
        for text in ("", "plain", "Füße, 東京, 🎵, {x} \\n %s"):
            self.assertEqual(clean(text), text)

    def test_all_else_is_escaped_and_so_is_on_one_line(self) -> None:
        self.assertEqual(
            clean(EVIL),
            r"a\x1b[31m\r\n2026-01-01 [x#info] forged\x00\x7f\x85\u2028\u202e\ud800 {0.__class__} %s",
        )

    def test_urls_lose_user_query_and_fragment_wherever_they_stand(self) -> None:
        for text, shown in (
            ("https://h/a", "https://h/a"),
            ("Opening 'http://user:pw@h:80/a?token=x#y for reading", "Opening 'http://h:80/a for reading"),
            ("https://h?x and rtmp://u@[::1]/@a?b", "https://h and rtmp://[::1]/@a"),
            ("HTTP://a@b@c/x#frag", "HTTP://c/x"),
            ("https://h/a?u=http://x/?y", "https://h/a"),
            ("a?b#c u@h", "a?b#c u@h"),
            ("http://", "http://"),
        ):
            self.assertEqual(clean(text), shown)

    def test_no_more_is_kept_than_is_wanted(self) -> None:
        self.assertEqual(clean("a" * 30, 10), "a" * 10 + "…")
        self.assertEqual(len(clean("x" * 10**6)), MESSAGE_MOST + 1)
        # A password that is cut in two has no @ behind it; there is none in what is kept.
        text = " " * (LOOKED_AT_MOST - 12) + "http://u:secret@h/"
        self.assertNotIn("u:s", clean(text))

    @given(st.text(), st.integers(1, 50))
    @settings(deadline=None)
    def test_any_text_becomes_one_line_that_does_nothing(self, text: str, most: int) -> None:
        shown = clean(text, most)
        self.assertTrue(shown.isprintable())
        self.assertLessEqual(len(shown), (most + 1) * len(r"\U0010ffff"))
        self.assertEqual(clean(shown, 10**6), shown)

    @given(st.text(st.characters(codec="utf-8", exclude_categories=["Z", "C"])), st.sampled_from(["?", "#"]))
    @settings(deadline=None)
    def test_what_stands_behind_a_question_mark_is_never_there(self, secret: str, mark: str) -> None:
        self.assertEqual(clean(f"https://u{mark}@h/{mark}{secret}"), "https://u")
        self.assertEqual(clean(f"https://u:p@h/{mark}{secret}"), "https://h/")

    def test_lines_of_a_traceback_stay_lines_of_which_the_last_are_kept(self) -> None:
        self.assertEqual(clean_lines("a\n\tb http://h/?x\n\x1b[2J"), "a\n\\tb http://h/\n\\x1b[2J")
        long = clean_lines("x" * 50 + "\n" + "y" * (TRACEBACK_MOST - 4) + "\nend")
        self.assertEqual(long[-4:], "\nend")
        self.assertNotIn("x", long)


class Bare(SynchronousTestCase):
    def test_all_of_it_is_one_url_with_whatever_is_in_it(self) -> None:
        self.assertEqual(bare("https://u:p@h/a b?x y#z w"), "https://h/a b")
        self.assertEqual(bare("http://h"), "http://h")

    def test_what_is_no_url_stays_as_it_is(self) -> None:
        for text in ("", "file:/a?b", "demo:tone?hz=440", "/music/a#1.ogg"):
            self.assertEqual(bare(text), text)


class Unprintable:
    def __str__(self) -> str:
        raise RuntimeError("no words")


class Values(SynchronousTestCase):
    def test_what_json_can_hold_is_told_as_it_is(self) -> None:
        for thing in (None, True, False, 0, -7, INTEGER_MOST, 1.5, "text"):
            self.assertEqual(value("a", thing), thing)
            self.assertIs(type(value("a", thing)), type(thing))

    def test_all_else_is_told_as_text(self) -> None:
        self.assertEqual(value("a", INTEGER_MOST + 1), str(INTEGER_MOST + 1))
        self.assertEqual([value("a", x) for x in (float("nan"), float("inf"))], ["nan", "inf"])
        self.assertEqual(value("a", b"/\xff\x1b"), "/\\xff\\x1b")
        self.assertEqual(value("a", ValueError("x\ny")), "x\\ny")
        self.assertEqual(value("a", Unprintable()), "<Unprintable: RuntimeError>")
        self.assertEqual(len(str(value("a", "x" * 5000))), FIELD_MOST + 1)

    def test_a_field_called_url_is_a_url_from_its_beginning_to_its_end(self) -> None:
        self.assertEqual(value("url", "http://h/a?b c"), "http://h/a")
        self.assertEqual(value("other", "http://h/a?b c"), "http://h/a c")


class Lines(SynchronousTestCase):
    def test_text_has_time_place_level_and_message(self) -> None:
        self.assertEqual(text_line(entry(time=1.5, level="warn")), "1970-01-01T00:00:01.500Z [a.b#warn] m")

    def test_a_traceback_in_text_follows_in_lines_that_nothing_else_looks_like(self) -> None:
        self.assertEqual(
            text_line(entry(traceback="one\n two")).splitlines(),
            ["1970-01-01T00:00:00.000Z [a.b#info] m", "\tone", "\t two"],
        )

    def test_json_is_one_object_with_the_fields_beside_the_message(self) -> None:
        line = json_line(entry(fields={"session": "u:1", "code": "x", "seconds": 0.5, "none": None}, traceback="a\nb"))
        self.assertNotIn("\n", line)
        self.assertEqual(
            json.loads(line),
            {
                "time": "1970-01-01T00:00:00.000Z",
                "level": "info",
                "logger": "a.b",
                "message": "m",
                "session": "u:1",
                "code": "x",
                "seconds": 0.5,
                "none": None,
                "traceback": "a\nb",
            },
        )

    def test_no_field_takes_the_place_of_what_each_line_has(self) -> None:
        told = json.loads(json_line(entry(fields=dict.fromkeys(OWN, "forged"))))
        self.assertEqual({name: told[name + "_"] for name in OWN}, dict.fromkeys(OWN, "forged"))
        self.assertEqual((told["message"], told["level"], "traceback" in told), ("m", "info", False))

    def test_letters_of_all_the_world_stay_letters(self) -> None:
        self.assertIn("東京", json_line(entry(message="東京")))
