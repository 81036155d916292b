"""Who hears which session, and how long things wait for somebody."""

from __future__ import annotations

from audiosvc.delivery import hub
from audiosvc.delivery.hub import LINGER_MOST, NAMES_MOST
from audiosvc.wire.messages import Credit, Greeting, Held, Subscribe, Unsubscribe
from tests.delivery.helpers import TIMEOUT, HubTestCase
from tests.fakes import FakeConnection


class OwnershipTests(HubTestCase):
    def test_each_hears_what_it_names(self) -> None:
        one, two = self.connect(Subscribe("a")), self.connect(Subscribe("b"))
        self.open("a", 1)
        self.open("b", 1)
        self.open("c", 1)
        self.assertEqual((one.events(), two.events()), (["ready"], ["ready"]))
        self.assertEqual((len(one.packets("a")), len(two.packets("b"))), (1, 1))
        self.assertTrue(self.hub.held("c"))

    def test_the_last_subscriber_takes_a_session_over(self) -> None:
        one = self.connect(Subscribe("a"))
        self.open(packets=3)
        two = self.connect(Subscribe("a"))
        self.tick(2)
        self.assertEqual(one.events(), ["ready", "detached"])
        self.assertEqual(two.events(), ["attached"])
        self.assertEqual(one.packets() + two.packets(), [b"t1:1", b"t1:2", b"t1:3"])

    def test_naming_what_one_has_changes_nothing(self) -> None:
        one = self.connect(Subscribe("a"))
        self.open(packets=1)
        self.hub.take(one, Subscribe("a"))
        self.assertEqual(one.events(), ["ready"])

    def test_the_newest_that_hears_all_takes_everything_not_named(self) -> None:
        one = self.connect()
        self.open("a")
        self.open("b")
        two = self.connect(Subscribe("a"))
        three = self.connect()
        self.assertEqual((two.events("a"), three.events("a")), (["attached"], []))
        self.assertEqual((one.events("b"), three.events("b")), (["ready", "detached"], ["attached"]))

    def test_who_begins_to_name_lets_go_of_the_rest(self) -> None:
        one, two = self.connect(), self.connect()
        self.open("a")
        self.open("b")
        self.hub.take(two, Subscribe("a"))
        self.assertEqual(two.events(), ["ready", "ready", "detached"])
        self.assertEqual(one.events(), ["attached"])
        self.assertEqual(one.events("b"), ["attached"])

    def test_what_is_named_no_more_goes_to_the_next_in_line(self) -> None:
        one, two = self.connect(), self.connect(Subscribe("a"))
        self.open()
        self.hub.take(two, Unsubscribe("a"))
        self.assertEqual((one.events(), two.events()), (["attached"], ["ready", "detached"]))
        self.hub.take(one, Unsubscribe("a"))
        self.assertEqual(one.events(), ["attached", "detached"])
        self.assertTrue(self.hub.held("a"))

    def test_a_lost_connections_sessions_go_to_the_next_in_line(self) -> None:
        one, two = self.connect(), self.connect()
        self.open(packets=4)
        self.hub.leave(two)
        self.tick(3)
        self.assertEqual(two.packets() + one.packets(), [b"t1:1", b"t1:2", b"t1:3", b"t1:4"])
        self.assertEqual(two.events(), ["ready"])

    def test_one_that_was_never_served_can_leave(self) -> None:
        self.connect()
        self.hub.leave(FakeConnection(9))
        self.assertEqual(self.hub.vitals().connections, 1)

    def test_what_is_said_before_being_served_takes_nothing_yet(self) -> None:
        one, two = self.connect(Subscribe("a")), FakeConnection(7)
        self.hub.take(two, Subscribe("a"))
        self.open()
        self.assertEqual((one.events(), two.events()), (["ready"], []))
        self.hub.join(two)
        self.assertEqual(two.events(), ["attached"])

    def test_a_hello_is_late_once_served(self) -> None:
        one = self.connect(Greeting("x"))
        self.assertEqual(self.refusal(one, Greeting("x")), "late_hello")

    def test_names_are_bounded_and_can_be_given_back(self) -> None:
        one = self.connect(*(Subscribe(f"s{i}") for i in range(NAMES_MOST)))
        self.assertEqual(self.refusal(one, Subscribe("a")), "too_many_names")
        self.assertIsNone(self.hub.take(one, Subscribe("s5")))
        self.assertIsNone(self.hub.take(one, Unsubscribe("s5")))
        self.assertIsNone(self.hub.take(one, Subscribe("a")))

    def test_names_in_credit_are_bounded_too(self) -> None:
        one = self.connect(*(Credit(f"s{i}", 1) for i in range(NAMES_MOST)))
        self.assertEqual(self.refusal(one, Credit("a", 1)), "too_many_names")
        self.credit(one, 1, "s5")
        self.hub.take(one, Unsubscribe("s6"))
        self.credit(one, 1, "a")

    def test_a_connection_that_comes_back_gets_its_tail(self) -> None:
        one = self.connect(Credit("a", 5))
        feed = self.open(packets=5)
        self.hub.leave(one)
        self.finish(feed)
        two = self.connect(Greeting("x", {"a": Held(3, "t1")}), Credit("a", 5))
        self.assertEqual(two.packets(), [b"t1:4", b"t1:5"])
        self.assertEqual(two.events(), ["attached", "finished"])
        self.assertEqual(self.hub.vitals().resent, 2)

    def test_what_a_socket_that_never_drains_is_told_does_not_grow(self) -> None:
        full, other = self.connect(Subscribe("a")), self.connect(Subscribe("b"))
        self.open()
        full.paused = True
        for _ in range(100):
            self.hub.take(other, Subscribe("a"))
            self.hub.take(full, Subscribe("a"))
        self.assertEqual(full.events(), ["ready", "detached"])
        full.paused = False
        self.hub.resume(full)
        self.assertEqual(full.events(), ["ready", "detached", "attached"])


class TimeoutTests(HubTestCase):
    def test_a_session_that_nobody_takes_is_given_up(self) -> None:
        feed = self.open()
        self.clock.advance(TIMEOUT - 1)
        self.assertFalse(feed.was_abandoned)
        self.clock.advance(1)
        self.assertTrue(feed.was_abandoned)

    def test_the_time_runs_from_when_the_last_listener_left(self) -> None:
        feed, one = self.open(), self.connect()
        self.clock.advance(TIMEOUT * 3)
        self.hub.leave(one)
        self.clock.advance(TIMEOUT - 1)
        self.assertFalse(feed.was_abandoned)
        self.clock.advance(1)
        self.assertTrue(feed.was_abandoned)

    def test_somebody_who_comes_in_time_keeps_it(self) -> None:
        feed = self.open()
        self.clock.advance(TIMEOUT - 1)
        self.connect(Subscribe("b"))
        one = self.connect()
        self.clock.advance(TIMEOUT * 2)
        self.assertFalse(feed.was_abandoned)
        self.hub.leave(one)
        self.clock.advance(TIMEOUT)
        self.assertTrue(feed.was_abandoned)

    def test_a_track_that_replaces_another_has_its_own_time(self) -> None:
        old = self.open()
        self.clock.advance(TIMEOUT - 1)
        self.finish(old)
        new = self.open(track_id="t2")
        self.clock.advance(TIMEOUT - 1)
        self.assertFalse(old.was_abandoned or new.was_abandoned)
        self.clock.advance(1)
        self.assertEqual((old.was_abandoned, new.was_abandoned), (False, True))

    def test_a_track_that_is_over_is_kept_for_the_same_time(self) -> None:
        feed = self.open(packets=1)
        self.finish(feed)
        self.clock.advance(TIMEOUT - 1)
        self.assertEqual(self.connect().events(), ["ready", "finished"])
        self.clock.advance(1)
        again = self.connect(Greeting("x", {"a": Held(0, "t1")}))
        self.assertEqual((again.received, self.hub.vitals().events_dropped), ([], 0))

    def test_what_nobody_came_for_is_counted(self) -> None:
        self.finish(self.open())
        self.clock.advance(TIMEOUT)
        self.assertEqual(self.hub.vitals().events_dropped, 2)
        self.assertEqual(self.connect().received, [])

    def test_a_listener_that_is_only_slow_still_gets_the_end(self) -> None:
        one = self.connect()
        feed = self.open()
        one.paused = True
        self.finish(feed)
        self.clock.advance(TIMEOUT * 1.5)
        one.paused = False
        self.hub.resume(one)
        self.assertEqual(one.events(), ["ready", "finished"])
        self.clock.advance(TIMEOUT)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_so_many_are_kept_and_no_more(self) -> None:
        for i in range(LINGER_MOST + 2):
            self.finish(self.open(f"s{i}"))
        self.assertEqual(self.hub.vitals().events_dropped, 4)
        one = self.connect()
        self.assertEqual((one.events("s1"), one.events("s2")), ([], ["ready", "finished"]))
        self.hub.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_so_much_is_kept_and_no_more_but_for_those_that_are_waited_for(self) -> None:
        self.patch(hub, "LINGER_BYTES", 400)
        one = self.connect(Subscribe("waited"))
        one.paused = True
        self.finish(self.open("waited"))
        self.connect(Subscribe("a"), Subscribe("b"))
        for name in ("a", "b"):
            feed = self.open(name, 3)
            self.tick(3)
            self.finish(feed)
        self.assertEqual(self.kept(), ["waited", "b"])
        one.paused = False
        self.hub.resume(one)
        self.assertEqual(one.events(), ["ready", "finished"])

    def kept(self) -> list[str]:
        return list(self.hub._lingering)

    def test_stop_leaves_nothing_to_come(self) -> None:
        self.finish(self.open("a"))
        self.open("b")
        self.connect(Subscribe("c"))
        self.open("c", 5)
        self.assertEqual(len(self.clock.getDelayedCalls()), 3)
        self.hub.stop()
        self.hub.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
