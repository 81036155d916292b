"""Who counts as one caller, and how many wrong tokens of one are answered."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from audiosvc.api.peers import FAILURE_SECONDS, FAILURES_MOST, PEERS_MOST, Failures, Peer, peer_of

ONE, OTHER = peer_of("192.0.2.1"), peer_of("192.0.2.2")


class PeerTests(SynchronousTestCase):
    def test_an_address_is_a_peer(self) -> None:
        self.assertEqual(peer_of("192.0.2.1"), Peer("192.0.2.1", False))
        self.assertNotEqual(ONE, OTHER)

    def test_an_ipv6_caller_is_its_network(self) -> None:
        self.assertEqual(peer_of("2001:db8:1:2:3:4:5:6"), Peer("2001:db8:1:2::/64", False))
        self.assertEqual(peer_of("2001:db8:1:2::1"), peer_of("2001:db8:1:2:ffff::"))
        self.assertEqual(peer_of("fe80::1%eth0"), Peer("fe80::/64", False))

    def test_an_ipv4_caller_at_an_ipv6_socket_is_the_same(self) -> None:
        self.assertEqual(peer_of("::ffff:192.0.2.1"), ONE)
        self.assertEqual(peer_of("::ffff:127.0.0.1"), peer_of("127.0.0.1"))

    def test_this_machine_is_local(self) -> None:
        self.assertEqual([peer_of(host).local for host in ("127.0.0.1", "127.9.8.7", "::1", None)], [True] * 4)


class FailureTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.failures = Failures()

    def fail_times(self, count: int, peer: Peer, now: float) -> list[bool]:
        return [self.failures.too_many(peer, now) for _ in range(count)]

    def test_so_many_are_answered_and_the_next_are_too_many(self) -> None:
        self.assertEqual(self.fail_times(FAILURES_MOST + 3, ONE, 5.0), [False] * FAILURES_MOST + [True] * 3)

    def test_each_peer_is_counted_by_itself(self) -> None:
        self.fail_times(FAILURES_MOST, ONE, 0.0)
        self.assertEqual(self.fail_times(1, OTHER, 0.0), [False])
        self.assertEqual(self.fail_times(1, ONE, 0.0), [True])

    def test_when_the_time_is_up_the_count_begins_anew(self) -> None:
        self.fail_times(FAILURES_MOST + 5, ONE, 1.0)
        self.assertEqual(self.fail_times(1, ONE, 1.0 + FAILURE_SECONDS - 0.01), [True])
        self.assertEqual(self.fail_times(1, ONE, 1.0 + FAILURE_SECONDS), [False])

    def test_of_very_many_peers_the_longest_silent_is_forgotten(self) -> None:
        self.fail_times(FAILURES_MOST, ONE, 0.0)
        for n in range(PEERS_MOST - 1):
            self.fail_times(1, Peer(str(n), False), 0.1)
        self.assertEqual(self.fail_times(1, ONE, 0.2), [True])
        self.fail_times(1, OTHER, 0.2)
        self.assertEqual(self.fail_times(1, ONE, 0.3), [True])
        for n in range(PEERS_MOST):
            self.fail_times(1, Peer(f"more:{n}", False), 0.4)
        self.assertEqual(self.fail_times(1, ONE, 0.5), [False])
