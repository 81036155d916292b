"""The shelf: never more bytes than it has, the least recently used first."""

from __future__ import annotations

from collections import OrderedDict

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from audiosvc.cache.shelf import RECORDING_SHARE, TRACK_SHARE, Shelf
from audiosvc.cache.track import PACKET_COST
from tests.cache.support import track

UNIT = 100 + PACKET_COST
"""Bytes that a track of one packet takes."""


class ShelfTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.shelf = Shelf(8 * UNIT)

    def put(self, names: str, count: int = 2) -> None:
        for name in names:
            self.assertTrue(self.shelf.put(track(name, count)))

    def there(self, names: str = "abcdef") -> str:
        return "".join(name for name in names if name in self.shelf._tracks)

    def test_the_least_recently_used_is_given_up_first(self) -> None:
        self.put("abcd")
        self.assertIsNotNone(self.shelf.find("a"))
        self.put("e")
        self.assertEqual((self.there(), len(self.shelf), self.shelf.kept), ("acde", 4, 8 * UNIT))
        self.assertIsNone(self.shelf.find("b"))

    def test_one_of_the_same_name_takes_its_place(self) -> None:
        self.put("ab")
        self.put("a", 1)
        self.assertEqual((self.there(), self.shelf.kept), ("ab", 3 * UNIT))
        found = self.shelf.find("a")
        self.assertEqual(found and len(found.packets), 1)

    def test_what_is_larger_than_its_share_is_not_kept(self) -> None:
        self.put("a")
        self.assertFalse(self.shelf.put(track("b", 8 // TRACK_SHARE + 1)))
        self.assertFalse(self.shelf.put(track("a", 3)))
        self.assertEqual((self.there(), self.shelf.kept), ("", 0))

    def test_a_recording_makes_room_for_itself_up_to_its_share(self) -> None:
        self.put("abcd")
        self.assertTrue(self.shelf.grow(0, 2 * UNIT))
        self.assertEqual((self.there(), self.shelf.recording), ("bcd", 2 * UNIT))
        self.assertFalse(self.shelf.grow(2 * UNIT, 1))
        self.shelf.release(2 * UNIT)
        self.put("e")
        self.assertEqual((self.there(), self.shelf.recording), ("bcde", 0))

    def test_all_recordings_together_leave_some_to_what_is_kept(self) -> None:
        self.put("abcd")
        grown = [self.shelf.grow(0, UNIT) for _ in range(8)]
        self.assertEqual(grown, [i < 8 // RECORDING_SHARE for i in range(8)])
        self.assertEqual((self.there(), self.shelf.recording), ("cd", 4 * UNIT))

    @given(st.lists(st.tuples(st.sampled_from(["put", "find", "remove", "grow", "release"]), st.integers(0, 5))))
    @settings(deadline=None)
    def test_its_bytes_are_those_of_what_it_holds(self, steps: list[tuple[str, int]]) -> None:
        shelf, model, recording = Shelf(8 * UNIT), OrderedDict[str, int](), 0
        for step, number in steps:
            name = "abcdef"[number]
            if step == "put":
                model.pop(name, None)
                if shelf.put(track(name, 1 + number % 3)):
                    model[name] = 1 + number % 3
            elif step == "find" and shelf.find(name) is not None:
                model.move_to_end(name)
            elif step == "remove":
                shelf.remove(name)
                model.pop(name, None)
            elif step == "grow":
                recording += number * shelf.grow(0, number * UNIT)
            elif step == "release" and number <= recording:
                shelf.release(number * UNIT)
                recording -= number
            while sum(model.values()) + recording > 8:
                model.popitem(last=False)
            self.assertEqual(list(shelf._tracks), list(model))
            self.assertEqual((shelf.kept, shelf.recording), (sum(model.values()) * UNIT, recording * UNIT))
