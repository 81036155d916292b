"""Who has the larger claim, and what a connection's wishes are after each line."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from audiosvc.delivery.wishes import Wishes


class WishesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.older, self.newer = Wishes(1), Wishes(2)

    def claim(self, wishes: Wishes, session_id: str = "a") -> tuple[int, int]:
        claim = wishes.claim(session_id)
        assert claim is not None
        return claim

    def test_who_names_nothing_wants_all(self) -> None:
        self.assertTrue(self.older.hears_all)
        self.assertIsNotNone(self.older.claim("a"))
        self.assertIsNotNone(self.older.claim("b"))

    def test_of_those_that_want_all_the_newest_is_first(self) -> None:
        self.assertGreater(self.claim(self.newer), self.claim(self.older))

    def test_a_subscription_is_before_wanting_all_however_old(self) -> None:
        self.older.subscribe("a", 1)
        self.assertGreater(self.claim(self.older), self.claim(Wishes(1000)))

    def test_the_last_subscription_is_first(self) -> None:
        self.newer.subscribe("a", 1)
        self.older.subscribe("a", 2)
        self.assertGreater(self.claim(self.older), self.claim(self.newer))
        self.newer.subscribe("a", 3)
        self.assertGreater(self.claim(self.newer), self.claim(self.older))

    def test_who_names_one_wants_no_other(self) -> None:
        self.older.subscribe("a", 1)
        self.assertFalse(self.older.hears_all)
        self.assertIsNone(self.older.claim("b"))

    def test_who_named_and_took_it_back_wants_nothing(self) -> None:
        self.older.subscribe("a", 1)
        self.older.unsubscribe("a")
        self.assertIsNone(self.older.claim("a"))
        self.assertIsNone(self.older.claim("b"))

    def test_who_wants_all_can_decline_one(self) -> None:
        self.older.unsubscribe("a")
        self.assertTrue(self.older.hears_all)
        self.assertIsNone(self.older.claim("a"))
        self.assertIsNotNone(self.older.claim("b"))

    def test_what_was_declined_can_be_named(self) -> None:
        self.older.unsubscribe("a")
        self.older.subscribe("a", 1)
        self.assertIsNotNone(self.older.claim("a"))
        self.assertIsNone(self.older.claim("b"))

    def test_taking_back_what_was_never_named_is_no_wish(self) -> None:
        self.older.subscribe("a", 1)
        self.older.unsubscribe("b")
        self.assertEqual(len(self.older), 1)
        self.assertIsNotNone(self.older.claim("a"))

    def test_each_name_is_remembered_once(self) -> None:
        self.older.unsubscribe("b")
        self.older.unsubscribe("b")
        self.assertEqual((len(self.older), "b" in self.older, "a" in self.older), (1, True, False))
        self.older.subscribe("a", 1)
        self.older.subscribe("a", 2)
        self.assertEqual((len(self.older), "b" in self.older, "a" in self.older), (1, False, True))
