"""What texts may hold, and what is made of those that somebody else wrote."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from audiosvc.sources.text import TITLE_MOST, clean, is_plain


class TextTests(SynchronousTestCase):
    def test_a_plain_text_has_no_control_characters_and_no_line_breaks(self) -> None:
        for text in ("", "a b", "ä\u202e", "\U0001f468\u200d\U0001f469"):
            self.assertTrue(is_plain(text))
        for text in ("\0", "a\nb", "\x1b[m", "\x7f", "\x85", "\u2028", "\ud800"):
            self.assertFalse(is_plain(text))

    def test_a_cleaned_text_is_one_line_that_is_read_as_it_is_written(self) -> None:
        for text, cleaned in (
            ("A song", "A song"),
            ("  a\r\n\tb\x1b[31mc ", "a b [31mc"),
            ("\u202egnos\u202c \u2066x\u2069\u200f", "gnos x"),
            ("\ufeff\u200b", ""),
            ("\U0001f468\u200d\U0001f469 \u05e9\u05d9\u05e8", "\U0001f468\u200d\U0001f469 \u05e9\u05d9\u05e8"),
        ):
            self.assertEqual(clean(text), cleaned)

    def test_it_is_cut_off(self) -> None:
        self.assertEqual(clean("x" * 10_000), "x" * TITLE_MOST)
        self.assertEqual(clean("ab cd", 3), "ab")

    @settings(deadline=None)
    @given(st.text(), st.integers(1, 50))
    def test_whatever_was_written(self, text: str, most: int) -> None:
        cleaned = clean(text, most)
        self.assertTrue(is_plain(cleaned))
        self.assertLessEqual(len(cleaned), most)
        self.assertEqual(cleaned, cleaned.strip())
        self.assertEqual(clean(cleaned, most), cleaned)
