"""Which hosts, addresses and ports are reached: by the text alone, and by what names lead to."""

from __future__ import annotations

from ipaddress import IPv4Address, ip_address

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from audiosvc.errors import BlockedAddress
from audiosvc.net.addresses import Address, Policy, is_public, parse_host, unwrap

OWN = ip_address("93.184.216.1")
PUBLIC = ("93.184.216.34", "1.1.1.1", "2606:4700:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101", "2002:101:101::")

SPELLINGS = {
    "127.0.0.2": "127.0.0.2",
    "127.2": "127.0.0.2",
    "127.0.2": "127.0.0.2",
    "2130706434": "127.0.0.2",
    "0x7f000002": "127.0.0.2",
    "0X7F000002": "127.0.0.2",
    "0x7f.0.0.2": "127.0.0.2",
    "0x7f.2": "127.0.0.2",
    "0177.0.0.2": "127.0.0.2",
    "017700000002": "127.0.0.2",
    "0177.0x0.2": "127.0.0.2",
    "127.0.0.2.": "127.0.0.2",
    "0": "0.0.0.0",
    "\uff11\uff12\uff17.\uff10.\uff10.\uff12": "127.0.0.2",
    "127\u30020\u30020\u30022": "127.0.0.2",
    "①②⑦.2": "127.0.0.2",
    "[::1]": "::1",
    "::1": "::1",
    "[::]": "::",
    "[::ffff:127.0.0.2]": "::ffff:7f00:2",
    "[::ffff:7f00:2]": "::ffff:7f00:2",
    "[0:0:0:0:0:0:0:1]": "::1",
}
"""Of addresses, as a resolver reads them."""

NAMES = {
    "example.com": "example.com",
    "EXAMPLE.com.": "example.com",
    "localhost": "localhost",
    "ⓛⓞcalhost": "localhost",
    "local\u00adhost": "localhost",
    "bücher.example": "xn--bcher-kva.example",
    "a_b.example": "a_b.example",
    "0x7f.example": "0x7f.example",
    "1.2.3.4.example": "1.2.3.4.example",
    "x" * 63: "x" * 63,
    "0xg": "0xg",
}

NO_HOSTS = (
    "",
    ".",
    "..",
    "a..b",
    "-a",
    "a b",
    "a/b",
    "a%2e",
    "a\\b",
    "a@b",
    "a#b",
    "a\0",
    "x" * 64,
    ".".join(["x" * 60] * 5),
    "256.0.0.1",
    "127.0.0.256",
    "127.16777216",
    "4294967296",
    "1.2.3.4.5",
    "1..2",
    "09.0.0.1",
    "0x",
    "127.0x",
    "127.0.0.2..",
    "[127.0.0.2]",
    "[::1",
    "::1]",
    "[]",
    "[fe80::1%eth0]",
    "fe80::1%1",
    "a:b",
    "☃" * 70,
    "☃" * 100_000,
    "1" * 5_000,
    "\ud800",
)

REFUSED = (
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "100.64.0.1",
    "100.100.100.200",
    "127.0.0.1",
    "127.255.255.254",
    "168.63.129.16",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.1",
    "192.0.0.170",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::7f00:1",
    "::a9fe:a9fe",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:0:7f00:1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b::7f00:1",
    "64:ff9b:1::7f00:1",
    "64:ff9b:1:a::1",
    "100::1",
    "2001::1",
    "2001:0:4136:e378:8000:63bf:5601:5601",
    "2001:2::1",
    "2001:10::1",
    "2001:20::1",
    "2001:db8::1",
    "2002:a9fe:a9fe::",
    "2002:7f00:1::1",
    "3fff::1",
    "4000::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fec0::1",
    "ff02::1",
    "ff0e::1",
    str(OWN),
    f"::ffff:{OWN}",
)


def policy(allow_host: str = "", allow_net: str = "") -> Policy:
    return Policy.parse(allow_host, allow_net, lambda address: address == OWN)


class HostTests(SynchronousTestCase):
    def test_every_spelling_of_an_address_is_that_address(self) -> None:
        for text, address in SPELLINGS.items():
            self.assertEqual(parse_host(text), ip_address(address), text)

    def test_names_become_lower_case_ascii_without_a_dot_at_the_end(self) -> None:
        for text, name in NAMES.items():
            self.assertEqual(parse_host(text), name)

    def test_what_is_no_host_is_refused(self) -> None:
        for text in NO_HOSTS:
            self.assertRaises(ValueError, parse_host, text)

    @given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.lists(st.sampled_from("doxX"), min_size=4, max_size=4))
    @settings(deadline=None)
    def test_any_mixture_of_bases_and_lengths_reads_as_inet_aton_does(
        self, number: int, count: int, bases: list[str]
    ) -> None:
        whole = number.to_bytes(4, "big")
        numbers = [*whole[: count - 1], int.from_bytes(whole[count - 1 :], "big")]
        form = {"d": "{}", "o": "0{:o}", "x": "0x{:x}", "X": "0X{:X}"}
        text = ".".join(form[base].format(part) for base, part in zip(bases, numbers, strict=False))
        self.assertEqual(parse_host(text), IPv4Address(number))

    @given(st.text(max_size=20))
    @settings(deadline=None)
    def test_what_comes_out_goes_in_again(self, text: str) -> None:
        try:
            host = parse_host(text)
        except ValueError:
            return
        self.assertEqual(parse_host(str(host)), host)


class AddressTests(SynchronousTestCase):
    def test_addresses_within_addresses_are_found(self) -> None:
        inner = {
            "::ffff:1.2.3.4": "1.2.3.4",
            "::1.2.3.4": "1.2.3.4",
            "::ffff:0:1.2.3.4": "1.2.3.4",
            "64:ff9b::1.2.3.4": "1.2.3.4",
            "2002:102:304::1": "1.2.3.4",
            "2001:0:5:6:7:8:fefd:fcfb": "1.2.3.4",
            "1.2.3.4": "1.2.3.4",
            "2606:4700::1": "2606:4700::1",
            "::1": "::1",
            "::": "::",
        }
        for outer, expected in inner.items():
            self.assertEqual(unwrap(ip_address(outer)), ip_address(expected), outer)

    def test_no_address_of_the_table_is_reached(self) -> None:
        for text in REFUSED:
            address = ip_address(text)
            self.assertIsNotNone(policy().refusal("name.example", 80, address), text)
            self.assertRaises(BlockedAddress, policy().check, text, 443)

    def test_public_addresses_are_reached(self) -> None:
        for text in PUBLIC:
            self.assertIsNone(policy().refusal("name.example", 80, ip_address(text)), text)
            self.assertEqual(policy().check(text, 80), ip_address(text))

    @given(st.ip_addresses())
    @settings(deadline=None)
    def test_nothing_is_public_that_python_knows_as_special(self, address: Address) -> None:
        if is_public(address):
            self.assertFalse(
                address.is_private or address.is_multicast or address.is_loopback or address.is_reserved
                or address.is_link_local or address.is_unspecified
            )  # fmt: skip


class PolicyTests(SynchronousTestCase):
    def test_ports_are_those_of_the_web_and_those_that_anybody_may_listen_on(self) -> None:
        for port in (80, 443, 1024, 8000, 65535):
            self.assertEqual(policy().check("example.com", port), "example.com")
        for port in (-1, 0, 1, 21, 22, 25, 81, 444, 1023, 65536, 99999):
            error = self.assertRaises(BlockedAddress, policy().check, "example.com", port)
            self.assertIn(f"port {port} ", error.message)
            self.assertRaises(BlockedAddress, policy().check, "1.1.1.1", port)

    def test_a_refusal_names_the_host_and_not_all_of_a_long_one(self) -> None:
        for host in ("127.2", "[::1]", "a b", "10.0.0.1"):
            error = self.assertRaises(BlockedAddress, policy().check, host, 80)
            self.assertIn(host, error.message)
        error = self.assertRaises(BlockedAddress, policy().check, "x" * 30_000, 80)
        self.assertLess(len(error.message), 400)

    def test_an_allowed_host_may_lead_anywhere(self) -> None:
        allowed = policy(allow_host="Radio.lan, 127.2, [fd00::1]")
        self.assertIsNone(allowed.refusal("radio.lan", 80, ip_address("10.0.0.1")))
        self.assertIsNone(allowed.refusal("radio.lan", 8000, OWN))
        self.assertIsNotNone(allowed.refusal("radio.lan", 25, ip_address("10.0.0.1")))
        self.assertIsNotNone(allowed.refusal("other.lan", 80, ip_address("10.0.0.1")))
        for host in ("127.0.0.2", "[::ffff:127.0.0.2]", "[fd00::1]"):
            allowed.check(host, 80)
        self.assertRaises(BlockedAddress, allowed.check, "127.0.0.1", 80)

    def test_an_allowed_host_with_a_port_is_reached_on_that_port_only(self) -> None:
        allowed = policy(allow_host="radio.lan:81,127.0.0.1:8000,[::1]:82")
        self.assertEqual(allowed.check("radio.lan", 81), "radio.lan")
        self.assertIsNone(allowed.refusal("radio.lan", 81, ip_address("10.0.0.1")))
        self.assertIsNotNone(allowed.refusal("radio.lan", 80, ip_address("10.0.0.1")))
        allowed.check("127.0.0.1", 8000)
        allowed.check("[::1]", 82)
        self.assertRaises(BlockedAddress, allowed.check, "127.0.0.1", 8001)

    def test_an_allowed_network_is_reached_though_it_is_private_or_our_own(self) -> None:
        allowed = policy(allow_net=f"10.1.0.0/16, fd00:7::/64,::1/128, {OWN}")
        for text in ("10.1.2.3", "::ffff:10.1.2.3", "64:ff9b::10.1.2.3", "fd00:7::1", "::1", str(OWN)):
            self.assertIsNone(allowed.refusal("x", 80, ip_address(text)), text)
        for text in ("10.2.0.1", "fd00:8::1", "127.0.0.1"):
            self.assertIsNotNone(allowed.refusal("x", 80, ip_address(text)), text)
        self.assertIsNotNone(allowed.refusal("x", 22, ip_address("10.1.2.3")))

    def test_nothing_named_is_nothing_allowed(self) -> None:
        for nothing in (policy(), policy(" , ", ",")):
            self.assertEqual((nothing.hosts, nothing.networks), (frozenset(), ()))

    def test_a_bad_option_is_told_in_words(self) -> None:
        for text in ("a b", "a:b", "a:0", "a:65536", "a:-1", ":80", "[::1]x", "a.b:", "http://a", "*.a", "::1%1"):
            with self.assertRaisesRegex(ValueError, "--allow-host: "):
                policy(allow_host=f"ok.example,{text}")
        for text in ("x", "10.0.0.1/8", "10.0.0.0/33", "1.2.3", "::ffff:10.0.0.0/104", "2002:a00::/24"):
            with self.assertRaisesRegex(ValueError, "--allow-net: "):
                policy(allow_net=f"10.0.0.0/8,{text}")

    def test_an_address_with_colons_is_no_host_with_a_port(self) -> None:
        self.assertEqual(policy(allow_host="::1").hosts, frozenset({(ip_address("::1"), None)}))
        self.assertEqual(policy(allow_host="[::1]:80").hosts, frozenset({(ip_address("::1"), 80)}))
