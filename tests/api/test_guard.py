from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase
from twisted.web.http_headers import Headers

from audiosvc import errors
from audiosvc.api.guard import BODY_MOST, Guard

Sent = dict[str, str | list[str]]


class Guarded(SynchronousTestCase):
    def refusal(self, sent: Sent, length: int | None = 0, hosts: tuple[str, ...] = (), token: bytes | None = None):  # type: ignore[no-untyped-def]
        headers = Headers({"Host": ["localhost"]})
        for name, value in sent.items():
            headers.setRawHeaders(name, [value] if isinstance(value, str) else value)
        refused = Guard(hosts, token).refusal(headers, length)
        return refused if refused is None else type(refused)

    def test_loopback_names_are_served_on_any_port(self) -> None:
        for host in ("localhost", "LOCALHOST:1", "127.0.0.1", "127.0.0.1:8180", "[::1]", "[::1]:8180"):
            self.assertIsNone(self.refusal({"Host": host}), host)

    def test_other_names_are_not(self) -> None:
        for host in ("evil.example", "localhost.", "127.0.0.2", "[::2]", "localhost.evil.example", "127.1"):
            self.assertIs(self.refusal({"Host": host}), errors.HostNotAllowed, host)

    def test_but_for_those_configured(self) -> None:
        self.assertIsNone(self.refusal({"Host": "audio.internal:80"}, hosts=("Audio.Internal", "[FD00::1]")))
        self.assertIsNone(self.refusal({"Host": "[fd00::1]"}, hosts=("audio.internal", "[FD00::1]")))

    def test_one_host_that_is_well_formed_is_needed(self) -> None:
        for host in ("", "::1", "localhost:", "localhost:port", "localhost:123456", "a@localhost", "localhost/", "a b"):
            self.assertIs(self.refusal({"Host": host}), errors.BadRequest, host)
        self.assertIs(self.refusal({"Host": ["localhost", "localhost"]}), errors.BadRequest)
        self.assertIs(self.refusal({"Host": []}), errors.BadRequest)

    def test_a_page_may_call_only_the_host_it_came_from(self) -> None:
        self.assertIsNone(self.refusal({"Host": "localhost:81", "Origin": "http://localhost:81"}))
        self.assertIsNone(self.refusal({"Host": "localhost", "Origin": "HTTPS://localhost"}))
        for origin in ("null", "", "http://localhost:82", "http://127.0.0.1", "https://evil.example", "file://"):
            self.assertIs(self.refusal({"Origin": origin}), errors.ForbiddenOrigin, origin)
        self.assertIs(self.refusal({"Origin": ["http://localhost"] * 2}), errors.ForbiddenOrigin)

    def test_a_browser_that_says_another_site_asks_is_believed(self) -> None:
        for site in ("cross-site", "same-site", "?"):
            self.assertIs(self.refusal({"Sec-Fetch-Site": site}), errors.ForbiddenOrigin)
        for site in ("same-origin", "none"):
            self.assertIsNone(self.refusal({"Sec-Fetch-Site": site}))

    def test_without_a_token_none_is_asked_for(self) -> None:
        self.assertIsNone(self.refusal({"Authorization": "Basic YTpi"}))

    def test_the_token_must_be_shown_exactly(self) -> None:
        self.assertIsNone(self.refusal({"Authorization": "Bearer s\xe9cret"}, token="s\xe9cret".encode()))
        for shown in (
            "Bearer secre",
            "Bearer secret ",
            "bearer secret",
            "secret",
            "",
            "Basic secret",
            "Bearer  secret",
        ):
            self.assertIs(self.refusal({"Authorization": shown}, token=b"secret"), errors.Unauthorized, shown)
        self.assertIs(self.refusal({}, token=b"secret"), errors.Unauthorized)
        self.assertIs(self.refusal({"Authorization": ["Bearer secret"] * 2}, token=b"secret"), errors.Unauthorized)

    def test_a_body_has_a_bound(self) -> None:
        json: Sent = {"Content-Type": "application/json"}
        self.assertIsNone(self.refusal(json, BODY_MOST))
        self.assertIs(self.refusal(json, BODY_MOST + 1), errors.BodyTooLarge)
        self.assertIsNone(self.refusal(json, None))

    def test_a_body_is_json_and_says_so(self) -> None:
        for sent in ("application/json", "Application/JSON", "application/json; charset=utf-8",
                     'application/json;charset="UTF-8"'):  # fmt: skip
            self.assertIsNone(self.refusal({"Content-Type": sent}, 2), sent)
        for sent in ("", "text/plain", "application/json;", "application/json; charset=latin-1", "application/jsonp",
                     "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):  # fmt: skip
            for length in (0, 2, None):
                self.assertIs(self.refusal({"Content-Type": sent}, length), errors.UnsupportedMediaType, sent)
        self.assertIs(self.refusal({}, 2), errors.UnsupportedMediaType)
        self.assertIs(self.refusal({}, None), errors.UnsupportedMediaType)
        self.assertIsNone(self.refusal({}, 0))

    def test_what_could_never_match_is_refused_at_start(self) -> None:
        for name in ("", "a:80", "http://a", "::1", "\xe9", "a b"):
            self.assertRaises(ValueError, Guard, [name], None)
        self.assertRaises(ValueError, Guard, [], b"")
