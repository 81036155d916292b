from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from bench.burst import Size


class SizeTests(SynchronousTestCase):
    def test_how_many_play_and_how_many_are_asked_for(self) -> None:
        self.assertEqual(Size.of("20+200"), Size(20, 200))
        self.assertEqual(Size.of("0+1"), Size(0, 1))

    def test_anything_else_is_none(self) -> None:
        for text in ("", "20", "20+", "+5", "-1+5", "20+0", "a+b", "1+2+3"):
            self.assertRaises(ValueError, Size.of, text)
